"""Intervals and paired comparisons: equal for any division over ranks, right against scipy's, and never biased by drawing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from trunkline.metrics.base import Metric
from trunkline.metrics.bootstrap import Measured, interval, paired
from trunkline.metrics.classification import Accuracy
from trunkline.metrics.geometry import Uniformity
from trunkline.metrics.ranking import Ndcg
from trunkline.metrics.regression import Mse
from trunkline.metrics.retrieval import RetrievalRecall
from trunkline.metrics.span import AnswerF1


def of_rows(rng: np.random.Generator, rows: int = 37) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """A part for each row, of 1 to 3 targets."""
    parts = []
    for row in rng.permutation(rows):
        size = int(rng.integers(1, 4))
        target = rng.integers(0, 3, size)
        parts.append((np.full(size, row), {"target": target, "prediction": np.where(rng.random(size) < 0.7, target, 0)}))
    return parts


def joined(parts):
    return np.concatenate([ids for ids, _ in parts]), {
        name: np.concatenate([records[name] for _, records in parts]) for name in parts[0][1]
    }


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_an_interval_is_the_same_bits_for_any_division_over_ranks(ranks: int) -> None:
    rng = np.random.default_rng(3)
    parts = of_rows(rng)
    whole = Measured.of(parts)
    owner = rng.integers(0, ranks, len(parts))
    shares = [[part for part, of in zip(parts, owner, strict=True) if of == rank] for rank in range(ranks)]
    divided = Measured.of([joined(own) for own in shares if own])
    assert np.array_equal(whole.ids, divided.ids)
    assert interval(Accuracy(), whole, 200) == interval(Accuracy(), divided, 200)


def test_rows_in_the_order_they_came_in_would_give_another_interval() -> None:
    parts = of_rows(np.random.default_rng(3))
    _ids, records = joined(parts)
    renumbered = np.repeat(np.arange(len(parts)), [len(own) for own, _ in parts])
    assert interval(Accuracy(), Measured(renumbered, records), 200) != interval(Accuracy(), Measured.of(parts), 200)


def test_the_interval_is_scipy_s_percentile_interval_within_what_chance_makes() -> None:
    rng = np.random.default_rng(0)
    gap = rng.normal(size=400).astype(np.float32)
    measured = Measured(np.arange(400), {"prediction": gap, "target": np.zeros(400, np.float32)})
    low, high = interval(Mse(), measured, 1000)
    theirs = stats.bootstrap((gap.astype(float) ** 2,), np.mean, method="percentile", n_resamples=4000, rng=1).confidence_interval
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.15 * (theirs.high - theirs.low))


def test_a_row_s_targets_are_drawn_together() -> None:
    ids = np.repeat(np.arange(30), 40)  # 30 rows, each all right or all wrong
    right = np.repeat(np.arange(30) % 2, 40)
    whole = interval(Accuracy(), Measured(ids, {"prediction": right, "target": np.ones_like(right)}), 400)
    apart = interval(Accuracy(), Measured(np.arange(1200), {"prediction": right, "target": np.ones_like(right)}), 400)
    assert whole[1] - whole[0] > 4 * (apart[1] - apart[0])


def test_nothing_measured_or_nothing_drawn_has_no_interval() -> None:
    empty = Measured.of([])
    assert interval(Accuracy(), empty, 10) is None and np.isnan(empty.value(Accuracy()))
    one = Measured(np.arange(2), {"prediction": np.zeros(2, int), "target": np.zeros(2, int)})
    assert interval(Accuracy(), one, 0) is None and interval(Accuracy(), one, 20) == (1.0, 1.0)
    assert interval(Uniformity(), one, 20) is None


def pairs(rng: np.random.Generator, rows: int = 200) -> dict[str, np.ndarray]:
    candidate = rng.normal(size=(rows, 8))
    query = candidate + 0.9 * rng.normal(size=(rows, 8))
    unit = [(v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32) for v in (query, candidate)]
    return {"query": unit[0], "candidate": unit[1], "key": np.arange(rows), "query_key": np.arange(rows) + 1000}


def test_drawn_queries_meet_the_candidates_of_the_whole_split_where_plain_drawing_makes_it_easier() -> None:
    records = pairs(np.random.default_rng(5))
    measured = Measured(np.arange(200), records)
    metric = RetrievalRecall(num_candidates=150)
    low, high = interval(metric, measured, 300)
    value = measured.value(metric)
    assert low < value < high
    drawn = Metric.values(metric, [np.random.default_rng(s).integers(0, 200, 200) for s in range(60)], **records)
    assert drawn.mean() > value + 0.02


def test_figures_of_draws_judged_row_by_row_are_those_of_the_rows_drawn() -> None:
    rng = np.random.default_rng(1)
    lists = [rng.integers(0, 3, int(rng.integers(1, 6))).astype(np.float32) for _ in range(20)]
    scores = [rng.normal(size=len(own)).astype(np.float32) for own in lists]
    boxes = {name: np.fromiter(own, object, 20) for name, own in (("scores", scores), ("grades", lists))}
    answers = {
        "answer": np.array(rng.choice(["red house", "red", ""], 20), object),
        "answers": np.fromiter([("red house",), (), ("old",)] * 6 + [("red",), ()], object, 20),
    }
    draws = [rng.integers(0, 20, 20) for _ in range(5)]
    for metric, records in ((Ndcg(), boxes), (AnswerF1(), answers)):
        one_by_one = [metric.value(**{name: record[taken] for name, record in records.items()}) for taken in draws]
        assert metric.values(draws, **records).tolist() == pytest.approx(one_by_one, abs=1e-12)


def test_two_models_that_answer_alike_do_not_differ_and_one_that_is_clearly_better_is_told() -> None:
    rng = np.random.default_rng(2)
    target = rng.integers(0, 2, 300)
    good, bad = np.where(rng.random(300) < 0.9, target, 1 - target), np.where(rng.random(300) < 0.6, target, 1 - target)
    own, other = (Measured(np.arange(300), {"prediction": p, "target": target}) for p in (good, bad))
    same = paired(Accuracy(), own, own, 200)
    assert (same.difference, same.low, same.high, same.p, same.verdict) == (0, 0, 0, 1, "not told apart")
    found = paired(Accuracy(), own, other, 400)
    assert found.verdict == "better" and found.low > 0.2 and found.p == pytest.approx(2 / 401)
    back = paired(Accuracy(), other, own, 400)
    assert back.verdict == "worse" and (back.low, back.high) == pytest.approx((-found.high, -found.low))


def test_of_a_loss_the_lower_model_is_the_better_one() -> None:
    zeros = np.zeros(50, np.float32)
    near, far = (Measured(np.arange(50), {"prediction": zeros + gap, "target": zeros}) for gap in (0.1, 2.0))
    assert paired(Mse(), near, far, 50).verdict == "better" and paired(Mse(), far, near, 50).verdict == "worse"


def test_rows_compared_apart_would_hide_what_pairing_shows() -> None:
    rng = np.random.default_rng(7)
    target = rng.normal(size=300).astype(np.float32)
    noise = rng.normal(size=300)
    own, other = (
        Measured(np.arange(300), {"prediction": (target + noise + shift).astype(np.float32), "target": target})
        for shift in (0, 0.2)
    )
    both = paired(Mse(), own, other, 300)
    apart = own.drawn(Mse(), 300, seed=1) - other.drawn(Mse(), 300, seed=2)
    assert both.high - both.low < 0.6 * np.ptp(np.quantile(apart, [0.025, 0.975]))


def test_models_measured_on_other_rows_are_not_compared() -> None:
    a, b = (Measured(np.arange(n), {"prediction": np.zeros(n, int), "target": np.zeros(n, int)}) for n in (3, 4))
    with pytest.raises(AssertionError, match="other rows"):
        paired(Accuracy(), a, b, 10)
