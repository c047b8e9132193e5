"""`python -m benchmarks.extend_chain PLAN`: tasks added one after another, each to the model of the one before.

PLAN (benchmarks/quality/extend10.chains.yaml) names the recipe of the first model, the tasks in order, and the chains: a strategy
and its settings each, `reverse: true` from the last task to the first. A task whose extension breaks a promise is left out, and
the chain goes on from the model before. Every finished link stands in benchmarks/results/<recipe>/<chain>.json, kept as long as
what states it is the same. At the end the first model's own tasks are measured on the same split, first model against last.
--write puts the tables into docs/extend.md.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from benchmarks.extend import PAGE, Bench, written
from benchmarks.quality.cells import training_seconds

from trunkline.build.model import read_manifest
from trunkline.continual.gate import promises
from trunkline.document import reader
from trunkline.workflows.extend import Job, extend
from trunkline.workflows.judging import changes
from trunkline.workflows.strategies import Settings


class Chain:
    """One strategy's links."""

    def __init__(self, path: Path, name: str) -> None:
        self.bench, self.name = Bench(path), name
        self.plan, self.catalog, self.outputs = self.bench.plan, self.bench.catalog, self.bench.outputs
        self.tasks = self.plan["tasks"][:: -1 if self.plan["chains"][name].get("reverse") else 1]
        self.file = self.bench.results / f"{name}.json"

    def key(self) -> str:
        cards = [reader.read(self.catalog / task / "card.yaml").data for task in self.plan["tasks"]]
        stated = [{**self.plan, "chains": self.plan["chains"][self.name]}, cards, self.bench.key("base")]
        return hashlib.sha256(json.dumps(stated).encode()).hexdigest()[:16]

    def stored(self) -> dict[str, Any] | None:
        found = json.loads(self.file.read_text()) if self.file.is_file() else None
        return found if found and found["key"] == self.key() else None

    def run(self) -> dict[str, Any]:
        """The chain's links and end; goes on where it was."""
        base = self.bench.outputs / self.bench.run("base")["run"] / "model"
        command = f"python -m benchmarks.extend_chain benchmarks/quality/{self.bench.path.name} --only {self.name}"
        facts = {"schema_version": 1, "chain": self.name, "key": self.key(), "command": command, **self.bench.began}
        found = self.stored() or {**facts, "links": [], "end": None}
        for task in self.tasks[len(found["links"]) :]:
            kept = [link["run"] for link in found["links"] if link["kept"]]
            found["links"].append(self._link(self.outputs / kept[-1] / "model" if kept else base, task))
            self._save(found)
        if found["end"] is None:
            kept = [link["run"] for link in found["links"] if link["kept"]]
            found["end"] = self._end(base, self.outputs / kept[-1] / "model")
            self._save(found)
        return found

    def _link(self, model: Path, task: str) -> dict[str, Any]:
        chain = self.plan["chains"][self.name]
        size = [f"train.{name}={self.plan['tokens_per_step']}" for name in ("tokens_per_step", "tokens_per_pass")]
        job = Job(
            model,
            [task],
            chain["strategy"],
            self.plan["protect"],
            Settings(**chain.get("settings", {})),
            self.plan["steps"],
            [*size, *chain.get("set", [])],
            self.catalog,
            self.outputs,
            in_process=True,
            split=self.plan["split"],
        )
        began = time.process_time()
        done = extend(job, _say)
        measured = [row for row in done.report["old"] if row["change"] is not None]
        new = done.report["new"][0]
        return {
            "task": task,
            "run": done.run.name,
            "metric": new["metric"],
            "score": new["value"],
            "baseline": new["baseline"],
            "kept": done.kept,
            "broken": done.report["broken"],
            "worst": min((row["change"] for row in measured), default=None),
            "old_tasks": len(measured),
            "tokens": done.report["cost"]["tokens"],
            "cpu_s": round(time.process_time() - began, 1),
            "training_s": round(training_seconds(done.run), 1),
            "judged_s": round(done.report["judged_s"], 1),
            "added_bytes": _bytes(done.model) - _bytes(model),
        }

    def _end(self, base: Path, last: Path) -> list[dict[str, Any]]:
        names = list(read_manifest(base)["tasks"])
        limits = promises(self.plan["protect"], names)
        return [change.told() for change in changes(base, last, self.catalog, limits, names, self.plan["split"], _say)]

    def _save(self, found: dict[str, Any]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(found, indent=1) + "\n")


