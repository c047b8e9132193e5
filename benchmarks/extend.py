"""`python -m benchmarks.extend PLAN`: a task added to a model of a recipe's other tasks, by every strategy.

PLAN (benchmarks/quality/extend6.cells.yaml) names the recipe, the new task, the share of the joint run's tokens an extension may
have, and its cells. `base` is the recipe without the new task, `joint` the recipe, both from scratch. Every finished cell is a
file in benchmarks/results/<recipe>/, kept as long as what states it is the same; an unfinished one goes on from its newest
checkpoint. The table goes to stdout, with --write into docs/extend.md: the new task's score, what every old task lost or won with
its interval, the tokens as a share of the joint run's.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from benchmarks.quality.cells import circumstances, training_seconds

import trunkline
from trunkline.build.evaluation import evaluate_model
from trunkline.build.model import read_manifest
from trunkline.config.recipe import load_recipe
from trunkline.document import reader, writer
from trunkline.workflows.extend import Job, extend
from trunkline.workflows.strategies import Settings

PAGE = Path(__file__).parent.parent / "docs" / "extend.md"
SCRATCH = ("base", "joint")


class Bench:
    """The cells of one plan."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.plan: dict[str, Any] = reader.read(self.path).data
        self.recipe_path = self.path.parent / self.plan["recipe"]
        self.recipe = load_recipe(self.recipe_path)
        self.new: str | None = self.plan["new"]
        self.catalog = self.path.parent / "tasks"
        self.name = self.recipe_path.stem
        self.outputs = self.path.parent / "outputs" / self.name
        self.results = self.path.parent.parent / "results" / self.name
        self.began = circumstances()

    @property
    def cells(self) -> list[str]:
        return [*SCRATCH, *self.plan["cells"]]

    def key(self, cell: str) -> str:
        """A hash of all that states the cell: of what recipe, cards and plan say, not of their comments."""
        cards = [reader.read(self.catalog / use.task / "card.yaml").data for use in self.recipe.tasks]
        shared = {name: self.plan[name] for name in ("new", "split")}
        asked = self.asked(cell)
        own: Any = None if cell in SCRATCH else [{**self.plan, "cells": None, "figures": None}, asked]
        own = [own, self.key(asked["from"])] if "from" in asked else own
        stated = json.dumps([reader.read(self.recipe_path).data, cards, shared, own, cell])
        return hashlib.sha256(stated.encode()).hexdigest()[:16]

    def asked(self, cell: str) -> dict[str, Any]:
        """What the plan says of a cell; nothing of those that are trained from scratch."""
        found: dict[str, Any] = self.plan.get("cells", {}).get(cell, {})
        return found

    def stored(self, cell: str) -> dict[str, Any] | None:
        path = self.results / f"{cell}.json"
        found = json.loads(path.read_text()) if path.is_file() else None
        return found if found and found["key"] == self.key(cell) else None

    def run(self, cell: str) -> dict[str, Any]:
        """The cell's result; trained and measured if it does not stand."""
        stands = self.stored(cell)
        if stands:
            return stands
        measured = self._extended(cell) if "strategy" in self.asked(cell) else self._scratch(cell)
        command = f"python -m benchmarks.extend benchmarks/quality/{self.path.name} --only {cell}"
        found = {"schema_version": 1, "cell": cell, "key": self.key(cell), "command": command, **self.began, **measured}
        self.results.mkdir(parents=True, exist_ok=True)
        (self.results / f"{cell}.json").write_text(json.dumps(found, indent=1) + "\n")
        return found

    def _scratch(self, cell: str) -> dict[str, Any]:
        data = self.recipe.model_dump()
        data["catalog"] = [str(self.catalog)]
        if cell != "joint":
            data["tasks"] = [use for use in data["tasks"] if use["task"] != self.new]
        if cell not in SCRATCH:  # the base gone on with
            stated = self.asked(cell)
            data["start"] = {"model": str(self.outputs / self.run("base")["run"] / "model"), "moments": False}
            data |= {
                "finetune": stated["finetune"],
                "optim": data["optim"] | stated["optim"],
                "train": data["train"] | stated["train"],
            }
        path = self.outputs / f"{cell}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(writer.render(data), encoding="utf-8")
        runs = [run for run in self.outputs.glob(f"{cell}-*/") if not (run / "result.json").is_file()]
        result = trunkline.train(path, outputs=self.outputs, resume=bool(runs), in_process=True, say=_say)
        rows = evaluate_model(result.model, tasks=None, split=self.plan["split"], catalog=self.catalog, say=_say)
        trained = read_manifest(result.model)["lineage"]["trained"]
        scores = {row["task"]: row["value"] for row in rows}
        return {"run": result.run.name, **trained, "training_s": round(training_seconds(result.run)), "scores": scores}

    def _extended(self, cell: str) -> dict[str, Any]:
        assert self.new is not None
        stated = self.asked(cell)
        base, joint = self.run(stated.get("from", "base")), self.recipe.train
        steps = int(self.plan["share"] * joint.steps * joint.tokens_per_step / self.plan["tokens_per_step"])
        size = [f"train.{name}={self.plan['tokens_per_step']}" for name in ("tokens_per_step", "tokens_per_pass")]
        job = Job(
            self.outputs / base["run"] / "model",
            [self.new],
            stated["strategy"],
            self.plan["protect"],
            Settings(**stated.get("settings", {})),
            steps,
            [*size, *stated.get("set", [])],
            self.catalog,
            self.outputs,
            in_process=True,
            split=self.plan["split"],
        )
        done = extend(job, _say)
        report = done.report
        return {
            "run": done.run.name,
            "steps": steps,
            "tokens": report["cost"]["tokens"],
            "training_s": round(training_seconds(done.run)),
            "judged_s": round(report["judged_s"]),
            "scores": {row["task"]: row["value"] for row in report["new"]},
            "old": report["old"],
            "old_again": self._measured_again(done.model) if stated["strategy"] == "isolate" else None,
            "backward_transfer": report["backward_transfer"],
            "forgetting": report["forgetting"],
            "kept": report["kept"],
        }

    def _measured_again(self, model: Path) -> dict[str, float]:
        """The old tasks' scores of the new model, not taken from what the old model's bits scored before."""
        old = [use.task for use in self.recipe.tasks if use.task != self.new]
        rows = evaluate_model(model, tasks=old, split=self.plan["split"], catalog=self.catalog, say=_say)
        return {row["task"]: row["value"] for row in rows}


