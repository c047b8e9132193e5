"""The figures of who pulls against whom."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import gram
import laws
from trunkline.data.packing import Table, pack, rows_of
from trunkline.data.units import Unit
from trunkline.losses.classification import Hinge
from trunkline.models.heads.classification import Classification
from trunkline.models.multitask import MultiTask
from trunkline.models.transformer import Transformer
from trunkline.training.interference import Interference, alignment
from trunkline.training.objective import Objective, factors


def shown(*stacks: list[list[float]]) -> Interference:
    interference = Interference(["a", "b", "c", "d"])
    for stack in stacks:
        gradients = torch.tensor(stack, dtype=torch.float64)
        interference.see(gradients @ gradients.T)
    return interference


def test_opposed_tasks_are_at_minus_1_duplicates_at_1_and_strangers_at_0() -> None:
    figures = shown([[2, 0], [-1, 0], [0, 3], [0, 4]]).read()
    assert figures["grad/cosine/a/b"] == pytest.approx(-1)
    assert figures["grad/cosine/c/d"] == pytest.approx(1)
    assert figures["grad/cosine/a/c"] == 0
    assert figures["grad/conflict"] == pytest.approx(1 / 6)
    assert [figures[f"grad/norm_share/{task}"] for task in "abcd"] == pytest.approx([0.2, 0.1, 0.3, 0.4])


def test_means_are_over_the_steps_that_had_both_tasks() -> None:
    interference = shown([[1, 0], [1, 0], [0, 0], [0, 0]], [[1, 0], [0, 1], [0, 0], [0, 0]], [[1, 0], [0, 0], [0, 1], [0, 0]])
    figures = interference.read()
    assert figures["grad/cosine/a/b"] == pytest.approx(0.5)
    assert "grad/cosine/a/d" not in figures and "grad/norm_share/d" not in figures
    assert interference.read() == figures


def test_after_ten_looks_the_newest_counts_a_tenth() -> None:
    opposed, alike = [[1, 0], [-1, 0], [0, 0], [0, 0]], [[1, 0], [1, 0], [0, 0], [0, 0]]
    interference = shown(*[opposed] * 30, alike)
    assert interference.read()["grad/cosine/a/b"] == pytest.approx(-0.9 + 0.1)
    assert interference.read()["grad/conflict"] == pytest.approx(0.9)
    # The mean of all 31 would be -29/31, that of what came since a reading 1.
    assert shown(*[opposed] * 9, alike).read()["grad/cosine/a/b"] == pytest.approx(-0.8)


def test_its_state_through_json_continues_exactly_and_without_it_does_not() -> None:
    rng = np.random.default_rng(0)
    stacks = [rng.normal(size=(4, 3)).tolist() for _ in range(6)]
    straight, resumed, forgotten = shown(*stacks[:4]), shown(), shown()
    resumed.load_state(json.loads(json.dumps(straight.state())))
    for interference in (straight, resumed, forgotten):
        for stack in stacks[4:]:
            gradients = torch.tensor(stack, dtype=torch.float64)
            interference.see(gradients @ gradients.T)
    assert resumed.read() == straight.read() != forgotten.read()
    assert shown().state() == {}


def test_a_gradient_that_is_no_number_is_left_out() -> None:
    figures = shown([[float("nan"), 0], [1, 0], [2, 0], [0, 0]]).read()
    assert set(figures) == {"grad/cosine/b/c", "grad/norm_share/b", "grad/norm_share/c", "grad/conflict"}


CONFLICT = ("up", "down", "same", "other")


def conflict(swapped: bool = False) -> dict[str, float]:
    """The figures of one step: `up` and `down` have opposed labels on the same feature and one head, `same` doubles `up`, and
    `other` looks at another feature, which stands beside each value of the first as often. swapped: `down` looks at it too."""
    rng = np.random.default_rng(0)
    fillers = [rng.integers(10, laws.VOCAB, 4).tolist() for _ in range(12)]
    texts = [[one, two, *filler] for one in (5, 6) for two in (7, 8) for filler in fillers]
    first, second = (np.array([text[place] % 2 for text in texts]) for place in (0, 1))
    labels = {"up": first, "down": second if swapped else 1 - first, "same": first, "other": second}
    rows = {task: rows_of(texts, labels=own) for task, own in labels.items()}
    tables = {task: Table(own, laws.collate, own.take(np.array([0]))) for task, own in rows.items()}
    torch.manual_seed(0)
    trunk = Transformer(laws.VOCAB, 0, 64, hidden_size=64, layers=1, heads=2, dropout=0.0)
    shared, own = (Classification(64, 2, pooling="mean", dropout=0.0) for _ in range(2))
    net = MultiTask(trunk, {"up": shared, "down": shared, "same": shared, "other": own})
    every, passes = np.arange(len(texts)), np.zeros(len(texts), int)
    batch = pack([Unit(task, every, passes, 6 * len(texts)) for task in CONFLICT], tables, seed=0)
    probe, ones = gram.RankLocal(trunk, len(CONFLICT)), torch.ones(len(CONFLICT))
    scale = factors(ones, dict.fromkeys(CONFLICT, len(texts)))
    with probe.watching(batch, ones):
        # Inside its margin the hinge's slope is the label's sign, whatever the head gives.
        Objective(net, {task: Hinge() for task in CONFLICT})(batch, scale)[0].backward()
    interference = Interference(CONFLICT)
    interference.see(probe.gram())
    return interference.read()


def test_a_constructed_conflict_shows_minus_1_for_the_opposed_1_for_duplicates_and_0_for_strangers() -> None:
    figures = conflict()
    assert figures["grad/cosine/up/down"] == pytest.approx(-1, abs=0.1)
    assert figures["grad/cosine/down/same"] == pytest.approx(-1, abs=0.1)
    assert figures["grad/cosine/up/same"] == pytest.approx(1, abs=0.1)
    for task in ("up", "down"):
        assert figures[f"grad/cosine/{task}/other"] == pytest.approx(0, abs=0.1)
    assert conflict(swapped=True)["grad/cosine/up/down"] > -0.5


def test_alignment_is_the_cosine_with_the_sum_of_the_others_by_hand() -> None:
    gradients = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    found = alignment(["a", "b", "c", "d"], gradients @ gradients.T)
    # a with (3, 2), b with (4, 0), c with (1, 2)
    assert found == pytest.approx({"a": 3 / 13**0.5, "b": 0.0, "c": 1 / 5**0.5})
    assert alignment(["a", "b"], torch.diag(torch.tensor([1.0, 0.0]))) == {}
