"""The benches of the judge: known figures hold, two studies are compared bit by bit, and a lead is told with its interval."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.quality import embed, tuning

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"


def stored(name: str) -> dict[str, Any]:
    return dict(json.loads((RESULTS / f"{name}.json").read_text()))


def test_the_figures_known_from_outside_were_found_beside_our_own_vectors_and_trunk() -> None:
    found = stored("embed")
    there = [row["embedder"] for row in found["rows"]]
    assert {"glove_6b_50d", "our skipgram", "all_minilm_l6_v2", "our trunk, six tasks"} <= set(there) <= set(embed.cells())
    checks = {(row["embedder"], own["name"]): own for row in found["rows"] for own in row["checks"]}
    assert checks["all_minilm_l6_v2", "stsb_texts"]["found"] == pytest.approx(0.820, abs=0.002)
    assert checks["glove_6b_50d", "ws353"]["found"] == pytest.approx(0.503, abs=0.003)
    assert all(own["holds"] for own in checks.values())


def test_a_row_stands_until_what_states_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = embed.cells()["our skipgram"]
    monkeypatch.setattr(embed, "RESULTS", tmp_path)
    assert embed.stored("our skipgram", cell) is None
    embed.place_of("our skipgram").write_text(json.dumps({"key": embed.key(cell)}))
    assert embed.stored("our skipgram", cell) is not None
    assert embed.stored("our skipgram", replace(cell, stated=["--dim", "50"])) is None


def study(*scores: list[float], best: int = 0) -> dict[str, Any]:
    return {"best": {"number": best}, "trials": [{"number": number, "scores": own} for number, own in enumerate(scores)]}


def test_two_studies_are_the_same_to_the_last_bit_or_not() -> None:
    whole = study([0.1, 0.3], [0.2])
    assert tuning.same(whole, study([0.1, 0.3], [0.2])) == {"best": True, "trials": 2, "other_figures": 0}
    nearly = study([0.1, float(np.nextafter(0.3, 1))], [0.2], best=1)
    assert tuning.same(whole, nearly) == {"best": False, "trials": 2, "other_figures": 1}


def side(value: float, spread: float) -> list[dict[str, Any]]:
    chance = np.random.default_rng(0)
    found = []
    for seed in (1, 2, 3):
        again = (value + spread * chance.normal(size=tuning.RESAMPLES)).tolist()
        found.append({"seed": seed, "tasks": [{"task": "a", "metric": "accuracy", "value": value, "resampled": again}]})
    return found


@pytest.mark.parametrize(("value", "verdict"), [(0.6, "better"), (0.4, "worse"), (0.501, "not told apart")])
def test_a_lead_is_told_where_its_interval_leaves_out_0(value: float, verdict: str) -> None:
    found = tuning.beside(side(value, 0.01), [*side(0.5, 0.02)])
    assert found["verdict"] == verdict and found["low"] < found["percent"] < found["high"]
    assert found["percent"] == pytest.approx(100 * (value - 0.5) / 0.5, abs=1e-3)
