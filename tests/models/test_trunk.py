"""P6: packed = padded = row by row, outputs and gradients, for every encoder; rows never see each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from trunkline.batch import Batch
from trunkline.data.packing import Table, pack, rows_of
from trunkline.data.stream import Unit
from trunkline.errors import ConfigError, IntegrityError
from trunkline.models import attention
from trunkline.models.transformer import Transformer

ENCODERS = ("bert", "roberta", "xlm-roberta", "distilbert", "electra", "albert", "modernbert", "mpnet", "deberta-v2")
LENGTHS = (3, 17, 5, 5, 4, 60, 33, 8, 8, 2)
CLOSE = 1e-5


def batch_of(texts: list[list[int]]) -> Batch:
    rows = rows_of(texts)
    table = Table(rows, lambda given, _: (given.tokens.values, {}), rows.take(np.array([0])))
    units = [Unit("t", np.array([number]), np.array([0]), len(text)) for number, text in enumerate(texts)]
    return pack(units, {"t": table}, seed=0)


def texts() -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [rng.integers(5, 90, length).tolist() for length in LENGTHS]


def trunk(architecture: str, *, packed: bool = True) -> Transformer:
    torch.manual_seed(0)
    made = Transformer(100, 1, 64, hidden_size=32, layers=2, heads=4, architecture=architecture, dropout=0.0, packed=packed)
    if architecture == "modernbert":  # a window that these short rows feel, on the layers that have one
        made.encoder.config.local_attention = 8
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
def test_packed_equals_padded_equals_row_by_row(architecture: str) -> None:
    packed, padded = trunk(architecture), trunk(architecture, packed=False)
    together, alone = [batch_of(texts())], [batch_of([text]) for text in texts()]
    hidden, grads = gradient(packed, together)
    for model, batches in ((packed, alone), (padded, together)):
        other_hidden, other_grads = gradient(model, batches)
        assert torch.allclose(hidden, other_hidden, atol=CLOSE)
        assert grads.keys() == other_grads.keys() == dict(packed.named_parameters()).keys()
        largest = max(float(g.abs().max()) for g in grads.values())
        assert all(torch.allclose(grads[name], other_grads[name], atol=CLOSE * largest) for name in grads)


def test_attention_that_crosses_rows_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    one_long_row = attention.Plan.of(torch.tensor([0, sum(LENGTHS)]), np.array([sum(LENGTHS)]))
    honest = gradient(trunk("bert"), [batch_of(texts())])[0]
    monkeypatch.setattr(attention.Plan, "of", lambda *_: one_long_row)
    assert not torch.allclose(honest, gradient(trunk("bert"), [batch_of(texts())])[0], atol=100 * CLOSE)


def test_a_local_window_is_honoured() -> None:
    # ModernBERT's local layers see a few neighbours only: without the window its long rows come out otherwise.
    narrow = trunk("modernbert")
    wide = trunk("modernbert")
    for layer in wide.encoder.layers:
        layer.attn.sliding_window = None
    assert any(layer.attn.sliding_window for layer in narrow.encoder.layers)
    assert not torch.allclose(narrow(batch_of(texts())), wide(batch_of(texts())), atol=100 * CLOSE)


def test_changing_one_row_changes_no_other() -> None:
    model, rows = trunk("bert"), texts()
    before = model(batch_of(rows))
    rows[5] = [(token + 1) % 90 for token in rows[5]]
    after = model(batch_of(rows))
    starts = np.concatenate([[0], np.cumsum(LENGTHS)])
    inside = slice(starts[5], starts[6])
    assert not torch.equal(before[inside], after[inside])
    assert torch.equal(torch.cat([before[: starts[5]], before[starts[6] :]]), torch.cat([after[: starts[5]], after[starts[6] :]]))


def test_a_trained_trunk_saves_in_the_hugging_face_layout(tmp_path: Path) -> None:
    from transformers import AutoModel

    model = trunk("bert")
    model.save(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path, add_pooling_layer=False).eval()
    text = texts()[5]
    theirs = loaded(input_ids=torch.tensor([text])).last_hidden_state[0]
    assert torch.allclose(model(batch_of([text])), theirs, atol=CLOSE)
    again = Transformer(100, 1, 64, pretrained=str(tmp_path), dropout=0.0).eval()
    assert torch.equal(again(batch_of(texts())), model(batch_of(texts())))


def test_a_folder_that_brings_code_is_refused_and_nothing_of_it_runs(tmp_path: Path) -> None:
    trunk("bert").save(tmp_path)
    canary = tmp_path / "canary"
    (tmp_path / "modeling.py").write_text(f"open({str(canary)!r}, 'w')")
    with pytest.raises(IntegrityError, match="never run"):
        Transformer(100, 1, 64, pretrained=str(tmp_path))
    assert not canary.exists()


def test_pickled_weights_are_refused_unread(tmp_path: Path) -> None:
    trunk("bert").save(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"no weights at all")
    with pytest.raises(IntegrityError, match=r"never read.*convert"):
        Transformer(100, 1, 64, pretrained=str(tmp_path))


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"heads": 5}, "multiple"), ({"architecture": "brt"}, "architecture"), ({"pretrained": "./nowhere"}, "no folder")],
)
def test_sizes_and_names_that_do_not_fit_are_sentences(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Transformer(100, 1, 64, **{"hidden_size": 32, "layers": 1, "heads": 4, **settings})


def test_groups_waste_little_on_mixed_lengths() -> None:
    lengths = np.random.default_rng(0).integers(2, 128, 200)
    plan = attention.Plan.of(torch.tensor(np.concatenate([[0], np.cumsum(lengths)])), lengths)
    slots = sum(group.index.numel() for group in plan.groups)
    assert slots <= lengths.sum() / attention.SPREAD
    assert len(plan.groups) <= 20