def table(bench: Bench) -> str:
    """The cells that stand, as Markdown."""
    old = [use.task for use in bench.recipe.tasks if use.task != bench.new]
    joint = bench.stored("joint")
    lines = [
        f"| cell | {bench.new} | of joint's | {' | '.join(old)} | tokens of joint's |",
        "|---|---:|---:|" + "---:|" * (len(old) + 1),
    ]
    for cell in bench.cells:
        found = bench.stored(cell)
        if found is None:
            continue
        score = found["scores"].get(bench.new)
        share = score / joint["scores"][bench.new] if joint and score is not None else None
        cost = found["tokens"] / joint["tokens"] if joint else None
        if "old" not in found:
            told = [f"{found['scores'][task]:.4f}" for task in old]
        else:
            changes = {row["task"]: row for row in found["old"]}
            told = [
                f"{changes[task]['change']:+.2f} ({changes[task]['low']:+.2f} to {changes[task]['high']:+.2f})" for task in old
            ]
        cells = [cell, _figure(score, ".4f"), _figure(share, ".1%"), *told, _figure(cost, ".1%")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def written(page: str, name: str, text: str) -> str:
    """The page with this text between the markers of that name."""
    start, end = f"<!-- {name}:start -->\n", f"<!-- {name}:end -->"
    before, rest = page.split(start)
    return before + start + text + ("\n" if text else "") + end + rest.split(end, 1)[1]


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _say(line: str) -> None:
    typer.echo(line, err=True)


def main(
    plan: Annotated[Path, typer.Argument(help="What is compared, such as benchmarks/quality/extend6.cells.yaml.")],
    only: Annotated[list[str] | None, typer.Option(help="Only these cells: base, joint, or one of the plan's.")] = None,
    train: Annotated[bool, typer.Option(help="Train what is missing; else only show the table.")] = True,
    write: Annotated[bool, typer.Option("--write", help="The table into docs/extend.md.")] = False,
) -> None:
    """Trains what is missing and shows the table."""
    bench = Bench(plan)
    for cell in bench.cells if train else ():
        if not only or cell in only:
            bench.run(cell)
    typer.echo(table(bench))
    if write:
        PAGE.write_text(written(PAGE.read_text(), bench.name, table(bench)))


if __name__ == "__main__":
    typer.run(main)
