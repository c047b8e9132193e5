"""The table of samplings and weightings: scores, and differences with their intervals, from the stored cells alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from trunkline.registry import METRICS

BEST = "best"
Cells = Mapping[str, Mapping[str, Any]]


class Scores:
    """A kind of run over all seeds. values [S, T]; resampled [S, T, B]: the same, on the b-th draw of each task's test rows."""

    def __init__(self, cells: Sequence[Sequence[Mapping[str, Any]]]) -> None:
        """cells: for each seed the rows of its tasks, in order."""
        self.values = np.array([[row["value"] for row in rows] for rows in cells])
        self.resampled = np.array([[row["resampled"] for row in rows] for rows in cells])

    def drawn(self, seeds: np.ndarray) -> np.ndarray:
        """[T, B]: means over the seeds [B, S] that each draw takes."""
        means: np.ndarray = np.stack([self.resampled[own, :, number].mean(0) for number, own in enumerate(seeds)], 1)
        return means


def table(
    found: Cells, *, pairs: Sequence[tuple[str, str]], budgets: Sequence[str], tasks: Sequence[str], seeds: Sequence[int]
) -> dict[str, Any]:
    """Scores of each pair and each budget alone, means over seeds; delta_m against each budget; differences to pair 1, to alone.

    delta_m = mean over tasks of 100 * (together - alone) / |alone|, the sign turned where lower is better; a task that is 0 alone
    is left out. Intervals are 95 % of a bootstrap over test rows and seeds, the same draws on both sides. What was not trained on
    every seed is null.
    """
    shown = {pair: _scores(found, [[f"{pair[0]}-{pair[1]}-{seed}"] for seed in seeds], tasks) for pair in pairs}
    alone = {name: _scores(found, [[f"{name}-{task}-{seed}" for task in tasks] for seed in seeds], tasks) for name in budgets}
    metrics = {row["task"]: row["metric"] for cell in found.values() for row in cell["tasks"]}
    signs = np.array([1 if task not in metrics or METRICS.get(metrics[task]).higher_is_better else -1 for task in tasks])
    rows = []
    for (sampling, weighting), own in shown.items():
        whole = own is not None and all(other is not None for other in alone.values())
        deltas = {name: delta(own, other, signs) for name, other in alone.items()} if whole else None
        beside = _against(own, shown[pairs[0]], alone[budgets[0]], signs) if whole else None
        apart = {name: _by_task(own, other, tasks) for name, other in alone.items()} if whole else None
        row = {"sampling": sampling, "weighting": weighting, "scores": _means(own, tasks)}
        rows.append({**row, "delta_m": deltas, "against_first": beside, "against_alone": apart})
    facts = [(cell["date"], cell["commit"], cell["machine"]) for cell in found.values()]
    return {
        "tasks": list(tasks),
        "metrics": metrics,
        "seeds": list(seeds),
        "cells": len(found),
        "training_s": sum(cell["training_s"] for cell in found.values()),
        **{name: sorted({fact[number] for fact in facts}) for number, name in enumerate(("dates", "commits", "machines"))},
        "pairs": rows,
        "alone": {name: _means(own, tasks) for name, own in alone.items()},
    }


def _scores(found: Cells, cells: Sequence[Sequence[str]], tasks: Sequence[str]) -> Scores | None:
    """cells: for each seed those that hold its tasks."""
    if not all(cell in found for own in cells for cell in own):
        return None
    rows = [{row["task"]: row for cell in own for row in found[cell]["tasks"]} for own in cells]
    return Scores([[own[task] for task in tasks] for own in rows])


def _means(own: Scores | None, tasks: Sequence[str]) -> dict[str, float | None]:
    values = [None] * len(tasks) if own is None else own.values.mean(0).tolist()
    return dict(zip(tasks, values, strict=True))


