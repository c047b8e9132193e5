"""P6: packed = padded = row by row, outputs and gradients, for every encoder; rows never see each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from trunkline.batch import Batch
from trunkline.errors import ConfigError, IntegrityError
from trunkline.models import attention
from trunkline.models.base import Words
from trunkline.models.transformer import Transformer
from trunks import batch_of

ENCODERS = ("bert", "roberta", "xlm-roberta", "distilbert", "electra", "albert", "modernbert", "mpnet", "deberta-v2")
LENGTHS = (3, 17, 5, 5, 4, 60, 33, 8, 8, 2)
CLOSE = 1e-5
SETTINGS = {  # beside the architectures as they are
    "distilbert, sinusoidal": {"positions": "sinusoidal"},
    "nomic_bert, rotary": {"positions": "rotary"},
    "albert, a table of its own width": {"embeddings": {"dim": 8, "init": "scaled"}},
    "bert, short vectors": {"embeddings": {"max_norm": 0.1}},
    "deberta-v2, short vectors": {"embeddings": {"max_norm": 0.1}},
}


def texts() -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [rng.integers(5, 90, length).tolist() for length in LENGTHS]


def trunk(name: str, *, packed: bool = True) -> Transformer:
    torch.manual_seed(0)
    architecture, more = name.split(", ")[0], SETTINGS.get(name, {})
    sizes = {"hidden_size": 32, "layers": 2, "heads": 4, "dropout": 0.0, "packed": packed}
    made = Transformer(100, 1, 64, architecture=architecture, **sizes, **more)
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


@pytest.mark.parametrize("architecture", [*ENCODERS, *SETTINGS])
def test_packed_equals_padded_equals_row_by_row(architecture: str) -> None:
    packed, padded = trunk(architecture), trunk(architecture, packed=False)
    together, alone = [batch_of(texts())], [batch_of([text]) for text in texts()]
    hidden, grads = gradient(packed, together)
    for model, batches in ((packed, alone), (padded, together)):
        other_hidden, other_grads = gradient(model, batches)
        assert torch.allclose(hidden, other_hidden, atol=CLOSE)
        trained = {name for name, parameter in packed.named_parameters() if parameter.requires_grad}
        assert grads.keys() == other_grads.keys() == trained
        largest = max(float(g.abs().max()) for g in grads.values())
        assert all(torch.allclose(grads[name], other_grads[name], atol=CLOSE * largest) for name in grads)


def test_attention_that_crosses_rows_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    one_long_row = attention.Plan.of(torch.tensor([0, sum(LENGTHS)]), np.array([sum(LENGTHS)]))
    honest = gradient(trunk("bert"), [batch_of(texts())])[0]
    monkeypatch.setattr(attention.Plan, "of", lambda *_: one_long_row)
    assert not torch.allclose(honest, gradient(trunk("bert"), [batch_of(texts())])[0], atol=100 * CLOSE)


def test_modernbert_s_sliding_window_is_honoured() -> None:
    # Its local layers see a few neighbours only: without the window long rows come out otherwise.
    narrow = trunk("modernbert")
    wide = trunk("modernbert")
    for layer in wide.encoder.layers:
        layer.attn.sliding_window = None
    assert any(layer.attn.sliding_window for layer in narrow.encoder.layers)
    assert not torch.allclose(narrow(batch_of(texts())), wide(batch_of(texts())), atol=100 * CLOSE)


def test_roberta_counts_positions_from_behind_the_padding_s() -> None:
    model, text = trunk("roberta"), texts()[5]
    assert model.first_position == 2
    # Left to itself the encoder works the positions of a row out.
    plain = trunk("roberta", packed=False).encoder(input_ids=torch.tensor([text])).last_hidden_state[0]
    assert torch.allclose(model(batch_of([text])), plain, atol=CLOSE)
    model.first_position = 0
    assert not torch.allclose(model(batch_of([text])), plain, atol=100 * CLOSE)


def test_deberta_and_mpnet_fall_back_to_padded_rows_and_refuse_one_way_tasks() -> None:
    assert [(trunk(name).packed, trunk(name).sights) for name in ("deberta-v2", "mpnet")] == [(False, {0})] * 2
    assert trunk("bert").packed and trunk("bert").sights == {-1, 0, 1}


@pytest.mark.parametrize("name", ["bert", "distilbert", "electra", "albert", "modernbert", "mpnet", "deberta-v2"])
def test_layers_are_the_embeddings_and_every_block_s_states(name: str) -> None:
    model, padded = trunk(name), trunk(name, packed=False)
    layers = model.layers(batch_of(texts()))
    assert len(layers) == model.num_layers == 3
    assert torch.equal(layers[-1], model(batch_of(texts())))
    assert not torch.allclose(layers[0], layers[1], atol=100 * CLOSE)
    for one, other in zip(layers, padded.layers(batch_of(texts())), strict=True):
        assert one.shape == (sum(LENGTHS), model.width)
        assert torch.allclose(one, other, atol=CLOSE)


def test_short_vectors_are_short_in_the_saved_encoder_too(tmp_path: Path) -> None:
    model = trunk("bert, short vectors")
    assert not torch.allclose(model(batch_of(texts())), trunk("bert")(batch_of(texts())), atol=100 * CLOSE)
    model.save(tmp_path)
    again = Transformer(100, 1, 64, pretrained=str(tmp_path), dropout=0.0).eval()
    assert torch.allclose(again(batch_of(texts())), model(batch_of(texts())), atol=CLOSE)


def test_an_encoder_starts_from_vectors_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text(f"red {'1 ' * 32}\nblue {'2 ' * 32}\n")
    model = Transformer(100, 1, 64, hidden_size=32, layers=1, heads=4, embeddings={"vectors": str(tmp_path / "v.txt")})
    primed = model.prime(Words([""] * 98 + ["red", "Blue"]))
    assert not model.load_state_dict(primed.tensors, strict=False).unexpected_keys
    assert torch.equal(model.embeddings.weight[98:], torch.tensor([[1.0], [2.0]]).expand(2, 32))


def test_a_tokenizer_larger_than_the_trunk_s_and_rows_longer_than_its_positions_are_told_with_numbers(tmp_path: Path) -> None:
    trunk("roberta").save(tmp_path)
    with pytest.raises(ConfigError, match="the tokenizer has 101 tokens, the trunk knows 100"):
        Transformer(101, 1, 64, pretrained=str(tmp_path))
    with pytest.raises(ConfigError, match="max_length 513 passes the trunk's 512 positions"):
        Transformer(100, 1, 513, pretrained=str(tmp_path))


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
    [
        ({"heads": 5}, "multiple"),
        ({"architecture": "brt"}, "architecture"),
        ({"pretrained": "./nowhere"}, "no folder"),
        ({"pretrained": "package:no_such_package/x"}, "is not installed"),
        ({"positions": "rotary"}, "bert has learned positions, found 'rotary'"),
        ({"positions": "sinusoidal", "architecture": "modernbert"}, "modernbert has rotary positions"),
        ({"embeddings": {"dim": 8}}, "table of the trunk's own width 32, found 8"),
    ],
)
def test_sizes_and_names_that_do_not_fit_are_sentences(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Transformer(100, 1, 64, **{"hidden_size": 32, "layers": 1, "heads": 4, **settings})


def test_groups_waste_little_on_mixed_lengths() -> None:
    lengths = np.random.default_rng(0).integers(2, 128, 200)
    plan = attention.Plan.of(torch.tensor(np.concatenate([[0], np.cumsum(lengths)])), lengths)
    slots = sum(rows * longest for rows, longest in (group.shape for group in plan.groups))
    assert slots <= lengths.sum() / attention.SPREAD
    assert len(plan.groups) <= 20
