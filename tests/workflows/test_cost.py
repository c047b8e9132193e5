"""What a run cost, and what the models it comes from did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trunkline.workflows.cost import cost, told


def run(outputs: Path, name: str, parent: Path | None, trained: dict[str, int] | None, *times: tuple[str, float]) -> Path:
    """A run folder with its model, as far as its cost is read from it."""
    model = outputs / name / "model"
    model.mkdir(parents=True)
    lineage: dict[str, Any] = {"run_id": name, "cards": {}, "parent": {"model": str(parent)} if parent else None}
    lineage |= {"trained": trained} if trained else {}
    (model / "manifest.json").write_text(
        json.dumps({"schema_version": 1, "files": {}, "tasks": {}, "results": [], "lineage": lineage})
    )
    lines = [json.dumps({"event": event, "time": time}) for event, time in times]
    (outputs / name / "events.jsonl").write_text("\n".join(lines))
    return model


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    """A first model, one made of it in two attempts, and one made of that."""
    made = run(tmp_path, "a", None, {"steps": 10, "tokens": 900, "rows": 90}, ("training", 0.0), ("finished", 40.0))
    again = [("training", 0.0), ("stopped", 2.0), ("training", 100.0), ("finished", 103.0)]
    second = run(tmp_path, "b", made, {"steps": 3, "tokens": 100, "rows": 9}, *again)
    return [made, second, run(tmp_path, "c", second, {"steps": 2, "tokens": 50}, ("training", 5.0), ("finished", 6.5))]


def test_a_run_s_cost_stands_beside_the_sums_over_all_it_comes_from(models: list[Path]) -> None:
    found = cost(models[2].parent, models[2], models[1])
    assert found == {
        "steps": 2,
        "tokens": 50,
        "rows": None,
        "seconds": 1.5,
        "before": {"steps": 13, "tokens": 1000, "rows": 99, "seconds": 45.0},
    }
    assert told(found).startswith("cost: 2 steps, 50 tokens, 1.5 seconds; the models it comes from: 13 steps, 1,000 tokens")


def test_a_model_in_a_line_finds_the_seconds_of_its_run_beside_the_others(models: list[Path], tmp_path: Path) -> None:
    moved = tmp_path / "line" / "versions" / "0001-a"
    moved.parent.mkdir(parents=True)
    models[0].rename(moved)
    assert cost(models[1].parent, models[1], moved)["before"]["seconds"] == 40.0


def test_what_is_not_known_is_none(tmp_path: Path) -> None:
    parent = run(tmp_path, "old", None, None)
    (tmp_path / "old" / "events.jsonl").unlink()
    found = cost(tmp_path / "gone", parent, parent)
    assert found["before"] == {"steps": None, "tokens": None, "rows": None, "seconds": None} and found["rows"] is None
    assert told(found) == "cost: "