def _bytes(model: Path) -> int:
    """Of what a model answers with: manifest and README tell of it."""
    return sum(entry["size"] for name, entry in read_manifest(model)["files"].items() if name != "README.md")


def growth(values: list[float]) -> float:
    """How many times the first of the links the last one takes, by a straight line through all of them."""
    slope, start = np.polyfit(np.arange(len(values)), np.array(values), 1)
    return float((start + slope * (len(values) - 1)) / start)


def table(chains: list[Chain]) -> str:
    """The chains that stand, as Markdown: a row a link, then what became of the first model's tasks."""
    stand = {chain: found for chain in chains if (found := chain.stored()) and found["end"] is not None}
    lines = [_told(chain, found) for chain, found in stand.items()]
    if len({chain.plan["chains"][chain.name].get("reverse", False) for chain in stand}) == 2:
        lines.append(_both_ways(list(stand.values())))
    return "\n\n".join(lines)


def _both_ways(chains: list[dict[str, Any]]) -> str:
    """What a place in the chain costs, whatever task has it: mean over the orders, in which each task has two places."""
    seconds = np.mean([[link["cpu_s"] for link in found["links"]] for found in chains], axis=0)
    sizes = np.mean([[link["added_bytes"] for link in found["links"]] for found in chains], axis=0)
    slower, larger = growth(list(seconds)), growth(list(sizes))
    return (
        "Tasks differ in the length of their rows and in how many are measured. Over both orders, by a straight line, the last "
        f"place takes {slower:.2f} times the CPU seconds of the first, and {larger:.2f} times the bytes."
    )


def _told(chain: Chain, found: dict[str, Any]) -> str:
    lines = [
        f"`{chain.name}`:",
        "",
        "| added | metric | score | a constant guess | kept | worst old change | CPU seconds | bytes added |",
        "|---|---|---:|---:|---|---:|---:|---:|",
    ]
    for link in found["links"]:
        scores = f"{link['metric']} | {link['score']:.3f} | {link['baseline']:.3f}"
        gate = f"{'yes' if link['kept'] else 'no'} | {link['worst']:+.2f}"
        lines.append(f"| {link['task']} | {scores} | {gate} | {link['cpu_s']:.0f} | {link['added_bytes']:,} |")
    kept = [link for link in found["links"] if link["kept"]]
    ends = ", ".join(f"{row['task']} {row['change']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f})" for row in found["end"])
    return "\n".join(
        [
            *lines,
            "",
            f"{len(kept)} of {len(found['links'])} were kept. The first model's tasks at the end, in points on the "
            f"{chain.plan['split']} split: {ends}.",
        ]
    )


def _say(line: str) -> None:
    typer.echo(line, err=True)


def main(
    plan: Annotated[Path, typer.Argument(help="What is added to what, such as benchmarks/quality/extend10.chains.yaml.")],
    only: Annotated[list[str] | None, typer.Option(help="Only these chains.")] = None,
    train: Annotated[bool, typer.Option(help="Train what is missing; else only show the tables.")] = True,
    write: Annotated[bool, typer.Option("--write", help="The tables into docs/extend.md.")] = False,
) -> None:
    """Trains what is missing and shows the tables."""
    chains = [Chain(plan, name) for name in reader.read(plan).data["chains"]]
    for chain in chains if train else ():
        if not only or chain.name in only:
            chain.run()
    typer.echo(table(chains))
    if write:
        PAGE.write_text(written(PAGE.read_text(), chains[0].bench.name, table(chains)))


if __name__ == "__main__":
    typer.run(main)
