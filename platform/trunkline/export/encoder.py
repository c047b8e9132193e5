"""The trunk as transformers' own encoder, a task's LoRA merged into it."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from trunkline.errors import ConfigError
from trunkline.models.base import Trunk
from trunkline.models.heads.base import Head
from trunkline.models.lora import PREFIX, Adapters
from trunkline.models.transformer import Transformer


def plain_encoder(trunk: Trunk, adapters: Adapters | None, task: str | None) -> Any:
    """A copy of the trunk's encoder in its stock class, with stock attention, ready for `save_pretrained`.

    task: whose LoRA is merged, W + (alpha / r) B A; a task without one, and None, leave the trunk as it is. Raises ConfigError
    for a trunk that is none of transformers', and for a task with a prompt, which is no change of a weight.
    """
    if not isinstance(trunk, Transformer):
        raise ConfigError(
            f"the trunk is {type(trunk).__name__.lower()}, which other libraries have no class for. --format word2vec writes its "
            "vectors; `trunkline.load` opens all of it."
        )
    if adapters is not None and task in adapters.wanted and adapters.wanted[task].prompt:
        raise ConfigError(
            f"'{task}' reads a prompt in the trunk's attention, which other libraries do not know. `trunkline.load` opens all of "
            "it; an exported task is trained without a prompt."
        )
    from transformers import AutoModel

    config = copy.deepcopy(trunk.encoder.config)
    encoder = AutoModel.from_config(config, attn_implementation="sdpa")
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    encoder.load_state_dict(trunk.encoder.state_dict())
    if adapters is not None and task in adapters.wanted:
        _merge(encoder, adapters, task)
    return encoder.eval()


@torch.no_grad()
def _merge(encoder: Any, adapters: Adapters, task: str) -> None:
    lora, saved = adapters.wanted[task], adapters.saved(task)
    linear = dict(encoder.named_modules())
    for name, down in saved.items():
        site, _, which = name.removeprefix(PREFIX).removesuffix(".weight").rpartition(".")
        if which == "lora_A":
            up = saved[name.replace("lora_A", "lora_B")]
            linear[site].weight += (lora.alpha / lora.rank) * (up @ down)


def affine(head: Head) -> nn.Linear:
    """The map from a state to the head's outputs."""
    out = head.out
    assert isinstance(out, nn.Linear)
    return out


def pooling_of(head: Head) -> str | None:
    """The name of the head's pooling; None for a head over tokens."""
    return type(head.pool).__name__.lower() if hasattr(head, "pool") else None
