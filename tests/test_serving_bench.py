"""The page on serving tells the figures that were stored."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.serving import figures, numbers

ROOT = Path(__file__).parent.parent


def missing(page: str, stored: str) -> list[str]:
    """Lines of the stored figures that the page lacks."""
    rows = json.loads(stored)["rows"]
    sides = {"whole": "one model of all", "one model a task": "one model a task"}
    lines = [
        f"| {row['load']} | {sides[row['side']]} | {row['rows_per_s']:.0f} | {row['p50_ms']:.0f} | {row['p99_ms']:.0f} |"
        for row in rows
    ]
    return [line for line in lines if line not in page]


def test_the_figures_of_serving_are_those_that_were_stored_and_a_changed_one_is_found() -> None:
    page = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
    stored = (ROOT / "benchmarks" / "results" / "serving.json").read_text()
    assert missing(page, stored) == [] and json.loads(stored)["answers_apart"] < 1e-4
    first = json.loads(stored)["rows"][0]
    assert len(missing(page.replace(f"| {first['rows_per_s']:.0f} |", "| 9999 |"), stored)) == 1


def test_rates_and_percentiles_are_counted_by_hand() -> None:
    told = figures([0.1] * 98 + [0.5, 0.9], rows=4, seconds=10.0)
    assert told == {"rows_per_s": 40.0, "p50_ms": 100.0, "p99_ms": 900.0, "answers": 100}
    assert numbers({"a": [{"label": "x", "value": 1.0}], "b": 2.0}) == [1.0, 2.0]