def _percent(own: np.ndarray, other: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """delta_m of means [T] or [T, B], over the tasks that alone are not 0."""
    of_tasks = 100 * (own - other) / np.where(other == 0, np.nan, np.abs(other)) * signs.reshape(-1, *[1] * (own.ndim - 1))
    found: np.ndarray = np.nanmean(of_tasks, 0)
    return found


def _picks(own: Scores) -> np.ndarray:
    """Which seeds [B, S] each draw takes; the same for all runs of as many seeds."""
    size, _, draws = own.resampled.shape
    return np.random.default_rng(0).integers(0, size, (draws, size))


def delta(own: Scores, other: Scores, signs: np.ndarray) -> dict[str, float]:
    picks = _picks(own)
    drawn = _percent(own.drawn(picks), other.drawn(picks), signs)
    return _interval(float(_percent(own.values.mean(0), other.values.mean(0), signs)), drawn)


def _by_task(own: Scores, other: Scores, tasks: Sequence[str]) -> dict[str, dict[str, float]]:
    """Each task's difference to itself alone, in units of its metric."""
    picks = _picks(own)
    drawn = own.drawn(picks) - other.drawn(picks)
    apart = own.values.mean(0) - other.values.mean(0)
    return {task: _interval(float(apart[at]), drawn[at], "difference") for at, task in enumerate(tasks)}


def _against(own: Scores, first: Scores | None, alone: Scores, signs: np.ndarray) -> dict[str, float] | None:
    """The difference of the two delta_m."""
    if first is None or first is own:
        return None
    picks = _picks(own)
    drawn = [_percent(side.drawn(picks), alone.drawn(picks), signs) for side in (own, first)]
    mean = [_percent(side.values.mean(0), alone.values.mean(0), signs) for side in (own, first)]
    return _interval(float(mean[0] - mean[1]), drawn[0] - drawn[1])


def _interval(value: float, drawn: np.ndarray, unit: str = "percent") -> dict[str, float]:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {unit: round(value, 3), "low": round(float(low), 3), "high": round(float(high), 3)}


def best_of(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The pair of the largest delta_m against the first budget."""
    return max(rows, key=lambda row: next(iter(row["delta_m"].values()))["percent"])


def markdown(found: Mapping[str, Any]) -> str:
    """The table as people read it, and a line that counts what its intervals tell apart."""
    budgets, metrics, tasks = list(found["alone"]), found["metrics"], found["tasks"]
    named = [f"{task} ({metrics[task]})" if task in metrics else task for task in tasks]
    heads = ["sampling", "weighting", *named, *(f"delta_m, {name}" for name in budgets), "against the first"]
    lines = ["| " + " | ".join(heads) + " |", "|---|---|" + "---:|" * (len(heads) - 2)]
    for row in found["pairs"]:
        deltas = [_said(row["delta_m"][name] if row["delta_m"] else None) for name in budgets]
        lines.append(
            _line([row["sampling"], row["weighting"], *_cells(row["scores"], tasks), *deltas, _said(row["against_first"])])
        )
    empty = [""] * (len(budgets) + 1)
    lines += [_line([f"alone, {name}", "", *_cells(own, tasks), *empty]) for name, own in found["alone"].items()]
    if found[BEST]["scores"]:
        best = best_of(found["pairs"])
        cells = _cells(found[BEST]["scores"], tasks)
        lines.append(_line([f"{best['sampling']}, MiniLM", best["weighting"], *cells, *empty]))
    if not all(row["delta_m"] for row in found["pairs"]):
        return "\n".join([*lines, "", "Empty lines were not run yet."])
    told = [counted(found), ""] if len(found["pairs"]) > 1 else []
    return "\n".join([*lines, "", *told, *left_out(found), *apart(found)])


def left_out(found: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each budget at which a task is 0, of which there is no percentage."""
    for name, own in found["alone"].items():
        if nothing := [task for task, value in own.items() if value == 0]:
            yield from (f"delta_m, {name} leaves out {', '.join(nothing)}: 0 alone.", "")


def apart(found: Mapping[str, Any]) -> Iterator[str]:
    """A table of the best pair's tasks against themselves alone."""
    best, budgets = best_of(found["pairs"]), list(found["alone"])
    heads = [f"{name}: {column}" for name in budgets for column in ("alone", "difference")]
    yield _line([f"{best['sampling']}, {best['weighting']}", "metric", "together", *heads])
    yield "|---|---|" + "---:|" * (len(heads) + 1)
    for task in found["tasks"]:
        cells = [f"{best['scores'][task]:.3f}"]
        for name in budgets:
            own = best["against_alone"][name][task]
            cells += [f"{found['alone'][name][task]:.3f}", _shown(own["difference"], own, 3)]
        yield _line([task, found["metrics"][task], *cells])


def counted(found: Mapping[str, Any]) -> str:
    """Which pair is the highest, and how many of the others the intervals set apart from the first."""
    best = best_of(found["pairs"])
    told = [row["against_first"] for row in found["pairs"] if row["against_first"]]
    above, below = sum(own["low"] > 0 for own in told), sum(own["high"] < 0 for own in told)
    first = found["pairs"][0]
    return (
        f"Highest: {best['sampling']} with {best['weighting']}. Of the {len(told)} others, {above} are above {first['sampling']} "
        f"with {first['weighting']} by an interval without 0, {below} below, {len(told) - above - below} neither."
    )


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cells(scores: Mapping[str, float | None], tasks: Sequence[str]) -> list[str]:
    return ["" if (value := scores[task]) is None else f"{value:.3f}" for task in tasks]


def _said(own: Mapping[str, float] | None) -> str:
    return "" if own is None else _shown(own["percent"], own, 1)


def _shown(value: float, own: Mapping[str, float], digits: int) -> str:
    return f"{value:+.{digits}f} ({own['low']:+.{digits}f} to {own['high']:+.{digits}f})"
