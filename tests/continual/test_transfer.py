"""Transfer forward and backward over a line of models, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trunkline.continual.transfer import probe, readable, transfer
from trunkline.data.packing import rows_of
from trunkline.data.rows import Ragged, Rows


def report(forward: dict[str, float], **changes: float | None) -> dict[str, Any]:
    old = [{"task": task, "change": change} for task, change in changes.items()]
    return {"old": old, "forward": [{"task": task, "forward": value} for task, value in forward.items()]}


def rows(**targets: np.ndarray | Ragged) -> Rows:
    count = len(next(iter(targets.values())))
    return rows_of([[1]] * count, **targets)


# a and b were there first, c is added by the second model, d by the third.
LINE = [report({"c": 4.0}, a=-3.0, b=1.0), report({"d": -1.0}, a=2.0, b=-1.5, c=-0.5)]


def test_transfer_by_hand() -> None:
    # a: 0, -3, -1; b: 0, 1, -0.5; c: 0, -0.5. The best of each less its last: 1, 1.5, 0.5.
    found = transfer(LINE, "abcd")
    assert found == {
        "backward_transfer": pytest.approx((-1.0 - 0.5 - 0.5) / 3),
        "forward_transfer": pytest.approx(1.5),
        "forgetting": pytest.approx((1.0 + 1.5 + 0.5) / 3),
    }


def test_of_one_step_backward_transfer_is_the_mean_change() -> None:
    assert transfer([report({}, a=-2.0, b=1.0, c=None)], "abc") == {
        "backward_transfer": -0.5,
        "forward_transfer": None,
        "forgetting": 1.0,
    }
    assert set(transfer([], "abc").values()) == {None}


def test_a_task_that_was_removed_or_once_not_measured_is_in_no_mean() -> None:
    found = transfer([*LINE, report({}, a=None, b=0.0, c=0.0, news=-9.0)], "abc")
    assert found["backward_transfer"] == pytest.approx((-0.5 - 0.5) / 2) and found["forward_transfer"] == 4.0


def test_forgetting_is_against_the_best_model_before_not_the_first() -> None:
    first_alone = np.mean([max(0.0, 1.0), max(0.0, 0.5), max(0.0, 0.5)])  # what R[j, j] - R[T, j] would give
    assert transfer(LINE, "abcd")["forgetting"] != pytest.approx(first_alone)


def test_a_probe_by_hand() -> None:
    # One dimension: vectors 0, 2 are -1, 1; targets 0, 4 are -2, 2 about their mean. W = 4 / (2 + 0.1 * 2); 3 is 2.
    found = probe(np.array([[0.0], [2.0]]), rows(target=np.array([0.0, 4.0])), np.array([[3.0]]), None)
    assert found == pytest.approx([2 + 2 * 4 / 2.2])


def test_a_probe_reads_labels_sets_and_numbers_from_vectors_that_hold_them_and_from_no_others() -> None:
    chance = np.random.default_rng(0)
    labels = chance.integers(0, 3, 400)
    known = np.eye(3)[labels] + 0.1 * chance.standard_normal((400, 3))
    half = slice(0, 200), slice(200, 400)
    noise = chance.standard_normal((400, 3))

    def right(vectors: np.ndarray) -> float:
        found = probe(vectors[half[0]], rows(labels=labels[half[0]]), vectors[half[1]], 3)
        return float((found.argmax(1) == labels[half[1]]).mean())

    assert right(known) == 1.0 and right(noise) < 0.5
    sets = np.eye(3, dtype=np.uint8)[labels]
    logits = probe(known[half[0]], rows(label_set=sets[half[0]]), known[half[1]], 3)
    assert ((logits > 0) == sets[half[1]]).all()
    several = probe(known[half[0]], rows(target=known[half[0]] * 2), known[half[1]], None)
    assert several.shape == (200, 3) and np.abs(several - 2 * known[half[1]]).max() < 0.6


def test_targets_of_tokens_and_of_rows_of_several_texts_are_not_readable() -> None:
    pair = Ragged.of([[1, 1]])
    assert readable(Rows(Ragged.of([[5, 6]]), pair, pair, np.ones(1, np.int32), {"target": np.zeros(1)})) is None
    assert readable(rows(labels=Ragged.single(np.zeros(3)))) is None and readable(rows(target=np.zeros(3))) == "target"
