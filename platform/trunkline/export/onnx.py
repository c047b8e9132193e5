"""One ONNX graph: padded tokens in, the vector of each text and the outputs of each head out."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trunkline.errors import ConfigError, MissingExtra
from trunkline.export.encoder import affine, pooling_of
from trunkline.models.heads.base import Head

VECTOR = "vector"


class Padded(nn.Module):
    """encoder and heads on rows padded to the longest: input_ids, attention_mask (and token_type_ids) [B, L] int64.

    Gives `vector` [B, D], pooled by `pooling`, and each head's outputs by its task's name: of rows [B, ..] or tokens [B, L, C].
    """

    def __init__(self, encoder: Any, heads: Mapping[str, Head], pooling: str) -> None:
        super().__init__()
        self.encoder, self.pooling = encoder, pooling
        self.own = list(heads.values())
        self.heads = nn.ModuleList(self.own)
        for task, head in heads.items():
            if head.stock is None or getattr(head, "chain", None) is not None or getattr(head, "log_var", False):
                raise ConfigError(f"task '{task}': a head of kind {type(head).__name__.lower()} is not one affine map of states.")
            _known(pooling_of(head) or pooling)
        _known(pooling)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> tuple[Tensor, ...]:
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        found = self.encoder(**inputs, output_hidden_states=any(head.mix is not None for head in self.own))
        states = found.last_hidden_state
        outputs = [pooled(self.pooling, states, attention_mask)]
        for head in self.own:
            own = states if head.mix is None else head.mix(list(found.hidden_states))
            pooling = pooling_of(head)
            outputs.append(affine(head)(own if pooling is None else pooled(pooling, own, attention_mask)))
        return tuple(outputs)


def pooled(pooling: str, states: Tensor, mask: Tensor) -> Tensor:
    """states [B, L, D] -> [B, D], as the pooling of that name has it on packed rows."""
    weight = mask.unsqueeze(-1).to(states.dtype)
    if pooling == "first":
        return states[:, 0]
    if pooling == "mean":
        return (states * weight).sum(1) / weight.sum(1)
    if pooling == "max":
        return (states + (weight - 1) * 1e30).amax(1)
    last = torch.nn.functional.one_hot(mask.sum(1) - 1, states.shape[1]).unsqueeze(-1).to(states.dtype)
    return (states * last).sum(1)


def _known(pooling: str) -> None:
    if pooling not in ("first", "mean", "max", "last"):
        raise ConfigError(f"the graph has no pooling '{pooling}'. Known: first, last, max, mean.")


def write_onnx(path: Path, model: Padded, names: Sequence[str], *, segments: bool) -> None:
    """Writes the graph; batch and length are dynamic. names: of the outputs after `vector`. segments: token_type_ids is an input.

    Raises MissingExtra without onnx and onnxscript.
    """
    try:
        import onnx
        import onnxscript
    except ImportError as error:
        raise MissingExtra("onnxscript", "onnx") from error
    del onnx, onnxscript
    inputs = ["input_ids", "attention_mask", *(["token_type_ids"] if segments else [])]
    tokens = torch.full((2, 9), 5, dtype=torch.int64)
    mask = torch.ones_like(tokens)
    mask[1, 6:] = 0
    example = (tokens, mask, *([torch.zeros_like(tokens)] if segments else []))
    batch, length = torch.export.Dim("batch", min=1, max=4096), torch.export.Dim("length", min=2, max=8192)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model.eval(),
            example,
            str(path),
            input_names=inputs,
            output_names=[VECTOR, *names],
            dynamic_shapes=tuple({0: batch, 1: length} for _ in inputs),
            dynamo=True,
            external_data=False,
        )
