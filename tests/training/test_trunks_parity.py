"""P1 and P4 for every trunk, with learned pooling, layer mixes and dropped words, on real gloo ranks."""

from __future__ import annotations

import pytest

import kinds
import laws
from ranks import Ranks
from trunkline.models import TRUNKS

CLOSE = 2e-6
EVERY = pytest.mark.parametrize("kind", sorted(laws.TRUNK_SETTINGS))


def test_every_trunk_is_here() -> None:
    assert laws.TRUNK_SETTINGS.keys() == TRUNKS.keys()


def expected(kind: str) -> dict[str, object]:
    return laws.reference(laws.stream().next_step(1), clip=None, net=laws.model(kind=kind))


@pytest.mark.parametrize(
    ("kind", "stage"), [*((kind, 1) for kind in sorted(laws.TRUNK_SETTINGS)), ("lstm", 3), ("bilm", 3), ("static", 0)]
)
def test_two_ranks_give_the_gradient_of_one_plain_pass_the_same_words_dropped(two_ranks: Ranks, kind: str, stage: int) -> None:
    first, second = two_ranks(laws.train, 1, stage=stage, tokens_per_pass=80, clip=None, kind=kind)
    wanted = expected(kind)
    mixed = {name for name, value in wanted.items() if kind == "static" and name.endswith("mix.weights")}  # it has one layer
    assert all(float(value.abs().max()) > 0 for name, value in wanted.items() if name not in mixed)
    assert laws.furthest(laws.gradients(first.state), wanted) < CLOSE
    assert laws.bit_equal(first.state, second.state)
    assert first.mixes != second.mixes


@pytest.mark.parametrize("kind", ["static", "gru"])
def test_a_mean_of_means_is_rejected(two_ranks: Ranks, kind: str) -> None:
    first, _ = two_ranks(laws.train, 1, stage=1, tokens_per_pass=80, clip=None, kind=kind, fault="mean of means")
    assert laws.furthest(laws.gradients(first.state), expected(kind)) > 100 * CLOSE


def test_words_dropped_by_rank_are_rejected(two_ranks: Ranks) -> None:
    first, _ = two_ranks(laws.train, 1, stage=1, tokens_per_pass=80, clip=None, kind="rnn", fault="words dropped by rank")
    assert laws.furthest(laws.gradients(first.state), expected("rnn")) > 100 * CLOSE


@EVERY
def test_a_run_stopped_and_resumed_is_bit_equal_to_one_never_stopped(two_ranks: Ranks, kind: str) -> None:
    settings = {"stage": 2, "tokens_per_pass": 120, "dropout": 0.1, "kind": kind}
    straight, _ = two_ranks(laws.train, 3, save_at=2, **settings)
    resumed, _ = two_ranks(laws.train, 3, resume=straight.saved, **settings)
    assert resumed.losses == straight.losses[2:]
    assert laws.bit_equal(resumed.state, straight.state)


@pytest.mark.parametrize("fault", ["moments forgotten", "generator not reseeded"])
def test_a_resume_that_forgets_something_is_rejected(two_ranks: Ranks, fault: str) -> None:
    settings = {"stage": 2, "tokens_per_pass": 120, "dropout": 0.1, "kind": "lstm"}
    straight, _ = two_ranks(laws.train, 3, save_at=2, **settings)
    resumed, _ = two_ranks(laws.train, 3, resume=straight.saved, fault=fault, **settings)
    assert not laws.bit_equal(resumed.state, straight.state)


@pytest.mark.parametrize(("kind", "stage"), [("bilm", 1), ("bilm", 3), ("transformer", 1)])
def test_a_bidirectional_language_model_trains_on_two_ranks_as_on_one(two_ranks: Ranks, kind: str, stage: int) -> None:
    (first, _), (second, _) = two_ranks(kinds.gradient, "bilm", stage=stage, tokens_per_pass=80, trunk=kind)
    wanted = kinds.reference("bilm", trunk=kind)
    assert laws.furthest(first, wanted) < CLOSE
    assert laws.furthest(second, wanted) < CLOSE


def test_a_bilm_that_reads_its_language_model_s_rows_whole_is_rejected(two_ranks: Ranks) -> None:
    (first, _), _ = two_ranks(kinds.gradient, "bilm", stage=1, tokens_per_pass=80, trunk="bilm")
    assert laws.furthest(first, kinds.reference("bilm", whole=True, trunk="bilm")) > 100 * CLOSE
