"""`python -m benchmarks.quality.ladder`: the same tasks on trunks from random vectors to a pretrained encoder.

A rung is a shared recipe with sections of its own over it. `from` names the rung whose trunk and tokenizer one goes on with,
`tokenizer_from` the one it has the tokenizer of alone; `seeds` makes rungs NAME-SEED of one. Each finished rung is a file in
benchmarks/results/ladder/, kept as long as all that states it is the same; an unfinished one goes on from its newest checkpoint.
The table goes into docs/quality.md, the plot is docs/ladder.svg.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from benchmarks.quality.cells import circumstances, cut_off, drawn, training_seconds
from benchmarks.quality.table import write_section

import trunkline
from trunkline.build.evaluation import evaluate_model
from trunkline.document import reader, writer
from trunkline.errors import UsageError, nearest

BEFORE = ("from", "tokenizer_from")
LANGUAGE = ("bilm", "masked_language")  # whose score is the perplexity of their validation rows
ROOT = Path(__file__).parents[2]
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb", "#222222")


class Ladder:
    """The rungs of one file. Results in <results>/<rung>.json, runs in <folder>/outputs/<name of the file>/."""

    def __init__(self, path: Path, results: Path) -> None:
        stated = reader.read(path).data
        self.path, self.results = path, results
        self.shared: dict[str, Any] = dict(stated["recipe"])
        self.rungs: dict[str, dict[str, Any]] = {}
        self.groups: dict[str, list[str]] = {}
        for name, rung in stated["rungs"].items():
            own = {key: value for key, value in rung.items() if key != "seeds"}
            repeated = {f"{name}-{seed}": {**own, "seed": seed} for seed in rung.get("seeds", ())} or {name: own}
            self.rungs |= repeated
            self.groups[name] = list(repeated)
        self.outputs = path.parent / "outputs" / path.stem

    def recipe(self, rung: str) -> dict[str, Any]:
        """What all rungs share, with this one's sections over it; optim and train key by key."""
        own = {key: value for key, value in self.rungs[rung].items() if key not in BEFORE}
        for section in ("optim", "train"):
            if section in own:
                own[section] = {**self.shared.get(section, {}), **own[section]}
        return {**self.shared, **own}

    def key(self, rung: str) -> str:
        """A hash of all that states the rung: recipe, cards, and the rung it goes on from."""
        recipe = self.recipe(rung)
        cards = [reader.read(card).data for card in self._cards(recipe)]
        before = [self.key(self.rungs[rung][key]) for key in BEFORE if key in self.rungs[rung]]
        stated = json.dumps([recipe, cards, *before], ensure_ascii=False)
        return hashlib.sha256(stated.encode()).hexdigest()[:16]

    def _cards(self, recipe: Mapping[str, Any]) -> list[Path]:
        names = [use if isinstance(use, str) else use["task"] for use in recipe["tasks"]]
        return [self.path.parent / recipe["catalog"][0] / name / "card.yaml" for name in names]

    def stored(self, rung: str) -> dict[str, Any] | None:
        """The rung's result, if it was made from what the files state now."""
        path = self.results / f"{rung}.json"
        found: dict[str, Any] | None = json.loads(path.read_text()) if path.is_file() else None
        return found if found and found["key"] == self.key(rung) else None

    def run(self, rung: str, say: Callable[[str], None]) -> None:
        """Trains and measures a rung unless its result stands; goes on with a run that was cut off."""
        if self.stored(rung):
            say(f"{rung}: stands")
            return
        recipe = self._write_recipe(rung)
        result = trunkline.train(recipe, outputs=self.outputs, resume=cut_off(self.outputs, recipe), in_process=True, say=say)
        catalog = self.path.parent / self.shared["catalog"][0]
        tests = [row["task"] for row in result.tasks if row["kind"] not in LANGUAGE]
        rows = evaluate_model(result.model, tasks=tests, split="test", catalog=catalog, say=say) if tests else result.tasks
        document = {
            "schema_version": 1,
            "rung": rung,
            "key": self.key(rung),
            "command": f"python -m benchmarks.quality.{self.path.stem}",
            **circumstances(),
            "training_s": round(training_seconds(result.run)),
            "parameters": sum(p.numel() for p in trunkline.load(result.model).network.trunk.parameters()),
            "start": json.loads((result.model / "manifest.json").read_text()).get("trunk_start", {}),
            "drawn": drawn(result.run),
            "model": str(result.model.relative_to(self.outputs)),
            "tasks": rows,
            "series": list(evaluations((result.run / "metrics.jsonl").read_text())),
        }
        self.results.mkdir(parents=True, exist_ok=True)
        (self.results / f"{rung}.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        say(
            f"{rung}: "
            + ", ".join(f"{row['task']} {row['metric']} {row['value']:.3f}" for row in rows if row["value"] is not None)
        )

    def _write_recipe(self, rung: str) -> Path:
        """The rung's recipe beside its runs, going on from another's model where it says so."""
        data, own = self.recipe(rung), self.rungs[rung]
        for key in BEFORE:
            if key in own:
                trunk = self._trunk_of(rung, own[key])
                data["tokenizer"] = {"kind": "pretrained", "source": trunk}
                if key == "from":
                    data["trunk"] = {**data["trunk"], "pretrained": trunk}
        data["catalog"] = [str((self.path.parent / folder).resolve()) for folder in data["catalog"]]
        path = self.outputs / f"{rung}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(writer.render(data), encoding="utf-8")
        return path

    def _trunk_of(self, rung: str, before: str) -> str:
        """Where the trunk of the rung lies that another goes on from."""
        found = self.stored(before)
        if found is None or not (self.outputs / found["model"]).is_dir():
            raise UsageError(f"rung '{rung}' goes on from '{before}', whose model is not here. Run that first.")
        return str(self.outputs / found["model"] / "trunk")

    def climb(self, only: Sequence[str] | None, say: Callable[[str], None]) -> None:
        """Every rung in order, or those of the names in `only`."""
        for name in only or ():
            if name not in self.groups:
                raise UsageError(f"no rung '{name}'. {nearest(name, self.groups)}")
        for name, rungs in self.groups.items():
            for rung in rungs if not only or name in only else ():
                self.run(rung, say)

    def repeats(self, name: str) -> dict[str, Any] | None:
        """Of a rung's seeds: each task's mean score and the scores themselves; None until all were run."""
        found = [self.stored(rung) for rung in self.groups[name]]
        whole = [document for document in found if document is not None]
        if len(whole) < len(found):
            return None
        of_seeds = [{row["task"]: row["value"] for row in document["tasks"]} for document in whole]
        tasks = {task: [values[task] for values in of_seeds] for task in of_seeds[0]}
        return {
            "mean": {task: float(np.mean(values)) for task, values in tasks.items()},
            "of_seeds": tasks,
            **{key: whole[0][key] for key in ("parameters", "training_s", "date", "commit", "machine")},
        }

    def table(self) -> dict[str, Any]:
        """Rung by rung what was measured; null where it was not run. Rungs that only prepare another are left out."""
        before = {rung.get("from") for rung in self.rungs.values()}
        names = [use if isinstance(use, str) else use["task"] for use in self.shared["tasks"]]
        rows = []
        for rung in self.rungs:
            if rung not in before:
                found = self.stored(rung)
                values = {row["task"]: row for row in found["tasks"]} if found else {}
                scores = {name: values[name]["value"] if name in values else None for name in names}
                facts = {key: found[key] if found else None for key in ("parameters", "training_s", "date", "commit", "machine")}
                rows.append(
                    {"rung": rung, **facts, "scores": scores, "metrics": {name: row["metric"] for name, row in values.items()}}
                )
        return {"schema_version": 1, "command": "python -m benchmarks.quality.ladder", "tasks": names, "rungs": rows}


