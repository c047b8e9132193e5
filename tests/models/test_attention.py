"""Rows read in one direction: P6 with sights mixed in a pack, against transformers' own masks, with planted faults."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from trunkline.batch import Batch
from trunkline.data.packing import Table, pack, rows_of
from trunkline.data.units import Unit
from trunkline.models import attention
from trunkline.models.transformer import Transformer

ENCODERS = ("bert", "roberta", "xlm-roberta", "distilbert", "electra", "albert", "modernbert")
LENGTHS = (3, 17, 5, 5, 4, 60, 33, 8, 8, 2, 1, 16)
SIGHTS = (0, -1, 1, -1, 0, 1, -1, 0, 1, 1, -1, 0)
STARTS = np.concatenate([[0], np.cumsum(LENGTHS)])
CLOSE = 1e-5


def texts() -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [rng.integers(5, 90, length).tolist() for length in LENGTHS]


def batch_of(texts: list[list[int]], sights: tuple[int, ...]) -> Batch:
    rows = rows_of(texts)
    table = Table(rows, lambda given, _: (given.tokens.values, {}), rows.take(np.array([0])))
    units = [Unit("t", np.array([number]), np.array([0]), len(text)) for number, text in enumerate(texts)]
    return dataclasses.replace(pack(units, {"t": table}, seed=0), sight=np.array(sights, np.int8))


def trunk(architecture: str = "bert", *, packed: bool = True) -> Transformer:
    torch.manual_seed(0)
    made = Transformer(100, 1, 64, hidden_size=32, layers=2, heads=4, architecture=architecture, dropout=0.0, packed=packed)
    if architecture == "modernbert":  # a window that these short rows feel, on the layers that have one
        for layer in made.encoder.layers:
            layer.attn.sliding_window = layer.attn.sliding_window and 8 // 2 + 1
    return made.eval()


def gradient(model: Transformer, batches: list[Batch]) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    hidden = torch.cat([model(batch) for batch in batches])
    weights = torch.linspace(-1, 1, hidden.numel()).view_as(hidden)
    (hidden * weights).sum().backward()
    return hidden.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("architecture", ENCODERS)
def test_sights_mixed_in_a_pack_give_outputs_and_gradients_of_each_row_alone(architecture: str) -> None:
    model = trunk(architecture)
    hidden, grads = gradient(model, [batch_of(texts(), SIGHTS)])
    alone = [batch_of([text], (sight,)) for text, sight in zip(texts(), SIGHTS, strict=True)]
    other_hidden, other_grads = gradient(model, alone)
    assert torch.allclose(hidden, other_hidden, atol=CLOSE)
    largest = max(float(g.abs().max()) for g in grads.values())
    assert all(torch.allclose(grads[name], other_grads[name], atol=CLOSE * largest) for name in grads)


@pytest.mark.parametrize(("length", "sight", "in_place"), [(5, 0, True), (5, -1, True), (5, 1, False), (None, 0, False)])
def test_rows_of_one_length_are_attended_to_where_they_lie(length: int | None, sight: int, in_place: bool) -> None:
    """Those read from their end, and those of several lengths, are laid out first."""
    given = [text for text in texts() if length is None or len(text) >= length]
    batch = batch_of([text[:length] for text in given], (sight,) * len(given))
    assert (attention.Plan.of(batch.row_starts, batch.row_lengths, batch.sight).gather is None) is in_place
    model = trunk()
    hidden, grads = gradient(model, [batch])
    other, other_grads = gradient(model, [batch_of([text[:length]], (sight,)) for text in given])
    assert torch.allclose(hidden, other, atol=CLOSE)
    largest = max(float(g.abs().max()) for g in grads.values())
    assert all(torch.allclose(grads[name], other_grads[name], atol=CLOSE * largest) for name in grads)


@pytest.mark.parametrize("architecture", ["bert", "roberta", "electra", "albert"])
@pytest.mark.parametrize("sight", [0, -1, 1])
def test_a_row_is_read_as_transformers_reads_it_under_a_mask_of_that_direction(architecture: str, sight: int) -> None:
    text = texts()[1]
    square = torch.ones(len(text), len(text), dtype=torch.bool)
    mask = {0: square, -1: square.tril(), 1: square.triu()}[sight]
    theirs = trunk(architecture, packed=False).encoder(input_ids=torch.tensor([text]), attention_mask=mask[None, None])
    assert torch.allclose(trunk(architecture)(batch_of([text], (sight,))), theirs.last_hidden_state[0], atol=CLOSE)


def touched(architecture: str, sights: tuple[int, ...], row: int, place: int) -> np.ndarray:
    """The tokens of the pack whose state changes when one token of a row does."""
    model, rows = trunk(architecture), texts()
    before = model(batch_of(rows, sights))
    rows[row][place] = (rows[row][place] + 1) % 90
    after = model(batch_of(rows, sights))
    return np.flatnonzero(((before - after).abs() > 1e-6).any(-1).numpy())


@pytest.mark.parametrize("architecture", ["bert", "modernbert"])
@pytest.mark.parametrize(("row", "sight"), [(6, -1), (5, 1), (11, 0)])
def test_a_change_reaches_only_the_tokens_that_look_at_it(architecture: str, row: int, sight: int) -> None:
    assert SIGHTS[row] == sight
    found, place = touched(architecture, SIGHTS, row, 12), STARTS[row] + 12
    first = place if sight < 0 else STARTS[row]
    last = place if sight > 0 else STARTS[row + 1] - 1
    assert found.min() >= first and found.max() <= last and place in found
    if architecture == "bert":
        np.testing.assert_array_equal(found, np.arange(first, last + 1))


@pytest.mark.parametrize("row", [5, 6])
def test_reading_whole_what_must_be_read_in_one_direction_is_seen(row: int) -> None:
    found, place = touched("bert", (0,) * len(LENGTHS), row, 12), STARTS[row] + 12
    assert found.min() < place < found.max()


def test_a_local_window_narrows_a_row_that_looks_back() -> None:
    # Two layers, the second local with |i - j| <= 4: what a token adds there ends four tokens on; without a window it does not.
    narrow, wide = trunk("modernbert"), trunk("modernbert")
    for layer in wide.encoder.layers:
        layer.attn.sliding_window = None
    assert any(layer.attn.sliding_window for layer in narrow.encoder.layers)
    batch = batch_of(texts(), SIGHTS)
    near, far = narrow(batch), wide(batch)
    back = slice(STARTS[6], STARTS[7])  # 33 tokens
    assert torch.allclose(near[back][:5], far[back][:5], atol=CLOSE)
    assert not torch.allclose(near[back][5:], far[back][5:], atol=100 * CLOSE)


@pytest.mark.parametrize("sights", [SIGHTS, (0,) * len(LENGTHS), (-1,) * len(LENGTHS), (1,) * len(LENGTHS)])
def test_the_calls_of_the_variable_length_kernel_hold_every_row_once_in_the_order_they_look(sights: tuple[int, ...]) -> None:
    # The kernel itself needs a GPU; what it is given is worked out on the host.
    lengths, starts = np.array(LENGTHS), torch.from_numpy(STARTS)
    plan = attention._packed(starts, lengths, np.array(sights, np.int8))
    read = [np.arange(STARTS[-1]) if call.index is None else call.index.numpy() for call in plan.packed]
    rows = {
        (call.causal, *index[a:b].tolist())
        for call, index in zip(plan.packed, read, strict=True)
        for a, b in zip(call.row_starts.tolist(), call.row_starts.tolist()[1:], strict=False)
    }
    wanted = {
        (sight != 0, *np.arange(a, b)[:: -1 if sight > 0 else 1].tolist())
        for sight, a, b in zip(sights, STARTS[:-1], STARTS[1:], strict=True)
    }
    assert rows == wanted
    assert all(call.longest == int(torch.diff(call.row_starts).max()) for call in plan.packed)
    laid = np.concatenate(read)
    np.testing.assert_array_equal(laid if plan.scatter is None else laid[plan.scatter.numpy()], np.arange(STARTS[-1]))


def test_a_trunk_that_runs_padded_says_that_it_reads_whole_rows_only() -> None:
    assert trunk("bert").sights == {-1, 0, 1}
    assert trunk("mpnet").sights == trunk("deberta-v2").sights == trunk("bert", packed=False).sights == {0}
