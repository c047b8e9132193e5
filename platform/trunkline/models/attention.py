"""Attention that never crosses a row of the pack, registered with transformers under one name.

CUDA: the variable-length kernel of torch. CPU: rows grouped by (nearly) equal length, one scaled-dot-product call each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

NAME = "trunkline_rows"
SPREAD = 0.75  # a group holds rows whose lengths are at least this share of its longest


@dataclass(frozen=True)
class Group:
    """Rows of nearly equal length: index [G, L] of their tokens (short rows repeat their first), mask [G, 1, 1, L] or None."""

    index: Tensor
    mask: Tensor | None


@dataclass(frozen=True)
class Plan:
    """How attention runs on one pack; made once per pass, used by every layer.

    groups, scatter: on the CPU; scatter [N] finds each token in the groups' outputs laid end to end.
    row_starts [R+1] int32 and longest: for the variable-length kernel.
    """

    groups: list[Group]
    scatter: Tensor | None
    row_starts: Tensor | None
    longest: int

    @classmethod
    def of(cls, row_starts: Tensor, row_lengths: np.ndarray) -> Plan:
        """row_starts [R+1] on the device the pack is on; row_lengths [R] on the host."""
        if row_starts.is_cuda:
            return cls([], None, row_starts.int(), int(row_lengths.max()))
        return _grouped(row_lengths)


def _grouped(lengths: np.ndarray) -> Plan:
    starts = np.concatenate([[0], np.cumsum(lengths)])
    order = np.argsort(-lengths, kind="stable")
    groups: list[Group] = []
    scatter = np.zeros(starts[-1], np.int64)
    offset = first = 0
    while first < len(order):
        longest = int(lengths[order[first]])
        last = first
        while last < len(order) and lengths[order[last]] >= SPREAD * longest:
            last += 1
        rows = order[first:last]
        steps = np.arange(longest)
        inside = steps < lengths[rows][:, None]  # [G, L]
        index = starts[rows][:, None] + np.where(inside, steps, 0)
        mask = None if inside.all() else torch.from_numpy(inside)[:, None, None, :]
        scatter[index[inside]] = offset + np.flatnonzero(inside.ravel())
        groups.append(Group(torch.from_numpy(index), mask))
        offset += inside.size
        first = last
    return Plan(groups, torch.from_numpy(scatter), None, int(lengths.max()))


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, *, plan: Plan, **settings: Any
) -> tuple[Tensor, None]:
    """transformers' attention function: query, key, value [1, H, N, d] -> [1, N, H, d].

    settings: scaling, dropout (must be 0: the fast kernels have none) and sliding_window, which ModernBERT sets.
    """
    del module, attention_mask
    assert not settings.get("dropout"), "attention dropout is not in the packed kernels"
    scaling, window = settings.get("scaling"), settings.get("sliding_window")
    q, k, v = (tensor.squeeze(0).transpose(0, 1) for tensor in (query, key, value))  # [N, H, d]
    if plan.row_starts is not None:
        return _varlen(q, k, v, plan.row_starts, plan.longest, scaling, window).unsqueeze(0), None
    parts = []
    for group in plan.groups:
        queries, keys, values = (tensor[group.index].transpose(1, 2) for tensor in (q, k, v))  # [G, H, L, d]
        out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=_window(group, window), scale=scaling)
        parts.append(out.transpose(1, 2).flatten(0, 1))  # [G * L, H, d]
    return torch.cat(parts)[plan.scatter].unsqueeze(0), None


def _window(group: Group, window: int | None) -> Tensor | None:
    """The group's mask, narrowed to |i - j| < window where a layer asks for a local one."""
    longest = group.index.shape[1]
    if window is None or longest <= window:
        return group.mask
    steps = torch.arange(longest)
    near = (steps[:, None] - steps).abs() < window
    return near if group.mask is None else group.mask & near


def _varlen(
    q: Tensor, k: Tensor, v: Tensor, row_starts: Tensor, longest: int, scaling: float | None, window: int | None
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    # The kernel knows half precision only.
    half = q.dtype if q.dtype in (torch.float16, torch.bfloat16) else torch.bfloat16
    sides = (-1, -1) if window is None else (window - 1, window - 1)
    out = varlen_attn(
        q.to(half), k.to(half), v.to(half), row_starts, row_starts, longest, longest, scale=scaling, window_size=sides
    )
    assert isinstance(out, Tensor)
    return out.to(q.dtype)


def register() -> str:
    """Makes the function known to transformers; returns its name. Calling it again changes nothing."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)
    return NAME
