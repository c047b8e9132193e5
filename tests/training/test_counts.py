"""A step costs what it cost: a slow-down shows as another count, on any machine and under any load."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import counted
from ranks import Ranks

STORED: dict[str, Any] = json.loads(counted.STORED.read_text())


@pytest.fixture(scope="module")
def fresh() -> Iterator[Ranks]:
    """Ranks of their own: what other tests leave behind in the ones that all share changes which operators are called."""
    ranks = Ranks(2)
    yield ranks
    ranks.close()


def test_the_counts_are_of_this_torch() -> None:
    assert torch.__version__.partition("+")[0] == STORED["torch"], "run `python tests/counted.py`, and look at what changed"


@pytest.mark.parametrize("name", counted.CASES)
def test_a_step_has_the_operators_reads_copies_and_padding_it_had(fresh: Ranks, name: str) -> None:
    found, _ = fresh(counted.step, **counted.CASES[name])
    assert found == STORED["steps"][name], (
        "faster or slower? If it is meant: run `python tests/counted.py`, and look at what changed"
    )


@pytest.mark.parametrize(
    ("fault", "name", "what", "more"),
    [
        ("a read a task", "one micro-batch", "host reads", len(counted.laws.TASKS)),
        ("rows of any length in one call", "one micro-batch", "tokens of padding", 1),
        ("a place for each dummy row", "twenty tasks", "tokens read", 100),
        ("a slice for each head", "twenty tasks", "copied bytes", 10_000),
    ],
)
def test_a_slow_down_shows(fresh: Ranks, fault: str, name: str, what: str, more: int) -> None:
    found, _ = fresh(counted.step, **counted.CASES[name], fault=fault)
    assert found[what] >= STORED["steps"][name][what] + more
