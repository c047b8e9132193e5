"""F24: a bit that flips in one rank's weights is found within the interval, on all ranks, with the rank and the tensor."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ranks import Ranks
from trunkline.errors import IntegrityError
from trunkline.training import replicas

WIDTHS = {torch.float64: 64, torch.float32: 32, torch.bfloat16: 16}


def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return {"trunk.a": torch.randn(40, 8), "trunk.b": torch.randn(8).bfloat16(), "head.c": torch.randn(8, 3)}


def flip(value: torch.Tensor, place: int, bit: int) -> None:
    integers = value.view(-1).view(replicas.BITS[value.element_size()])
    mask = 1 << bit if bit < value.element_size() * 8 - 1 else -(1 << bit)
    integers[place] ^= mask


def told(flipped: int | None, step: int, name: str = "trunk.a", bit: int = 0) -> str | None:
    mine = weights()
    if flipped == torch.distributed.get_rank():
        flip(mine[name], 5, bit)
    try:
        replicas.compare(mine, step)
    except IntegrityError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name, bit", [("trunk.a", 0), ("trunk.b", 15), ("head.c", 31)])
def test_a_flipped_bit_of_one_rank_is_told_to_all_with_the_tensor(two_ranks: Ranks, name: str, bit: int) -> None:
    for said in two_ranks(told, 1, 100, name, bit):
        assert said is not None and f"first {name}." in said and "before step 100" in said


def test_equal_weights_pass_and_between_the_intervals_nothing_is_compared(two_ranks: Ranks) -> None:
    assert two_ranks(told, None, 100) == [None, None]
    assert two_ranks(told, 1, 101) == [None, None]


def rough(parameters: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.stack([value.float().abs().sum() for value in parameters.values()])


def test_a_digest_of_float_sums_would_miss_the_lowest_bit() -> None:
    mine, other = weights(), weights()
    flip(other["trunk.a"], 5, 0)
    assert torch.equal(rough(mine), rough(other)) and not torch.equal(replicas.digest(mine), replicas.digest(other))


@given(st.sampled_from(list(WIDTHS)), st.integers(0, 63), st.integers(0, 30))
def test_any_one_bit_changes_the_digest(dtype: torch.dtype, bit: int, place: int) -> None:
    mine = torch.arange(31, dtype=dtype) / 7
    other = mine.clone()
    flip(other, place, bit % WIDTHS[dtype])
    assert not torch.equal(replicas.digest({"a": mine}), replicas.digest({"a": other}))


def test_of_three_ranks_the_one_that_differs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    other = weights()
    flip(other["trunk.a"], 7, 3)

    def gathered(found: list[torch.Tensor], mine: torch.Tensor) -> None:
        for slot, value in zip(found, (mine, replicas.digest(other), mine), strict=True):
            slot.copy_(value)

    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    monkeypatch.setattr(torch.distributed, "all_gather", gathered)
    with pytest.raises(IntegrityError, match=r"rank 1 differs from the others, in 1 tensors, first trunk\.a"):
        replicas.compare(weights(), 50)
