"""A worker computes the same numbers from the same step, bit for bit, on several threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from trunkline.launch.worker import exact_on_threads
from trunkline.models.decoder import Decoder

IDS = torch.randint(0, 50, (4000,), generator=torch.Generator().manual_seed(0))
SLOPES = torch.randn(4000, 256, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def threads() -> Iterator[None]:
    """Four of them; what a worker sets is undone."""
    before, exact = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)
    torch.use_deterministic_algorithms(exact)
    torch.utils.deterministic.fill_uninitialized_memory = filled


def gradients(table: Tensor, read: Callable[[], Tensor]) -> list[Tensor]:
    return [torch.autograd.grad((read() * SLOPES).sum(), table)[0] for _ in range(8)]


def alike(found: list[Tensor]) -> bool:
    return all(torch.equal(found[0], other) for other in found)


@pytest.mark.usefixtures("threads")
def test_what_several_items_give_to_one_place_is_added_up_in_one_order_in_a_worker() -> None:
    table = torch.randn(50, 256, requires_grad=True)
    exact_on_threads()
    assert alike(gradients(table, lambda: table[IDS]))


@pytest.mark.usefixtures("threads")
def test_threads_that_come_by_in_any_order_are_seen() -> None:
    table = torch.randn(50, 256, requires_grad=True)
    torch.use_deterministic_algorithms(False)
    assert not alike([gradient for _ in range(5) for gradient in gradients(table, lambda: table[IDS])])


@pytest.mark.usefixtures("threads")
def test_a_decoder_s_table_has_one_gradient_without_a_worker_s_care() -> None:
    decoder = Decoder(8, 50, size=256, layers=1, heads=2, dropout=0.0)
    assert alike(gradients(decoder.embeddings, lambda: decoder._embedded(IDS, torch.zeros_like(IDS))))
