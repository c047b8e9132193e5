"""`python -m benchmarks.extend RECIPE --new TASK`: one task added to a model of the recipe's others, by every strategy.

Cells: `base` (the recipe without TASK), `joint` (with it, from scratch), and one per strategy, each `--share-of-joint` of the
joint run's steps. Every finished cell is a file in benchmarks/results/extend/<recipe>/, kept as long as recipe and cards are
the same; an unfinished one goes on from its newest checkpoint. The table goes to stdout: the new task's score, the largest
loss of an old one with its interval, and the tokens trained on as a share of the joint run's.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer

import trunkline
from trunkline.build.evaluation import evaluate_model
from trunkline.build.model import read_manifest
from trunkline.config import load_recipe
from trunkline.document import writer
from trunkline.workflows.extend import Job, extend

STRATEGIES = ("isolate", "replay", "anchor", "replay+anchor", "distill", "full")
HEAD = "| cell | {new} | largest loss of an old task | tokens / joint |\n|---|---|---|---|"


class Bench:
    """The cells of one recipe and one new task."""

    def __init__(self, recipe: Path, new: str, share: float, split: str) -> None:
        self.path, self.new, self.share, self.split = recipe.resolve(), new, share, split
        self.recipe = load_recipe(recipe)
        self.catalog = self.path.parent / "tasks" if (self.path.parent / "tasks").is_dir() else self.path.parents[1] / "tasks"
        self.outputs = self.catalog.parent / "outputs" / f"extend-{recipe.stem}"
        self.results = Path(__file__).parent / "results" / "extend" / recipe.stem
        cards = [(self.catalog / use.task / "card.yaml").read_text() for use in self.recipe.tasks]
        stated = json.dumps([self.recipe.render(), cards, new, share, split])
        self.key = hashlib.sha256(stated.encode()).hexdigest()[:16]

    def stored(self, cell: str) -> dict[str, Any] | None:
        path = self.results / f"{cell}.json"
        found = json.loads(path.read_text()) if path.is_file() else None
        return found if found and found["key"] == self.key else None

    def run(self, cell: str) -> dict[str, Any]:
        """The cell's result; trained and measured if it does not stand."""
        stands = self.stored(cell)
        if stands:
            return stands
        found = self._scratch(cell) if cell in ("base", "joint") else self._extended(cell)
        self.results.mkdir(parents=True, exist_ok=True)
        (self.results / f"{cell}.json").write_text(json.dumps({"key": self.key, "cell": cell, **found}, indent=1) + "\n")
        return {"key": self.key, "cell": cell, **found}

    def _scratch(self, cell: str) -> dict[str, Any]:
        data = self.recipe.model_dump()
        data["catalog"] = [str(self.catalog)]
        if cell == "base":
            data["tasks"] = [use for use in data["tasks"] if use["task"] != self.new]
            if "rates" in data["sampling"]:
                data["sampling"]["rates"].pop(self.new, None)
        path = self.outputs / f"{cell}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(writer.render(data), encoding="utf-8")
        started = any(not (run / "result.json").is_file() for run in self.outputs.glob(f"{cell}-*/"))
        result = trunkline.train(path, outputs=self.outputs, resume=started, in_process=True, say=_say)
        rows = evaluate_model(result.model, tasks=None, split=self.split, catalog=self.catalog, say=_say)
        tokens = read_manifest(result.model)["lineage"]["trained"]["tokens"]
        return {"model": str(result.model), "tokens": tokens, "tasks": {row["task"]: row["value"] for row in rows}}

    def _extended(self, cell: str) -> dict[str, Any]:
        base, steps = Path(self.run("base")["model"]), round(self.share * self.recipe.train.steps)
        job = Job(
            base,
            [self.new],
            cell,
            "*:-0.3",
            steps=steps,
            catalog=self.catalog,
            outputs=self.outputs,
            in_process=True,
            split=self.split,
        )
        done = extend(job, _say)
        report = done.report
        value = next((row["value"] for row in report["new"]), None)
        return {
            "model": str(done.model),
            "tokens": report["cost"]["tokens"],
            "new": value,
            "old": report["old"],
            "kept": report["kept"],
        }


def table(bench: Bench, cells: list[str]) -> str:
    """The cells that stand, as Markdown."""
    joint = bench.stored("joint")
    lines = [HEAD.format(new=bench.new)]
    for cell in cells:
        found = bench.stored(cell)
        if found is None:
            continue
        share = f"{found['tokens'] / joint['tokens']:.0%}" if joint else "-"
        value = found.get("new", found.get("tasks", {}).get(bench.new))
        worst = min(
            (row for row in found.get("old", ()) if row["change"] is not None), key=lambda row: row["change"], default=None
        )
        told = f"{worst['task']} {worst['change']:+.2f} ({worst['low']:+.2f} to {worst['high']:+.2f})" if worst else "-"
        lines.append(f"| {cell} | {'-' if value is None else f'{value:.4f}'} | {told} | {share} |")
    return "\n".join(lines)


def _say(line: str) -> None:
    typer.echo(line, err=True)


def main(
    recipe: Annotated[Path, typer.Argument(help="A recipe with all tasks, the new one too.")],
    new: Annotated[str, typer.Option(help="The task that is added.")],
    only: Annotated[list[str] | None, typer.Option(help="Only these cells: base, joint, or a strategy.")] = None,
    share_of_joint: Annotated[float, typer.Option(help="Steps of an extension, as a share of the joint run's.")] = 0.12,
    split: Annotated[str, typer.Option(help="The rows that are measured.")] = "validation",
    train: Annotated[bool, typer.Option(help="Train what is missing; else only show the table.")] = True,
) -> None:
    """Trains what is missing and shows the table."""
    bench = Bench(recipe, new, share_of_joint, split)
    cells = ["base", "joint", *STRATEGIES]
    for cell in cells if train else ():
        if not only or cell in only:
            bench.run(cell)
    typer.echo(table(bench, cells))


if __name__ == "__main__":
    typer.run(main)
