"""A task's prompt in the attention of every layer: by hand, on its own slice alone, packed as row by row."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trunkline.batch import Batch
from trunkline.data.packing import Table, pack, rows_of
from trunkline.data.units import Unit
from trunkline.errors import ConfigError
from trunkline.export.encoder import plain_encoder
from trunkline.models import attention
from trunkline.models.lora import Adapters, LoRA
from trunkline.models.prompt import Prompt, Site
from trunkline.models.transformer import Transformer

CLOSE = 1e-5
ENCODERS = ("bert", "roberta", "xlm-roberta", "distilbert", "electra", "albert", "modernbert", "nomic_bert")
LENGTHS = {"old": (3, 17, 5), "new": (4, 64, 9, 1)}  # the longest has as many tokens as the trunk has positions


def prompted(architecture: str = "bert", lora: LoRA | None = None) -> tuple[Transformer, Adapters]:
    """A trunk, and a prompt that does something for one of two tasks."""
    torch.manual_seed(0)
    more = {"pad_id": 1, "max_length": 64, "hidden_size": 32, "layers": 2, "heads": 4, "dropout": 0.0}
    trunk = Transformer(100, architecture=architecture, **more).eval()
    adapters = Adapters(trunk.adaptable, {"new": lora or LoRA(0, prompt=3)}, trunk.attentions)
    for name, parameter in adapters.named_parameters():
        nn.init.normal_(parameter, std=1.0 if "prompt" in name else 0.1)
    return trunk, adapters


def batch(wanted: dict[str, tuple[int, ...]]) -> Batch:
    chance = np.random.default_rng(0)
    rows = {task: [chance.integers(5, 90, length).tolist() for length in lengths] for task, lengths in LENGTHS.items()}
    rows = {task: [row for row in rows[task] if len(row) in lengths] for task, lengths in wanted.items()}
    made = {task: rows_of(own) for task, own in rows.items()}
    tables = {task: Table(own, lambda given, _: (given.tokens.values, {}), own.take(np.array([0]))) for task, own in made.items()}
    units = [Unit(task, np.array([n]), np.array([0]), len(row)) for task, own in rows.items() for n, row in enumerate(own)]
    return pack(units, tables, seed=0)


def read(trunk: Transformer, adapters: Adapters | None, given: Batch) -> dict[str, Tensor]:
    if adapters is None:
        hidden = trunk(given)
    else:
        with adapters.over(given):
            hidden = trunk(given)
    return {task: hidden[part.tokens] for task, part in given.tasks.items()}


# --- the formula


def by_hand(prompt: Prompt, query: Tensor, scale: float) -> Tensor:
    """Token by token and head by head, one sum after the other."""
    found = torch.zeros_like(query)
    for token, head in np.ndindex(query.shape[:2]):
        keys, values = prompt.prompt_K[head], prompt.prompt_V[head]
        weights = [torch.exp(scale * (query[token, head] @ key)) for key in keys]
        found[token, head] = sum(weight / sum(weights) * value for weight, value in zip(weights, values, strict=True))
    return found


def drawn() -> tuple[Prompt, Tensor]:
    torch.manual_seed(1)
    prompt = Prompt(Site(nn.Identity(), 2, 4), 3)
    nn.init.normal_(prompt.prompt_V)
    return prompt, torch.randn(5, 2, 4)


def test_what_a_prompt_adds_is_the_formula_by_hand() -> None:
    prompt, query = drawn()
    assert torch.allclose(prompt(query, 0.5), by_hand(prompt, query, 0.5), atol=1e-6)
    # One query (1, 0), keys (2, 0) and (0, 5), values 3 and 1 with scale ln 3 / 2: shares 3 / 4 and 1 / 4.
    one = Prompt(Site(nn.Identity(), 1, 2), 2)
    one.prompt_K.data = torch.tensor([[[2.0, 0.0], [0.0, 5.0]]])
    one.prompt_V.data = torch.tensor([[[3.0, 0.0], [1.0, 4.0]]])
    assert torch.allclose(one(torch.tensor([[[1.0, 0.0]]]), np.log(3) / 2), torch.tensor([[[2.5, 1.0]]]))


@pytest.mark.parametrize("fault", ["heads mixed up", "not scaled", "shares of all heads together"])
def test_another_formula_is_rejected(fault: str) -> None:
    prompt, query = drawn()
    if fault == "heads mixed up":
        wrong = prompt(query.flip(1), 0.5)
    elif fault == "not scaled":
        wrong = prompt(query, 1.0)
    else:
        said = torch.einsum("nhd,hpd->nhp", query, prompt.prompt_K) * 0.5
        shares = said.flatten(1).softmax(-1).view_as(said)
        wrong = torch.einsum("nhp,hpd->nhd", shares, prompt.prompt_V)
    assert not torch.allclose(wrong, by_hand(prompt, query, 0.5), atol=1e-3)


def test_attention_adds_it_to_what_the_row_s_own_tokens_say() -> None:
    prompt, query = drawn()
    torch.manual_seed(2)
    key, value = torch.randn(2, 5, 2, 4)
    plan = replace(attention.Plan.of(torch.tensor([0, 5]), np.array([5])), beside=lambda own, q, s: own + prompt(q, s))
    given = [tensor.transpose(0, 1).unsqueeze(0) for tensor in (query, key, value)]  # [1, H, N, d]
    found = attention.attend(nn.Identity(), *given, None, plan=plan)[0][0]
    own = torch.einsum("hnm,mhd->nhd", (torch.einsum("nhd,mhd->hnm", query, key) / 2).softmax(-1), value)
    assert torch.allclose(found, own + by_hand(prompt, query, 0.5), atol=1e-5)


# --- in a pack


@pytest.mark.parametrize("architecture", ENCODERS)
def test_a_prompt_changes_its_own_rows_packed_as_row_by_row_and_no_bit_of_the_others(architecture: str) -> None:
    trunk, adapters = prompted(architecture)
    both = batch(LENGTHS)
    plain, found = read(trunk, None, both), read(trunk, adapters, both)
    assert torch.equal(found["old"], plain["old"]) and not torch.allclose(found["new"], plain["new"], atol=100 * CLOSE)
    assert found["new"].shape == plain["new"].shape  # nothing stands in the row that a head could pool
    alone = torch.cat([read(trunk, adapters, batch({"new": (length,)}))["new"] for length in LENGTHS["new"]])
    assert torch.allclose(found["new"], alone, atol=CLOSE)
    weights = torch.linspace(-1, 1, alone.numel()).view_as(alone)
    (found["new"] * weights).sum().backward()
    together = {name: parameter.grad.clone() for name, parameter in adapters.named_parameters() if parameter.grad is not None}
    assert together.keys() == dict(adapters.named_parameters()).keys() and all(grad.any() for grad in together.values())
    adapters.zero_grad()
    (alone * weights).sum().backward()
    largest = max(float(grad.abs().max()) for grad in together.values())
    for name, parameter in adapters.named_parameters():
        assert parameter.grad is not None and torch.allclose(parameter.grad, together[name], atol=CLOSE * largest)


def test_a_prompt_that_reaches_over_the_slice_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    trunk, adapters = prompted()
    right: Callable[..., AbstractContextManager[None]] = Adapters.over

    def shifted(own: Adapters, given: Batch) -> AbstractContextManager[None]:
        moved = {task: replace(part, tokens=slice(part.tokens.start - 1, part.tokens.stop)) for task, part in given.tasks.items()}
        return right(own, replace(given, tasks={"new": moved["new"]}))

    monkeypatch.setattr(Adapters, "over", shifted)
    both = batch(LENGTHS)
    assert not torch.equal(read(trunk, adapters, both)["old"], read(trunk, None, both)["old"])


def test_a_fresh_prompt_changes_no_bit_and_learns_beside_a_lora_or_alone() -> None:
    both = batch(LENGTHS)
    for lora in (LoRA(0, prompt=3), LoRA(2, prompt=3)):
        trunk, adapters = prompted(lora=lora)
        assert bool(adapters.saved("new")) == bool(lora.rank) and len(adapters.prompt("new")) == 2 * 2
        fresh = Adapters(trunk.adaptable, {"new": lora}, trunk.attentions)
        assert torch.equal(read(trunk, fresh, both)["new"], read(trunk, None, both)["new"])
        read(trunk, fresh, both)["new"].square().sum().backward()
        moved = {name.rpartition(".")[2] for name, own in fresh.named_parameters() if own.grad is not None and own.grad.any()}
        assert moved == ({"prompt_V", "lora_B"} if lora.rank else {"prompt_V"})


def test_what_is_saved_of_a_prompt_opens_again() -> None:
    (trunk, adapters), (_, other) = prompted(lora=LoRA(2, prompt=3)), prompted(lora=LoRA(2, prompt=3))
    for parameter in other.parameters():
        nn.init.zeros_(parameter)
    other.open("new", {**adapters.saved("new"), **adapters.prompt("new")})
    assert all(torch.equal(a, b) for a, b in zip(adapters.parameters(), other.parameters(), strict=True))
    assert "encoder.layer.0.attention.self.prompt_K" in adapters.prompt("new")
    assert adapters.prompt("new")["encoder.layer.0.attention.self.prompt_K"].shape == (4, 3, 8)
    assert set(adapters.configuration("new")["target_modules"]) == set(trunk.adaptable)
    with pytest.raises(RuntimeError, match="Missing key"):
        other.open("new", adapters.saved("new"))
    with pytest.raises(ConfigError, match="'new' reads a prompt in the trunk's attention"):
        plain_encoder(trunk, adapters, "new")


def test_encoders_that_run_padded_have_no_place_for_a_prompt() -> None:
    assert not Transformer(100, 1, 64, architecture="mpnet", hidden_size=32, layers=1, heads=4).attentions
