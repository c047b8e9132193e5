"""How a run is doing: metrics during training, against baselines, and the table it ends with."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from trunkline.batch import Verdict
from trunkline.build.assemble import Assembly
from trunkline.checkpoint import name_of
from trunkline.config.recipe import AGGREGATE
from trunkline.evaluate import Judged, baseline, evaluate, skill
from trunkline.models.multitask import MultiTask
from trunkline.registry import metric_of

LOWEST = -1e300  # JSON knows no infinity


class Judge:
    """Measures every task on the first rows of its validation split, and in the end on all; remembers the best step.

    gather: all ranks' values in rank order. best: {step, score} of the best evaluated step that was saved; best_tasks: the same
    for each task, by its own skill. score: of the latest evaluation, the mean skill by rank 0's figures, so that all ranks decide
    alike. top, stale: the best score evaluated, and evaluations since that did not pass it. whole: figures of all rows, at last.
    """

    def __init__(self, built: Assembly, *, rank: int, world: int, gather: Callable[[Any], list[Any]]) -> None:
        self.built, self.rank, self.world, self.gather = built, rank, world, gather
        self.best: dict[str, float] = {"step": 0, "score": LOWEST}
        self.best_tasks: dict[str, dict[str, float]] = {}
        self.latest: dict[str, float] = {}
        self.verdicts: dict[str, Verdict] = {}
        self.step, self.score = 0, LOWEST
        self.top, self.stale = LOWEST, 0
        self.whole: dict[str, float] = {}
        self.limit = built.recipe.train.evaluate_rows

    @functools.cached_property
    def baselines(self) -> dict[str, dict[str, float]]:
        """Task -> metric -> what a constant guess gets on the first rows."""
        return {judged.name: self._baseline(judged, self.limit) for judged in self.built.judged}

    def _baseline(self, judged: Judged, limit: int | None) -> dict[str, float]:
        return baseline(judged, self.built.tables[judged.name], limit=limit)

    @property
    def longer(self) -> list[Judged]:
        """Tasks with more rows than evaluations on the way measure."""
        return [judged for judged in self.built.judged if len(judged.table.learned) > self.limit]

    def measure(self, judged: Judged, model: MultiTask, device: torch.device, limit: int | None) -> dict[str, float]:
        """Collective. `eval/<task>/<metric>` of a model."""
        found = evaluate(
            model,
            judged,
            tokens_per_pass=self.built.recipe.train.tokens_per_pass,
            device=device,
            rank=self.rank,
            world=self.world,
            gather=self.gather,
            limit=limit,
        )
        return {f"eval/{judged.name}/{metric}": value for metric, value in found.items()}

    def conclude(self, model: MultiTask, device: torch.device, alive: Callable[[str], None]) -> None:
        """Collective. The figures of the table from all rows of the longer tasks. alive: told of each task."""
        for judged in self.longer:
            alive(f"evaluation of all rows of {judged.name}")
            self.whole |= self.measure(judged, model, device, None)
            self.baselines[judged.name] = self._baseline(judged, None)

    def evaluate(self, step: int, model: MultiTask, device: torch.device) -> Mapping[str, float]:
        """Collective. `eval/<task>/<metric>`, and `eval/skill`: the mean share of the way from baseline to perfect."""
        figures: dict[str, float] = {}
        verdicts: dict[str, Verdict] = {}
        for judged in self.built.judged:
            figures |= self.measure(judged, model, device, self.limit)
            headline = next(iter(judged.metrics))
            value = figures[f"eval/{judged.name}/{headline}"]
            gained = skill(value, self.baselines[judged.name][headline], self.built.perfect[judged.name])
            verdicts[judged.name] = Verdict(value, gained, metric_of(headline).higher_is_better)
        if verdicts:
            figures["eval/skill"] = sum(verdict.skill for verdict in verdicts.values()) / len(verdicts)
        # Ranks add up in orders of their own; what samplers decide from must be equal to the last bit.
        self.verdicts = self.gather(verdicts)[0]
        self.latest, self.step = figures, step
        skills = [verdict.skill for verdict in self.verdicts.values()]
        self.score = sum(skills) / len(skills) if skills else LOWEST
        self.top, self.stale = (self.score, 0) if self.score > self.top else (self.top, self.stale + 1)
        return figures

    def enough(self) -> bool:
        """Whether as many evaluations as the recipe's patience brought no new best."""
        patience = self.built.recipe.train.patience
        return patience is not None and self.stale >= patience

    def better(self) -> bool:
        """Whether what was just evaluated is a best that the recipe asks for, and so is to be saved."""
        settings = self.built.recipe.train
        return (bool(settings.restore_best) or settings.keep_best == "tasks") and self.step in self.kept_with(self.step)

    def chosen(self) -> int:
        """The step whose model the recipe asks for; 0: the last one's."""
        wanted = self.built.recipe.train.restore_best
        if not wanted:
            return 0
        own = self.best if wanted in (True, AGGREGATE) else self.best_tasks.get(str(wanted), {"step": 0})
        return int(own["step"])

    def kept_with(self, step: int) -> set[int]:
        """The steps whose checkpoints stay, whatever their age, once one of this step stands: at most one a task, and one."""
        settings, own = self.built.recipe.train, self.best_tasks_with(step)
        names = own if settings.keep_best == "tasks" else own.keys() & {settings.restore_best}
        return {int(self.best_with(step)["step"]), *(int(own[name]["step"]) for name in names)}

    def state_with(self, step: int) -> dict[str, Any]:
        """What a checkpoint of this step says of how the run is doing: it points to the best ones, this one among them."""
        best, own = self.best_with(step), self.best_tasks_with(step)
        return {"best": best, "best_tasks": own, "patience": [self.top, self.stale], "keep": sorted(self.kept_with(step))}

    def saved(self, step: int) -> None:
        """A checkpoint of this step stands."""
        self.best, self.best_tasks = self.best_with(step), self.best_tasks_with(step)

    def load_state(self, state: Mapping[str, Any], lost: Collection[str] = ()) -> None:
        """What `state_with` gave. lost: checkpoints that are damaged or gone, the best of nothing any more."""
        self.best = state["best"] if name_of(state["best"]["step"]) not in lost else {"step": 0, "score": LOWEST}
        self.best_tasks = {name: own for name, own in state.get("best_tasks", {}).items() if name_of(own["step"]) not in lost}
        self.top, self.stale = state.get("patience", (LOWEST, 0))

    def best_with(self, step: int) -> dict[str, float]:
        """What `best` is once a checkpoint of this step stands: this one if it was just measured so."""
        return {"step": step, "score": self.score} if self.step == step and self.score > self.best["score"] else self.best

    def best_tasks_with(self, step: int) -> dict[str, dict[str, float]]:
        """What `best_tasks` is once a checkpoint of this step stands."""
        now = self.verdicts if self.step == step else {}
        better = {
            name: {"step": step, "score": verdict.skill}
            for name, verdict in now.items()
            if verdict.skill > self.best_tasks.get(name, {"score": LOWEST})["score"]
        }
        return {**self.best_tasks, **better}

    def table(self, run: Path, step: int) -> list[dict[str, Any]]:
        """A mapping per task: task, kind, rows, metric (the headline), baseline, value, skill, learned, metrics.

        What was not measured is None. Figures of another step than the latest are read back from the run's metrics.jsonl; those
        of all rows come first, where they were measured.
        """
        figures = {**(self.latest if self.step == step and self.latest else _evaluation(run, step)), **self.whole}
        rows = []
        for name, card in self.built.cards.items():
            row = {"task": name, "kind": card.head.kind, "rows": len(self.built.tables[name].learned)}
            judged = next((judged for judged in self.built.judged if judged.name == name), None)
            metrics = {metric: figures.get(f"eval/{name}/{metric}") for metric in judged.metrics} if judged else {}
            headline = next(iter(metrics), None)
            value = metrics[headline] if headline else None
            measured: dict[str, Any] = dict.fromkeys(("metric", "baseline", "value", "skill", "learned"))
            if headline is not None and value is not None:
                base = self.baselines[name][headline]
                gained = skill(value, base, self.built.perfect[name])
                measured = {"metric": headline, "baseline": base, "value": value, "skill": gained, "learned": gained > 0}
            rows.append({**row, **measured, "metrics": metrics})
        return rows


def _evaluation(run: Path, step: int) -> dict[str, float]:
    """The last one up to that step."""
    found: dict[str, float] = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["step"] <= step and any(name.startswith("eval/") for name in record):
            found = {name: value for name, value in record.items() if name.startswith("eval/")}
    return found