def evaluations(metrics: str) -> Iterator[dict[str, float]]:
    """Every evaluation of a metrics.jsonl: its step and `<task>/<metric>`."""
    for line in metrics.splitlines():
        values = json.loads(line)
        found = {name.removeprefix("eval/"): value for name, value in values.items() if name.startswith("eval/")}
        if found:
            yield {"step": values["step"], **found}


def markdown(found: Mapping[str, Any]) -> str:
    """The table as people read it."""
    metrics = {name: metric for row in found["rungs"] for name, metric in row["metrics"].items()}
    heads = [
        "trunk",
        *(f"{name} ({metrics[name]})" if name in metrics else name for name in found["tasks"]),
        "parameters",
        "seconds",
    ]
    lines = ["| " + " | ".join(heads) + " |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    for row in found["rungs"]:
        scores = ["" if value is None else f"{value:.3f}" for value in row["scores"].values()]
        costs = ["" if row[key] is None else f"{row[key]:,}" for key in ("parameters", "training_s")]
        lines.append("| " + " | ".join([row["rung"], *scores, *costs]) + " |")
    return "\n".join(lines)


def plot(found: Mapping[str, Any], *, width: int = 720, height: int = 360) -> str:
    """The scores of every task rung by rung, as SVG; the axis is from 0 to 1."""
    rungs = found["rungs"]
    left, top, right, bottom = 40, 20, width - 110, height - 40

    def place(number: int, value: float) -> tuple[float, float]:
        return left + (right - left) * number / max(1, len(rungs) - 1), bottom - (bottom - top) * max(0.0, value)

    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">']
    for tenth in range(0, 11, 2):
        _, y = place(0, tenth / 10)
        lines.append(f'<path d="M{left} {y:.1f}H{right}" stroke="#ddd"/><text x="8" y="{y + 4:.1f}">{tenth / 10:.1f}</text>')
    for number, row in enumerate(rungs):
        x, _ = place(number, 0)
        lines.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{row["rung"]}</text>')
    for task, colour in zip(found["tasks"], COLOURS, strict=False):
        points = [place(number, row["scores"][task]) for number, row in enumerate(rungs) if row["scores"][task] is not None]
        if points:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
            x, y = points[-1]
            lines.append(f'<text x="{x + 6:.1f}" y="{y + 4:.1f}" fill="{colour}">{task}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def main(
    only: Annotated[list[str] | None, typer.Option(help="Only these rungs.")] = None,
    train: Annotated[bool, typer.Option(help="Train what is missing; else only write table and plot.")] = True,
) -> None:
    """Trains what is missing, writes benchmarks/results/ladder.json, docs/ladder.svg and the table in docs/quality.md."""
    ladder = Ladder(Path(__file__).parent / "ladder.yaml", ROOT / "benchmarks" / "results" / "ladder")
    if train:
        ladder.climb(only, lambda line: typer.echo(line, err=True))
    found = ladder.table()
    ladder.results.with_suffix(".json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    (ROOT / "docs" / "ladder.svg").write_text(plot(found), encoding="utf-8")
    write_section(ROOT / "docs" / "quality.md", "ladder", markdown(found))
    typer.echo(markdown(found))


if __name__ == "__main__":
    typer.run(main)
