"""What holds for every metric: P9 (evaluation over ranks = a single pass) and that nothing is undefined."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.metrics import METRICS as TABLE
from trunkline.metrics.base import Metric
from trunkline.registry import METRICS

GIVEN = {
    "classification": {"scores", "prediction", "target"},
    "multilabel": {"scores", "prediction", "target"},
    "regression": {"prediction", "target"},
    "tagging": {"prediction", "target", "place", "tag", "predicted_tag"},
    "masked_language": {"loss", "prediction", "target"},
    "span": {"answer", "answers"},
    "causal_language": {"loss", "prediction", "target"},
    "bilm": {"loss", "prediction", "target"},
    "replaced_token": {"scores", "prediction", "target"},
    "contrastive": {"query", "candidate", "key", "query_key"},
    "ranking": {"scores", "grades"},
    "generation": {"loss", "text", "reference", "place"},
}
FITS = {
    "classification": {
        *("accuracy", "macro_f1", "micro_f1", "mcc", "log_loss"),
        *("auroc", "mean_average_precision", "calibration_error"),
    },
    "multilabel": {"macro_f1", "micro_f1", "auroc", "mean_average_precision", "jaccard"},
    "regression": {"pearson", "spearman", "mse", "mae", "r2"},
    "replaced_token": {
        *("accuracy", "macro_f1", "micro_f1", "mcc", "log_loss"),
        *("auroc", "mean_average_precision", "calibration_error"),
    },
    "tagging": {"accuracy", "macro_f1", "micro_f1", "mcc", "span_f1"},
    "masked_language": {"perplexity", "masked_accuracy"},
    "span": {"exact_match", "answer_f1"},
    "causal_language": {"perplexity", "accuracy"},
    "bilm": {"perplexity", "accuracy"},
    "contrastive": {"retrieval_recall", "retrieval_mrr", "retrieval_ndcg", "alignment", "uniformity"},
    "ranking": {"map", "mrr", "ndcg", "recall_at_k"},
    "generation": {"perplexity", "bleu", "chrf", "text_match"},
}
SEVERAL = ("tagging", "masked_language", "causal_language", "bilm", "replaced_token", "generation")  # targets in a row
TAGS = np.array(["O", "B-A", "I-A", "B-B"])
WRITTEN = ["the old house by the red river", "a train of light and glass goes by", "it is a cold day in the old town", ""]
ANSWERS = ["", "red", "red river", "old red house", "猫坐在", "猫"]


def rows(kind: str, count: int, seed: int) -> list[tuple[int, dict[str, np.ndarray]]]:
    """`count` rows as (id, records), several targets per row where the kind has them."""
    rng = np.random.default_rng(seed)
    made = []
    for row in rng.permutation(count * 3)[:count]:
        targets = int(rng.integers(1, 5)) if kind in SEVERAL else 1
        whole = {
            "scores": rng.normal(size=(targets, 4)).astype(np.float32),
            "loss": rng.exponential(size=targets).astype(np.float32),
            "query": rng.normal(size=(targets, 6)).astype(np.float32),
            "candidate": rng.normal(size=(targets, 6)).astype(np.float32),
            "key": rng.integers(0, 30, targets),
            "query_key": rng.integers(0, 25, targets),
            "prediction": rng.integers(0, 4, targets),
            "target": rng.integers(0, 4, targets),
        }
        if kind == "ranking":
            size = int(rng.integers(2, 9))
            whole |= {"scores": boxed(rng.integers(0, 4, size) / 3), "grades": boxed(rng.permutation(size) // (size - 1) * 2)}
        if kind == "multilabel":
            whole |= {"prediction": rng.integers(0, 2, (1, 4)), "target": rng.integers(0, 2, (1, 4))}
        if kind == "tagging":
            whole |= {"place": np.arange(targets), "tag": TAGS[whole["target"]], "predicted_tag": TAGS[whole["prediction"]]}
        if kind == "regression":
            whole |= {"prediction": rng.normal(size=1).astype(np.float32), "target": rng.normal(size=1).astype(np.float32)}
        if kind == "span":
            right = tuple(rng.choice(ANSWERS, int(rng.integers(0, 3))).tolist())
            whole |= {"answer": np.array([rng.choice(ANSWERS)], object), "answers": np.fromiter([right], object, 1)}
        if kind == "generation":
            told = rng.choice(WRITTEN, (2, targets)).astype(object)
            whole |= {"text": told[0], "reference": told[1], "place": np.arange(targets)}
        made.append((int(row), {name: whole[name] for name in GIVEN[kind]}))
    return made


def boxed(values: np.ndarray) -> np.ndarray:
    made = np.empty(1, object)
    made[0] = values
    return made


def seen(name: str, chunk: list[tuple[int, dict[str, np.ndarray]]]) -> Metric:
    metric = METRICS.get(name)()
    if chunk:
        ids = np.concatenate([np.full(len(next(iter(records.values()))), row) for row, records in chunk])
        metric.update(ids, **{key: np.concatenate([records[key] for _, records in chunk]) for key in chunk[0][1]})
    return metric


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in FITS.items() for name in sorted(names)])
@settings(max_examples=15, deadline=None)
@given(count=st.integers(1, 40), ranks=st.integers(1, 5), seed=st.integers(0, 2**20))
def test_any_split_over_ranks_in_any_order_is_the_single_pass_bit_for_bit(
    kind: str, name: str, count: int, ranks: int, seed: int
) -> None:
    whole = rows(kind, count, seed)
    single = seen(name, sorted(whole, key=lambda item: item[0])).compute()
    rng = np.random.default_rng(seed + 1)
    rank_of = rng.integers(0, ranks, count)
    parts = [seen(name, [whole[i] for i in range(count) if rank_of[i] == rank]) for rank in range(ranks)]
    merged = METRICS.get(name)()
    for rank in rng.permutation(ranks):
        merged.merge(parts[rank])
    assert merged.compute() == single or (math.isnan(single) and math.isnan(merged.compute()))


def test_every_metric_is_held_to_the_law() -> None:
    assert set().union(*FITS.values()) == set(TABLE)


def with_ties(records: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.round(own) if own.dtype.kind == "f" else own for name, own in records.items()}


def without_a_class(records: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    told = {name: np.where(own == 2, 1, own) for name, own in records.items() if name in ("target", "prediction")}
    return {**records, **told}


@pytest.mark.parametrize("edge", [with_ties, without_a_class])
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in FITS.items() for name in sorted(names)])
def test_ties_an_absent_class_a_rank_without_rows_and_uneven_ranks_give_the_single_pass(kind: str, name: str, edge) -> None:
    whole = [(row, edge(records)) for row, records in rows(kind, 31, 6)]
    merged = METRICS.get(name)()
    for rank in (2, 0, 1, 3):  # ten or eleven rows each, the fourth has none
        merged.merge(seen(name, whole[rank::3] if rank < 3 else []))
    single = seen(name, sorted(whole, key=lambda item: item[0])).compute()
    assert merged.compute() == single or (math.isnan(single) and math.isnan(merged.compute()))


def test_the_law_rejects_a_mean_of_means_over_ranks() -> None:
    whole = rows("tagging", 31, 4)
    means = np.mean([seen("accuracy", whole[:3]).compute(), seen("accuracy", whole[3:]).compute()])
    assert means != seen("accuracy", whole).compute()


@pytest.mark.parametrize("kind", sorted(FITS))
def test_a_metric_fits_the_kinds_it_measures_and_no_other(kind: str) -> None:
    assert {name for name in TABLE if METRICS.get(name).fits(kind, GIVEN[kind])} == FITS[kind]


def test_a_third_partys_kind_is_judged_by_its_records_alone() -> None:
    assert METRICS.get("accuracy").fits("intent_and_slots", {"prediction", "target"})
    assert not METRICS.get("log_loss").fits("intent_and_slots", {"prediction", "target"})


def test_scored_pairs_are_measured_as_numbers_and_not_as_classes() -> None:
    fitting = {name for name in TABLE if METRICS.get(name).fits("contrastive", {"prediction", "target"})}
    assert fitting == FITS["regression"]


# What is best for uniformity is a spread over the sphere, which no row's truth is: see test_geometry.
JUDGED = [(kind, name) for kind, names in FITS.items() for name in sorted(names - {"uniformity"})]


@pytest.mark.parametrize(("kind", "name"), JUDGED)
def test_a_perfect_prediction_gets_the_best_and_any_other_is_on_its_worse_side(kind: str, name: str) -> None:
    whole = rows(kind, 60, 8)
    metric = METRICS.get(name)
    worse = seen(name, whole).compute()
    for _, records in whole:
        if kind in ("classification", "replaced_token"):
            records["scores"] = np.eye(4)[records["target"]] * 1000
        if kind == "multilabel":
            records["scores"] = records["target"] * 2.0 - 1
        if kind == "ranking":
            records["scores"] = records["grades"]
        if kind == "tagging":
            records["predicted_tag"] = records["tag"]
        if kind == "contrastive":
            vectors = np.random.default_rng(records["key"]).normal(size=(1, 6))
            records["candidate"] = records["query"] = (vectors / np.linalg.norm(vectors)).astype(np.float32)
        elif "loss" in records:
            records["loss"] = np.zeros_like(records["loss"])
        if kind == "span":
            records["answer"] = np.array([max(records["answers"][0], default="")], object)
        if kind == "generation":
            records["text"] = records["reference"]
        if kind not in ("contrastive", "ranking", "span", "generation"):
            records["prediction"] = records["target"]
    perfect = seen(name, whole).compute()
    assert perfect == pytest.approx(metric.best)
    assert worse < perfect if metric.higher_is_better else worse > perfect


@pytest.mark.parametrize("name", sorted(TABLE))
def test_nothing_seen_is_no_figure(name: str) -> None:
    assert math.isnan(METRICS.get(name)().compute())


def test_records_of_unequal_length_are_refused() -> None:
    with pytest.raises(AssertionError, match="2 records for 3 ids"):
        METRICS.get("accuracy")().update(np.arange(3), prediction=np.arange(3), target=np.arange(2))


def test_merging_leaves_the_other_as_it_was() -> None:
    first, second = seen("accuracy", rows("tagging", 5, 1)), seen("accuracy", rows("tagging", 9, 2))
    before = second.compute()
    first.merge(second)
    first.merge(second)
    assert second.compute() == before
