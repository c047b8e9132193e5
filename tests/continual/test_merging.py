"""Merging by hand."""

from __future__ import annotations

import pytest
import torch

from trunkline.continual.merging import METHODS, merged

PARENT = {"w": torch.tensor([1.0, 1.0, 1.0, 1.0])}
A = {"w": torch.tensor([2.0, 1.1, 0.0, 1.0])}  # changed by 1, 0.1, -1, 0
B = {"w": torch.tensor([3.0, 0.5, 2.0, 1.0])}  # changed by 2, -0.5, 1, 0


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("average", [2.5, 0.8, 1.0, 1.0]),
        ("arithmetic", [2.5, 0.8, 1.0, 1.0]),
        # Half of each is kept: 1 and -1 of A, 2 and 1 of B. They agree on the first; the third adds up to 0: no sign, no change.
        ("ties", [1.75, 1.0, 1.0, 1.0]),
        ("dare", [2.5, 0.8, 1.0, 1.0]),
    ],
)
def test_by_hand(method: str, expected: list[float]) -> None:
    density = 1.0 if method == "dare" else 0.5
    assert torch.allclose(merged(method, PARENT, [A, B], scale=0.5, density=density)["w"], torch.tensor(expected))


@pytest.mark.parametrize("method", METHODS)
def test_trunks_that_did_not_change_are_the_parent(method: str) -> None:
    assert torch.equal(merged(method, PARENT, [PARENT, PARENT], scale=1.0, density=0.3)["w"], PARENT["w"])


def test_what_dare_drops_is_made_up_for_on_average() -> None:
    parent, other = {"w": torch.zeros(20_000)}, {"w": torch.ones(20_000)}
    found = merged("dare", parent, [other], scale=1.0, density=0.25)["w"]
    assert set(found.tolist()) == {0.0, 4.0} and found.mean() == pytest.approx(1.0, abs=0.05)
