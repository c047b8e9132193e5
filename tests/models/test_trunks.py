"""P6 for the trunks of our own: packed = padded = row by row, outputs and gradients, in float64; what their folders hold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from trunkline.errors import ConfigError, IntegrityError
from trunkline.models.base import Trunk
from trunkline.models.bilm import BiLM
from trunkline.models.recurrent import Recurrent
from trunkline.registry import TRUNKS
from trunks import CASES, LENGTHS, V, batch_of, texts, trunk

CLOSE = 1e-12
EVERY = pytest.mark.parametrize("name", CASES)


def gradient(model: Trunk, hidden: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    weights = torch.linspace(-1, 1, hidden.numel(), dtype=hidden.dtype).view_as(hidden)
    (hidden * weights).sum().backward()
    return hidden.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def row_by_row(model: Trunk) -> Tensor:
    return torch.cat([model(batch_of([text])) for text in texts()])


def padded(model: Trunk, *, blind: bool = False) -> Tensor:
    """The same rows as a table [R, L] of padded rows. blind: a planted fault, the padding is read too."""
    lengths = torch.tensor(LENGTHS)
    every = model.embed(batch_of(texts())).split(LENGTHS)
    table = pad_sequence(list(every), batch_first=True)
    if isinstance(model, BiLM):
        forth = _stacked(model.forth, table, lengths, residual=True)
        back = _stacked(model.back, _flipped(table), lengths, residual=True)
        states = torch.cat([forth, _flipped(back)], -1)
    elif isinstance(model, Recurrent):
        states = _stacked(model.stack, table, torch.full_like(lengths, max(LENGTHS)) if blind else lengths, residual=False)
    else:
        whole = model(batch_of(texts()))
        states = pad_sequence(list(whole.split(LENGTHS)), batch_first=True)
    return torch.cat([row[:n] for row, n in zip(states, LENGTHS, strict=True)])


def _stacked(stack: nn.ModuleList, table: Tensor, lengths: Tensor, *, residual: bool) -> Tensor:
    for number, layer in enumerate(stack):
        packed = pack_padded_sequence(table, lengths, batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(layer(packed)[0], batch_first=True)
        table = out + table if residual and number else out
    return table


def _flipped(table: Tensor) -> Tensor:
    """Every row's own tokens the other way round."""
    out = table.clone()
    for row, length in enumerate(LENGTHS):
        out[row, :length] = table[row, :length].flip(0)
    return out


def alike(one: tuple[Tensor, dict[str, Tensor]], other: tuple[Tensor, dict[str, Tensor]]) -> bool:
    assert one[1].keys() == other[1].keys()
    values = [one[0], *one[1].values()], [other[0], *other[1].values()]
    return all(torch.allclose(a, b, rtol=0, atol=CLOSE * max(1.0, float(b.abs().max()))) for a, b in zip(*values, strict=True))


@EVERY
def test_packed_equals_padded_equals_row_by_row(name: str) -> None:
    model = trunk(name)
    packed = gradient(model, model(batch_of(texts())))
    assert packed[1].keys() == dict(model.named_parameters()).keys()
    assert all(float(value.abs().max()) > 0 for value in packed[1].values())
    assert alike(packed, gradient(model, row_by_row(model)))
    if "windows" not in name:
        assert alike(packed, gradient(model, padded(model)))


@pytest.mark.parametrize("name", [name for name in CASES if "static" not in name])
def test_a_state_that_leaks_over_a_rows_border_is_rejected(name: str) -> None:
    model, batch = trunk(name), batch_of(texts())
    honest = model(batch)
    one_long_row = replace(batch, row_lengths=np.array([sum(LENGTHS)]))
    assert not torch.allclose(honest, model(one_long_row), atol=1e-4)


def test_padding_that_is_read_is_rejected() -> None:
    model = trunk("lstm")
    assert not torch.allclose(model(batch_of(texts())), padded(model, blind=True), atol=1e-4)


@EVERY
def test_changing_one_row_changes_no_other(name: str) -> None:
    model, rows = trunk(name), texts()
    before = model(batch_of(rows)).split(LENGTHS)
    rows[5] = [5 + (token - 4) % (V - 5) for token in rows[5]]
    after = model(batch_of(rows)).split(LENGTHS)
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [number != 5 for number in range(len(LENGTHS))]


@EVERY
def test_the_last_layer_is_what_forward_gives(name: str) -> None:
    model, batch = trunk(name), batch_of(texts())
    layers = model.layers(batch)
    assert len(layers) == model.num_layers
    assert all(states.shape == (sum(LENGTHS), model.width) for states in layers)
    assert torch.equal(layers[-1], model(batch))


