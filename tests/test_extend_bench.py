"""The tables of docs/extend.md are what the stored results say, and the results say what is claimed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks import freezing
from benchmarks.extend import PAGE, Bench, table, written
from benchmarks.extend_chain import Chain, growth
from benchmarks.extend_chain import table as chains_table

ROOT = Path(__file__).parent.parent
QUALITY = ROOT / "benchmarks" / "quality"


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(QUALITY / "extend6.cells.yaml")


def test_the_page_shows_what_is_stored(bench: Bench) -> None:
    page = PAGE.read_text()
    assert written(page, "extend6", table(bench)) == page
    chains = [Chain(QUALITY / "extend10.chains.yaml", name) for name in ("isolate", "reversed")]
    assert written(page, "extend10", chains_table(chains)) == page
    measured = ROOT / "benchmarks" / "results" / "freezing.json"
    costs = freezing.table(json.loads(measured.read_text())) if measured.is_file() else ""
    assert written(page, "freezing", costs) == page


def test_another_result_is_not_on_the_page(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    right = bench.stored("isolate")
    assert right is not None
    wrong = {**right, "scores": {bench.new: 0.5}}
    monkeypatch.setattr(bench, "stored", lambda cell: wrong if cell == "isolate" else None)
    assert written(PAGE.read_text(), "extend6", table(bench)) != PAGE.read_text()


def test_isolate_reaches_the_joint_score_at_a_seventh_of_its_tokens_and_changes_nothing(bench: Bench) -> None:
    base, joint, isolate = (bench.stored(cell) for cell in ("base", "joint", "isolate"))
    assert base and joint and isolate and bench.new
    assert isolate["scores"][bench.new] >= 0.99 * joint["scores"][bench.new]
    assert isolate["tokens"] <= 0.15 * joint["tokens"]
    assert isolate["old_again"] == base["scores"] and {row["change"] for row in isolate["old"]} == {0.0}


def test_growth_by_hand() -> None:
    assert growth([2.0, 3.0, 4.0]) == pytest.approx(2.0)
    assert growth([5.0, 5.0]) == pytest.approx(1.0)
