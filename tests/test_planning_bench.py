"""The page on speed tells what was stored of plans and of large stores, and what was stored is judged as it says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from benchmarks import planning, scale


@pytest.mark.parametrize("bench", [planning, scale])
def test_the_page_is_of_what_is_kept_and_a_changed_figure_is_found(bench: Any) -> None:
    rows = json.loads(bench.STORED.read_text())["rows"]
    page = bench.PAGE.read_text(encoding="utf-8")
    assert bench.written(page, rows) == page, f"run `{bench.__name__}` again, or write its page"
    rows[0]["resident_bytes" if bench is scale else "measured_bytes"] *= 2
    assert bench.written(page, rows) != page


def test_a_plan_is_met_where_both_its_errors_are_within_their_musts() -> None:
    stored = json.loads(planning.STORED.read_text())
    assert [row["recipe"] for row in stored["rows"]] == list(planning.RECIPES)
    for row in stored["rows"]:
        within = abs(row["error_s"]) <= stored["setting"]["must_s"] and abs(row["error_bytes"]) <= stored["setting"]["must_bytes"]
        assert row["met"] == within
        assert row["error_bytes"] == pytest.approx(row["predicted_bytes"] / row["measured_bytes"] - 1)


@pytest.mark.parametrize(
    ("change", "met"),
    [({}, True), ({"start_s": 3.1}, False), ({"resident_bytes": 201e6}, False), ({"own_bytes": 201e6}, False)],
)
def test_a_large_store_is_met_where_start_and_memory_are(change: dict[str, float], met: bool) -> None:
    assert scale.met({"start_s": 0.1, "resident_bytes": 1e6, "own_bytes": 1e6, **change}) is met
