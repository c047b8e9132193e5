"""Metrics of spans."""

from __future__ import annotations

import numpy as np
import pytest

from trunkline.metrics.tagging import SpanF1


def compute(*rows: tuple[str, str]) -> float:
    """Each row: its true tags, its predicted ones."""
    metric = SpanF1()
    for number, (true, predicted) in enumerate(rows):
        tag, guess = np.array(true.split()), np.array(predicted.split())
        metric.update(np.full(len(tag), number), tag=tag, predicted_tag=guess, place=np.arange(len(tag)))
    return metric.compute()


def test_span_f1_worked_by_hand() -> None:
    # true: PER 0-1, LOC 3; ORG 0. predicted: PER 0-1, ORG 3 (wrong type); ORG 0-1 (wrong end), LOC 2 (there is none)
    found = compute(("B-PER I-PER O B-LOC", "B-PER I-PER O B-ORG"), ("B-ORG O O", "B-ORG I-ORG B-LOC"))
    assert found == pytest.approx(2 * 1 / (3 + 4))


def test_a_span_ends_with_its_row() -> None:
    assert compute(("O B-PER", "O B-PER"), ("I-PER O", "I-PER O")) == 1.0
    assert compute(("O B-PER I-PER O", "O B-PER O O")) == 0.0


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("B-A I-A B-A O", "I-A I-A B-A O"),
        ("B-A I-A B-A O", "B-A E-A S-A O"),
        ("B-A I-A I-A O", "B-A M-A L-A O"),
        ("A A B O", "B-A I-A B-B O"),
    ],
)
def test_the_schemes_name_the_same_spans(first: str, second: str) -> None:
    third = "B-A I-A O O"
    assert compute((first, third)) == compute((second, third))
    assert compute((first, first)) == compute((second, second)) == 1.0


def test_without_a_span_it_is_zero() -> None:
    assert compute(("O O", "O O")) == 0.0
    assert compute(("O O", "B-A O")) == 0.0


@pytest.mark.parametrize("seed", range(20))
def test_it_is_nervaluate_s_strict_f1_whatever_the_tags(seed: int) -> None:
    from nervaluate import Evaluator

    rng = np.random.default_rng(seed)
    names = ["O", "B-A", "I-A", "B-B", "I-B", "I-C"]
    rows = [rng.choice(names, (2, rng.integers(1, 12))) for _ in range(15)]
    rows = [np.where(rng.random(row.shape) < [[0], [0.6]], row[0], row) for row in rows]
    true, predicted = ([row[side].tolist() for row in rows] for side in (0, 1))
    found = Evaluator(true, predicted, tags=["A", "B", "C"], loader="list").evaluate()["overall"]["strict"].f1
    assert 0 < found < 1
    assert compute(*((" ".join(one), " ".join(other)) for one, other in zip(true, predicted, strict=True))) == pytest.approx(
        found
    )