@pytest.mark.parametrize("name", ["lstm, one direction", "bilm", "bilm, projected"])
def test_a_row_that_looks_one_way_knows_nothing_of_the_other(name: str) -> None:
    model = trunk(name)
    assert model.sights == {-1, 0, 1}
    text = texts()[1]
    changed = [*text[:8], text[8] + 1 if text[8] + 1 < V else 5, *text[9:]]
    for sight, same in ((-1, slice(0, 8)), (1, slice(9, None))):
        one, other = (model(batch_of([given], sight=[sight])) for given in (text, changed))
        assert torch.equal(one[same], other[same]) and not torch.equal(one[8], other[8])
        whole = model(batch_of([text], sight=[0]))
        if isinstance(model, BiLM):
            half = slice(0, 4) if sight < 0 else slice(4, 8)
            assert torch.equal(one[:, half], whole[:, half])
            assert not one[:, 4 - half.start : 8 - half.start].any()
        elif sight < 0:
            assert torch.equal(one, whole)


def test_looking_at_the_whole_row_where_one_looks_back_is_rejected() -> None:
    model, text = trunk("bilm"), texts()[1]
    changed = [*text[:8], 5 if text[8] != 5 else 6, *text[9:]]
    one, other = (model(batch_of([given], sight=[0])) for given in (text, changed))
    assert not torch.equal(one[:8], other[:8])


def test_a_direction_that_no_row_reads_still_has_a_gradient_of_zero() -> None:
    model = trunk("bilm")
    _, grads = gradient(model, model(batch_of(texts(), sight=[-1] * len(LENGTHS))))
    assert grads.keys() == dict(model.named_parameters()).keys()
    assert not any(grads[name].any() for name in grads if name.startswith("back."))
    assert all(grads[name].any() for name in grads if name.startswith("forth."))


@pytest.mark.parametrize("ahead", [False, True])
def test_a_window_forgets_what_lay_before_it(ahead: bool) -> None:
    kind, given = CASES["gru, windows"]
    model = TRUNKS.get(kind)(V, 0, 64, hidden_size=8, dropout=0.0, bidirectional=False, **given).double().eval()
    text = texts()[5][:10]
    pieces = [text[:2], text[2:6], text[6:]] if ahead else [text[:4], text[4:8], text[8:]]
    sight = 1 if ahead else 0
    apart = torch.cat([model(batch_of([piece], sight=[sight])) for piece in pieces])
    assert torch.allclose(model(batch_of([text], sight=[sight])), apart, atol=CLOSE)


@EVERY
def test_a_saved_trunk_opens_as_it_was(name: str, tmp_path: Path) -> None:
    model = trunk(name)
    model.float().save(tmp_path)
    described = model.describe()
    made = TRUNKS.get(described.pop("kind"))
    opened = made(V, 0, 64, **{**described, "pretrained": str(tmp_path)}).eval()
    assert torch.equal(opened(batch_of(texts())), model.eval()(batch_of(texts())))


def test_a_folder_that_does_not_fit_is_a_sentence(tmp_path: Path) -> None:
    trunk("lstm").save(tmp_path)
    for kind, size, given, said in (
        ("lstm", V + 1, {}, f"the tokenizer has {V + 1} tokens, the trunk knows {V}"),
        ("gru", V, {}, "holds a lstm trunk"),
        ("lstm", V, {"embeddings": {"dim": 3}}, r"embeddings\.dim: .* found 3"),
        ("lstm", V, {"embeddings": {"init": "xavier"}}, "brings its embeddings"),
    ):
        with pytest.raises(ConfigError, match=said):
            TRUNKS.get(kind)(size, 0, 64, pretrained=str(tmp_path), **given)
    with pytest.raises(ConfigError, match=r"no trunk\.json in"):
        TRUNKS.get("lstm")(V, 0, 64, pretrained=str(tmp_path / "nowhere"))
    about = json.loads((tmp_path / "trunk.json").read_text())
    about["sizes"]["hidden_size"] = 16
    (tmp_path / "trunk.json").write_text(json.dumps(about))
    with pytest.raises(IntegrityError, match="does not fit"):
        TRUNKS.get("lstm")(V, 0, 64, pretrained=str(tmp_path))


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        ("lstm", {"hidden_size": 7}, "half of it each, found 7"),
        ("bilm", {"hidden_size": 7}, "half of it each, found 7"),
        ("bilm", {"hidden_size": 8, "cell_size": 4}, "4 are projected to 4"),
        ("gru", {"layers": 0}, r"trunk\.layers: .* found 0"),
        ("rnn", {"window": 0}, r"trunk\.window: .* found 0"),
        ("rnn", {"dropout": 1.0}, r"trunk\.dropout: .* found 1\.0"),
        ("static", {"weights": "tfdif"}, "Did you mean 'tfidf'"),
        ("static", {"common": True}, "weights: sif"),
        ("static", {"embeddings": {"dmi": 4}}, "takes no 'dmi'. Did you mean 'dim'"),
        ("static", {"embeddings": {"init": "orthogonl"}}, "Did you mean 'orthogonal'"),
        ("static", {"embeddings": {"word_dropout": 2}}, "found 2"),
        ("static", {"embeddings": {"max_norm": 0}}, "found 0"),
    ],
)
def test_sizes_that_do_not_fit_are_sentences(kind: str, given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        TRUNKS.get(kind)(V, 0, 64, **given)
