"""`python -m benchmarks.quality.mixing [NAME]`: samplings against weightings over seeds, and each task alone.

NAME.yaml states the recipe, over that of `base` if there is one; what is varied; and what a task alone is given: so many steps,
or as many tokens of its own as in the first pair's run (`drawn`). Each finished cell is a file in benchmarks/results/NAME/, kept
as long as all that states it is the same; an unfinished one goes on from its newest checkpoint. A cell holds each task's headline
metric on the test rows, and again on resampled test rows: the same rows in every cell, so that differences between cells are
paired. The table goes into docs/quality.md.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from benchmarks.quality.cells import circumstances, drawn, training_seconds
from benchmarks.quality.mixed import BEST, best_of, markdown, table
from benchmarks.quality.table import write_section

import trunkline
from trunkline.document import reader, writer
from trunkline.errors import UsageError, nearest
from trunkline.tasks.catalog import Catalog
from trunkline.workflows.baseline import measured

ROOT = Path(__file__).parents[2]
RESAMPLES = 100
DRAWN = "drawn"
Say = Callable[[str], None]


class Mixing:
    """The cells of one file. Results in <results>/<cell>.json, runs in <folder>/outputs/<name of the file>/<cell>/."""

    def __init__(self, path: Path, results: Path) -> None:
        self.path, self.results = path, results
        self.stated: dict[str, Any] = reader.read(path).data
        self.outputs = path.parent / "outputs" / path.stem
        self.shared = self._shared()
        self.tasks: list[str] = list(self.shared["tasks"])
        self.seeds: list[int] = list(self.stated["seeds"])
        self.best: dict[str, Any] = self.stated.get(BEST, {"seeds": []})
        self.samplings, self.weightings = (self._varied(section) for section in ("sampling", "weighting"))
        self.pairs = list(itertools.product(self.samplings, self.weightings))
        self.command = "python -m benchmarks.quality.mixing" + (f" {path.stem}" if path.stem != "mixing" else "")

    def _shared(self) -> dict[str, Any]:
        """The recipe of all cells: the base's with this file's over it, `train` key by key."""
        base = reader.read(self.path.parent / self.stated["base"]).data if "base" in self.stated else {}
        own = self.stated["recipe"]
        return {**base, **own, "train": {**base.get("train", {}), **own.get("train", {})}}

    def _varied(self, section: str) -> dict[str, Any]:
        """What is varied of a section, by name; else what the recipe has of it."""
        fixed = self.shared.get(section)
        found: dict[str, Any] = self.stated.get(f"{section}s") or {fixed["kind"]: fixed}
        return found

    def cells(self) -> list[str]:
        """Seed by seed, that a part of them is a table; the best pair's come last."""
        found = []
        for seed in self.seeds:
            found += [f"{sampling}-{weighting}-{seed}" for sampling, weighting in self.pairs]
            found += [f"{budget}-{task}-{seed}" for budget in self.stated["alone"] for task in self.tasks]
        return found + [f"{BEST}-{seed}" for seed in self.best["seeds"]]

    def recipe(self, cell: str) -> dict[str, Any]:
        """What all cells share, with this one's sampling and weighting, its only task, or the best pair on the other trunk."""
        first, _, rest = cell.partition("-")
        second, _, seed = (f"{first}-{rest}" if first == BEST else rest).rpartition("-")
        data = {**self.shared, "seed": int(seed)}
        if first in self.stated["alone"]:
            train = {**data["train"], "steps": self._steps(first, second, seed)}
            own = {"tasks": [second], "sampling": {"kind": "uniform"}, "weighting": {"kind": "static"}, "train": train}
            return {**data, **own}
        if first == BEST:
            data |= {key: value for key, value in self.best.items() if key != "seeds"}
            first, second = self._best()
        return {**data, "sampling": self.samplings[first], "weighting": self.weightings[second]}

    def _steps(self, budget: str, task: str, seed: str) -> int:
        """Of a task alone: as stated, or so many that it sees the tokens of its own that it saw in the first pair's run."""
        stated = self.stated["alone"][budget]
        if stated != DRAWN:
            return int(stated)
        together = "-".join((*self.pairs[0], seed))
        found = self.stored(together)
        if found is None:
            raise UsageError(f"cell '{budget}-{task}-{seed}' needs '{together}', which tells its budget. Run that first.")
        return max(1, round(found["drawn"][task]["tokens"] / self.shared["train"]["tokens_per_step"]))

    def _best(self) -> tuple[str, str]:
        rows = self.table()["pairs"]
        if any(row["delta_m"] is None for row in rows):
            raise UsageError(f"which pair is the best is not known before all others are trained: run them, then {BEST}.")
        best = best_of(rows)
        return best["sampling"], best["weighting"]

    def key(self, cell: str) -> str:
        """A hash of all that states the cell."""
        recipe = self.recipe(cell)
        cards = [reader.read(self._catalog() / task / "card.yaml").data for task in recipe["tasks"]]
        return hashlib.sha256(json.dumps([recipe, cards, RESAMPLES], ensure_ascii=False).encode()).hexdigest()[:16]

    def _catalog(self) -> Path:
        return (self.path.parent / self.shared["catalog"][0]).resolve()

    def stored(self, cell: str) -> dict[str, Any] | None:
        """The cell's result, if it was made from what the files state now."""
        path = self.results / f"{cell}.json"
        found: dict[str, Any] | None = json.loads(path.read_text()) if path.is_file() else None
        return found if found and found["key"] == self.key(cell) else None

    def run(self, cell: str, say: Say) -> None:
        """Trains and measures a cell unless its result stands; goes on with a run that was cut off. Leaves its result alone."""
        if self.stored(cell):
            say(f"{cell}: stands")
            return
        recipe, place = self._write_recipe(cell), self.outputs / cell
        started = any(not (run / "result.json").is_file() for run in place.glob("*/"))
        result = trunkline.train(recipe, outputs=place, resume=started, in_process=True, say=say)
        rows = [self._measured(result.model, task, say) for task in self.recipe(cell)["tasks"]]
        document = {
            "schema_version": 1,
            "cell": cell,
            "key": self.key(cell),
            "command": self.command,
            **circumstances(),
            "training_s": round(training_seconds(result.run)),
            "drawn": drawn(result.run),
            "tasks": rows,
        }
        self.results.mkdir(parents=True, exist_ok=True)
        (self.results / f"{cell}.json").write_text(json.dumps(document, separators=(",", ":")) + "\n")
        shutil.rmtree(place)
        say(f"{cell}: " + ", ".join(f"{row['task']} {row['metric']} {row['value']:.3f}" for row in rows))

    def _write_recipe(self, cell: str) -> Path:
        data = self.recipe(cell)
        data["catalog"] = [str(self._catalog())]
        path = self.outputs / f"{cell}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(writer.render(data), encoding="utf-8")
        return path

    def _measured(self, model: Path, task: str, say: Say) -> dict[str, Any]:
        """The headline metric on the test rows, and on as many of them drawn with replacement, by the task's name alone."""
        metric, own = measured(model, task, Catalog([self._catalog()]), self._catalog(), say, "test")
        again = [round(float(value), 4) for value in own.drawn(metric, RESAMPLES, zlib.crc32(task.encode()))]
        metrics = reader.read(self._catalog() / task / "card.yaml").data["metrics"]
        return {"task": task, "metric": metrics[0], "rows": len(own.rows), "value": own.value(metric), "resampled": again}

    def table(self) -> dict[str, Any]:
        """See `mixed.table`, of what is stored."""
        plain = [cell for cell in self.cells() if not cell.startswith(BEST)]
        found = {cell: stored for cell in plain if (stored := self.stored(cell))}
        return table(found, pairs=self.pairs, budgets=list(self.stated["alone"]), tasks=self.tasks, seeds=self.seeds)

    def whole_table(self) -> dict[str, Any]:
        """With the best pair on the other trunk, as far as it was trained."""
        found = self.table()
        best: list[dict[str, Any]] = []
        if all(row["delta_m"] is not None for row in found["pairs"]):
            cells = [f"{BEST}-{seed}" for seed in self.best["seeds"]]
            best = [stored for cell in cells if (stored := self.stored(cell))]
        scores = {row["task"]: row["value"] for row in best[0]["tasks"]} if best else None
        facts = {key: best[0][key] for key in ("date", "commit", "machine", "training_s")} if best else {}
        return {"schema_version": 1, "command": self.command, **found, BEST: {"scores": scores, "seeds": len(best), **facts}}


def main(
    name: Annotated[str, typer.Argument(help="A file in benchmarks/quality, such as core12_seeds.")] = "mixing",
    only: Annotated[list[str] | None, typer.Option(help="Only these cells.")] = None,
    train: Annotated[bool, typer.Option(help="Train what is missing; else only write the table.")] = True,
) -> None:
    """Trains what is missing, writes benchmarks/results/NAME.json and the table in docs/quality.md; it goes to stdout too."""
    mixing = Mixing(Path(__file__).parent / f"{name}.yaml", ROOT / "benchmarks" / "results" / name)
    cells = mixing.cells()
    for cell in only or ():
        if cell not in cells:
            raise UsageError(f"no cell '{cell}'. {nearest(cell, cells)}")
    for cell in cells if train else ():
        if not only or cell in only:
            mixing.run(cell, lambda line: typer.echo(line, err=True))
    found = mixing.whole_table()
    mixing.results.with_suffix(".json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    write_section(ROOT / "docs" / "quality.md", name, markdown(found))
    typer.echo(markdown(found))


if __name__ == "__main__":
    typer.run(main)
