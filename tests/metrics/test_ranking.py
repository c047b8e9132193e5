"""Metrics of graded lists."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import pytrec_eval

from trunkline.errors import ConfigError
from trunkline.metrics.base import Metric
from trunkline.metrics.ranking import MeanAverage, MeanReciprocalRank, Ndcg, RecallAtK

METRICS = [MeanAverage(), MeanReciprocalRank(), Ndcg(), Ndcg(k=3), Ndcg(k=None), RecallAtK(), RecallAtK(k=3)]
NAMES = ["map", "recip_rank", "ndcg_cut_10", "ndcg_cut_3", "ndcg", "recall_1", "recall_3"]
NAN = math.nan


def boxed(lists: list[list[float]]) -> np.ndarray:
    made = np.empty(len(lists), object)
    for number, own in enumerate(lists):
        made[number] = np.array(own, np.float32)
    return made


def figure(metric: Metric, scores: list[float], grades: list[float]) -> float:
    return metric.value(scores=boxed([scores]), grades=boxed([grades]))


def test_figures_worked_by_hand() -> None:
    scores, grades = [0.1, 0.9, 0.5, 0.7], [2.0, 0.0, 1.0, 0.0]  # ranks 4, 1, 3, 2
    assert figure(MeanAverage(), scores, grades) == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert figure(MeanReciprocalRank(), scores, grades) == pytest.approx(1 / 3)
    assert figure(RecallAtK(k=3), scores, grades) == pytest.approx(1 / 2)
    assert figure(RecallAtK(), scores, grades) == 0.0
    ideal = 3 + 1 / math.log2(3)
    assert figure(Ndcg(), scores, grades) == pytest.approx((1 / math.log2(4) + 3 / math.log2(5)) / ideal)
    assert figure(Ndcg(k=3), scores, grades) == pytest.approx(1 / math.log2(4) / ideal)


def test_only_grades_from_the_stated_one_are_relevant() -> None:
    scores, grades = [0.1, 0.9, 0.5, 0.7], [2.0, 0.0, 1.0, 0.0]
    assert figure(MeanReciprocalRank(relevant_from=2), scores, grades) == pytest.approx(1 / 4)
    assert figure(RecallAtK(k=3, relevant_from=2), scores, grades) == 0.0


@pytest.mark.parametrize("seed", range(20))
def test_lists_without_ties_score_as_trec_eval_has_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 30, 12)
    scores = [rng.permutation(size).astype(float).tolist() for size in sizes]
    grades = [np.append(rng.integers(0, 4, size - 1), 1).astype(int).tolist() for size in sizes]
    # trec_eval's gain is the grade it is told
    told = {f"q{q}": {f"d{d}": 2**grade - 1 for d, grade in enumerate(own)} for q, own in enumerate(grades)}
    run = {f"q{q}": {f"d{d}": score for d, score in enumerate(own)} for q, own in enumerate(scores)}
    evaluator = pytrec_eval.RelevanceEvaluator(told, {"map", "recip_rank", "ndcg", "ndcg_cut.3,10", "recall.1,3"})
    found = evaluator.evaluate(run)
    for metric, name in zip(METRICS, NAMES, strict=True):
        expected = np.mean([found[f"q{q}"][name] for q in range(len(sizes))])
        assert metric.value(scores=boxed(scores), grades=boxed(grades)) == pytest.approx(expected, rel=1e-12), name


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("seed", range(6))
def test_ties_give_the_mean_over_every_order_of_those_that_tie(metric: Metric, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, grades = rng.integers(0, 2, 6).astype(float), np.append(rng.integers(0, 3, 5), 1)
    figures = []
    for order in itertools.permutations(range(6)):
        broken = scores + np.array(order) / 100
        figures.append(figure(metric, broken.tolist(), grades.tolist()))
    assert figure(metric, scores.tolist(), grades.tolist()) == pytest.approx(np.mean(figures), rel=1e-9)


def test_a_model_that_scores_all_alike_gets_what_chance_gets_in_closed_form() -> None:
    zeros, grades = [0.0] * 5, [0.0, 0.0, 1.0, 0.0, 0.0]
    harmonic = sum(1 / rank for rank in range(1, 6)) / 5
    assert figure(MeanAverage(), zeros, grades) == pytest.approx(harmonic)
    assert figure(MeanReciprocalRank(), zeros, grades) == pytest.approx(harmonic)
    assert figure(RecallAtK(), zeros, grades) == pytest.approx(1 / 5)
    assert figure(Ndcg(), zeros, grades) == pytest.approx(sum(1 / math.log2(1 + rank) for rank in range(1, 6)) / 5)


@pytest.mark.parametrize("metric", METRICS)
def test_the_order_of_a_lists_candidates_does_not_matter(metric: Metric) -> None:
    rng = np.random.default_rng(3)
    scores, grades = rng.integers(0, 3, 9).astype(float), rng.integers(0, 3, 9)
    order = rng.permutation(9)
    assert figure(metric, scores[order].tolist(), grades[order].tolist()) == pytest.approx(
        figure(metric, scores.tolist(), grades.tolist()), rel=1e-12
    )


@pytest.mark.parametrize("metric", METRICS)
def test_a_model_that_diverged_ranks_worst_and_not_by_chance(metric: Metric) -> None:
    grades = [1.0, 0.0, 0.0, 2.0]
    worst = figure(metric, [1, 3, 2, 0], grades)
    assert figure(metric, [NAN] * 4, grades) == worst
    assert figure(metric, [NAN, 0.0, 0.0, NAN], grades) == worst


def test_lists_without_a_relevant_candidate_are_left_out() -> None:
    scores, grades = boxed([[2, 1], [1, 2]]), boxed([[1, 0], [0, 0]])
    assert all(metric.value(scores=scores, grades=grades) == 1 for metric in METRICS)
    assert all(metric.value(scores=scores[1:], grades=grades[1:]) == 0 for metric in METRICS)


def test_grades_of_any_size_have_a_finite_gain() -> None:
    assert figure(Ndcg(), [1, 0], [0, 1e6]) == pytest.approx(1 / math.log2(3))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Ndcg(k=0),
        lambda: Ndcg(k=True),
        lambda: RecallAtK(k=-1),
        lambda: MeanAverage(relevant_from=0),
        lambda: MeanAverage(relevant_from=NAN),
    ],
)
def test_arguments_that_make_no_sense_are_refused(make) -> None:
    with pytest.raises(ConfigError, match="is needed"):
        make()
