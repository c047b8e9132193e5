"""AdapterFusion by hand: attention over what other tasks change, at every token."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import laws
from trunkline.models.lora import Adapters, Blend, LoRA
from trunkline.models.multitask import MultiTask


def blended(seed: int = 3) -> tuple[Blend, torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    torch.manual_seed(seed)
    blend = Blend(nn.Linear(4, 5), 2)
    for parameter in blend.parameters():
        nn.init.normal_(parameter)
    return blend, torch.randn(3, 4), torch.randn(3, 5), [torch.randn(3, 5), torch.randn(3, 5)]


def by_hand(blend: Blend, x: torch.Tensor, output: torch.Tensor, others: list[torch.Tensor], scale: float) -> torch.Tensor:
    """Token by token, one sum after the other."""
    found = []
    for token in range(len(x)):
        changes = [other[token] for other in others] + [scale * blend.lora_B @ (blend.lora_A @ x[token])]
        said = torch.stack([(blend.query @ output[token]) @ (blend.key @ change) for change in changes])
        mixed = sum(share * change for share, change in zip(said.softmax(0), changes, strict=True))
        found.append(mixed + blend.value_B @ (blend.value_A @ mixed))
    return torch.stack(found)


def test_the_mix_is_the_paper_s_by_hand() -> None:
    blend, x, output, others = blended()
    expected = by_hand(blend, x, output, others, 1.5)
    assert torch.allclose(blend(x, output, others, 1.5), expected, atol=1e-5)


@pytest.mark.parametrize("fault", ["shares over tokens", "the own one is left out", "the own one is not scaled"])
def test_a_mix_of_another_kind_is_rejected(fault: str) -> None:
    blend, x, output, others = blended()
    expected = by_hand(blend, x, output, others, 1.5)
    if fault == "shares over tokens":
        wrong = blend(x, output.roll(1, 0), others, 1.5)
    elif fault == "the own one is left out":
        wrong = blend(x, output, others, 0.0)
    else:
        wrong = blend(x, output, others, 1.0)
    assert not torch.allclose(wrong, expected, atol=1e-3)


def fused() -> MultiTask:
    """The small world, where `rank` mixes what `score` changes with its own."""
    net = laws.model()
    torch.manual_seed(4)
    adapters = Adapters(net.trunk.adaptable, {"score": LoRA(2, 4.0), "rank": LoRA(3, of=["score"])})
    for parameter in adapters.parameters():
        nn.init.normal_(parameter, std=0.3)
    return MultiTask(net.trunk, {task: net.head(task) for task in laws.TASKS}, adapters).eval()


def test_a_task_that_mixes_leaves_those_it_mixes_as_they_are() -> None:
    batch = laws.pack(laws.stream().next_step(1), laws.tables(), seed=0)
    before, net = laws.model().eval()(batch), fused()
    after = net(batch)
    assert {task for task in laws.TASKS if not torch.equal(before[task], after[task])} == {"score", "rank"}
    assert net.adapters is not None
    for pair in net.adapters.of("rank").values():
        for parameter in pair.parameters():
            nn.init.normal_(parameter)
    again = net(batch)
    assert torch.equal(again["score"], after["score"]) and not torch.equal(again["rank"], after["rank"])
    for pair in net.adapters.of("score").values():
        nn.init.zeros_(pair.lora_B)
    assert not torch.equal(net(batch)["rank"], again["rank"])


def test_tasks_without_a_row_change_the_one_span_they_share_and_no_other() -> None:
    net = laws.model()
    torch.manual_seed(4)
    adapters = Adapters(net.trunk.adaptable, {"score": LoRA(2, 4.0), "tags": LoRA(3)})
    for parameter in adapters.parameters():
        nn.init.normal_(parameter, std=0.3)
    changed = MultiTask(net.trunk, {task: net.head(task) for task in laws.TASKS}, adapters).eval()
    batch = laws.pack([unit for unit in laws.stream().next_step(1) if unit.task == "topic"], laws.tables(), seed=0)
    assert batch.tasks["score"].tokens == batch.tasks["tags"].tokens
    before, after = laws.model().eval()(batch), changed(batch)
    assert {task for task in laws.TASKS if not torch.equal(before[task], after[task])} == {"score", "tags", "words"}
    (after["topic"].sum() + sum(after[task].flatten()[:0].sum() for task in laws.TASKS)).backward()
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in adapters.parameters())


def test_what_is_saved_of_a_mix_opens_again() -> None:
    net, other = fused(), fused()
    assert net.adapters is not None and other.adapters is not None
    for parameter in other.adapters.of("rank").parameters():
        nn.init.zeros_(parameter)
    saved = {**net.adapters.saved("rank"), **net.adapters.fusion("rank")}
    other.adapters.open("rank", saved)
    assert all(
        torch.equal(a, b)
        for a, b in zip(net.adapters.of("rank").parameters(), other.adapters.of("rank").parameters(), strict=True)
    )
    assert not net.adapters.fusion("score")
    with pytest.raises(RuntimeError, match="Missing key"):
        other.adapters.open("rank", net.adapters.saved("rank"))
