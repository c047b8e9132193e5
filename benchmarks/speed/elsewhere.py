"""Rows of the table that other benches measured: what weightings cost, and what adding a task costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.speed.ratios import row

RESULTS = Path(__file__).parents[1] / "results"
Row = dict[str, Any]
# Figure of performance.md -> its must and stretch: a step at most so many times as long as under static weighting.
WEIGHTINGS = {"R12": (1.02, 1.01), "R13": (1.10, 1.04), "R14": (1.7, 1.3)}
ENOUGH = 0.99  # of the joint run's score, for R18


def weightings() -> list[Row]:
    """R12 to R14, of `python -m benchmarks.weighting`."""
    kept = json.loads((RESULTS / "weighting.json").read_text())
    return [
        _dated(
            row(own["figure"], (own["ratio"], own["low"], own["high"]), *WEIGHTINGS[own["figure"]], _said(own), at_most=True),
            kept,
        )
        for own in kept["ratios"]
        if own["figure"] in WEIGHTINGS
    ]


def _said(own: dict[str, Any]) -> str:
    return f"step time of weighting {own['cell']} against static, 8 tasks"


def extension(name: str = "extend6") -> list[Row]:
    """R18, of `python -m benchmarks.extend`: the least tokens of an extension that came close to joint training's score."""
    kept = {path.stem: json.loads(path.read_text()) for path in sorted((RESULTS / name).glob("*.json"))}
    joint = kept["joint"]
    close = [
        (own["tokens"] / joint["tokens"], cell, own)
        for cell, own in kept.items()
        if "old" in own and own["kept"] and _reached(own, joint)
    ]
    share, cell, own = min(close, key=lambda found: found[0])
    what = f"tokens to add a task by '{cell}', old tasks kept, of joint training's from scratch"
    return [_dated(row("R18", (share, share, share), 0.15, 0.05, what, at_most=True), own)]


def _reached(own: dict[str, Any], joint: dict[str, Any]) -> bool:
    return all(value >= ENOUGH * joint["scores"][task] for task, value in own["scores"].items())


def _dated(found: Row, kept: dict[str, Any]) -> Row:
    return {**found, **{key: kept[key] for key in ("date", "commit", "machine")}}
