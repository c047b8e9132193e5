"""Attention that never crosses a row of the pack, registered with transformers under one name.

CUDA: the variable-length kernel of torch. CPU: rows grouped by (nearly) equal length, one scaled-dot-product call each. A row
that looks ahead only is read from its end: then it looks back only, as the kernels know it (places are in the queries and
keys already, so the order in which a call meets the tokens says nothing).
"""

from __future__ import annotations

from collections.abc import Callable
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
    """Rows of nearly equal length in one call: shape (G, L), mask [G, 1, 1, L] or None; a short row repeats its first token.

    causal: a token sees those before it alone, which keeps short rows off their repeats by itself.
    """

    shape: tuple[int, int]
    mask: Tensor | None
    causal: bool


@dataclass(frozen=True)
class Packed:
    """Rows in one call of the variable-length kernel: index [n] of their tokens, None for the whole pack as it lies;
    row_starts [r+1] int32 and longest of them; causal as in Group."""

    index: Tensor | None
    row_starts: Tensor
    longest: int
    causal: bool


@dataclass(frozen=True)
class Plan:
    """How attention runs on one pack; made once per pass, used by every layer.

    groups (CPU) or packed (CUDA): the calls. gather [M]: the tokens of all groups laid end to end, repeats included, M >= N; None
    if that is the pack as it lies. scatter [N] finds each token in the calls' outputs laid end to end, None if in place.
    beside: adds to what was attended to, given the queries (both [N, H, d]) and the scale of the scores; None adds nothing.
    """

    groups: list[Group]
    packed: list[Packed]
    scatter: Tensor | None
    gather: Tensor | None = None
    beside: Callable[[Tensor, Tensor, float], Tensor] | None = None

    @classmethod
    def of(cls, row_starts: Tensor, row_lengths: np.ndarray, sight: np.ndarray | None = None) -> Plan:
        """row_starts [R+1] on the device the pack is on; row_lengths [R] and sight [R] (see `Batch`) on the host."""
        sight = np.zeros(len(row_lengths), np.int8) if sight is None else sight
        return _packed(row_starts, row_lengths, sight) if row_starts.is_cuda else _grouped(row_lengths, sight)


def _grouped(lengths: np.ndarray, sight: np.ndarray) -> Plan:
    starts = np.concatenate([[0], np.cumsum(lengths)])
    groups: list[Group] = []
    gather: list[np.ndarray] = []
    scatter = np.zeros(starts[-1], np.int64)
    offset = 0
    for causal in (False, True):
        order = np.flatnonzero((sight != 0) == causal)
        order = order[np.argsort(-lengths[order], kind="stable")]
        first = 0
        while first < len(order):
            longest = int(lengths[order[first]])
            last = first
            while last < len(order) and lengths[order[last]] >= SPREAD * longest:
                last += 1
            rows = order[first:last]
            own, steps = lengths[rows][:, None], np.arange(longest)
            inside = steps < own  # [G, L]
            forth = np.where(sight[rows][:, None] > 0, own - 1 - steps, steps)
            index = starts[rows][:, None] + np.where(inside, forth, 0)
            mask = None if causal or inside.all() else torch.from_numpy(inside)[:, None, None, :]
            scatter[index[inside]] = offset + np.flatnonzero(inside.ravel())
            gather.append(index.ravel())
            groups.append(Group((len(rows), longest), mask, causal))
            offset += inside.size
            first = last
    if len(groups) == 1 and np.array_equal(gather[0], np.arange(len(scatter))):
        return Plan(groups, [], None)
    return Plan(groups, [], torch.from_numpy(scatter), torch.from_numpy(np.concatenate(gather)))


def _packed(row_starts: Tensor, lengths: np.ndarray, sight: np.ndarray) -> Plan:
    """One call for the rows read whole, one for those read in one direction. Not run yet on CUDA with a sight other than 0."""
    if not sight.any() or (sight < 0).all():
        return Plan([], [Packed(None, row_starts.int(), int(lengths.max()), bool(sight.any()))], None)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    parts: list[np.ndarray] = []
    packed: list[Packed] = []
    for causal in (False, True):
        rows = np.flatnonzero((sight != 0) == causal)
        if not len(rows):
            continue
        own = lengths[rows]
        ends = np.cumsum(own)
        steps = np.arange(ends[-1]) - np.repeat(ends - own, own)
        forth = np.where(np.repeat(sight[rows] > 0, own), np.repeat(own, own) - 1 - steps, steps)
        parts.append(np.repeat(starts[rows], own) + forth)
        bounds = torch.from_numpy(np.concatenate([[0], ends]).astype(np.int32)).to(row_starts.device)
        packed.append(Packed(torch.from_numpy(parts[-1]).to(row_starts.device), bounds, int(own.max()), causal))
    scatter = torch.from_numpy(np.argsort(np.concatenate(parts))).to(row_starts.device)
    return Plan([], packed, scatter)


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, *, plan: Plan, **settings: Any
) -> tuple[Tensor, None]:
    """transformers' attention function: query, key, value [1, H, N, d] -> [1, N, H, d].

    settings: scaling, dropout (must be 0: the fast kernels have none) and sliding_window, which ModernBERT sets.
    """
    del module, attention_mask
    assert not settings.get("dropout"), "attention dropout is not in the packed kernels"
    scaling, window = settings.get("scaling"), settings.get("sliding_window")
    qkv = [tensor.squeeze(0).transpose(0, 1) for tensor in (query, key, value)]  # [N, H, d]
    found = _grouped_rows(qkv, plan, scaling, window) if plan.groups else _packed_rows(qkv, plan, scaling, window)
    if plan.beside is not None:
        found = plan.beside(found, qkv[0], qkv[0].shape[-1] ** -0.5 if scaling is None else scaling)
    return found.unsqueeze(0), None


def _packed_rows(qkv: list[Tensor], plan: Plan, scaling: float | None, window: int | None) -> Tensor:
    parts = [_varlen(qkv, call, scaling, window) for call in plan.packed]
    whole = torch.cat(parts) if len(parts) > 1 else parts[0]
    return whole if plan.scatter is None else whole[plan.scatter]


def _grouped_rows(qkv: list[Tensor], plan: Plan, scaling: float | None, window: int | None) -> Tensor:
    """Every token's [N, H, d] from one call a group."""
    sizes = [rows * longest for rows, longest in (group.shape for group in plan.groups)]
    in_place = plan.gather is None
    laid = qkv if in_place else [Spread.apply(tensor, plan.gather, plan.scatter) for tensor in qkv]
    spread = [tensor.split(sizes) for tensor in laid]
    parts = []
    for group, own in zip(plan.groups, zip(*spread, strict=True), strict=True):
        queries, keys, values = (tensor.unflatten(0, group.shape).transpose(1, 2) for tensor in own)  # [G, H, L, d]
        mask = _window(group, window)
        causal = group.causal and mask is None
        out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, is_causal=causal, scale=scaling)
        parts.append(out.transpose(1, 2).flatten(0, 1))  # [G * L, H, d]
    if in_place:
        return parts[0]
    found: Tensor = Collect.apply(torch.cat(parts), plan.scatter)
    return found


class Spread(torch.autograd.Function):
    """flat [N, ...] -> flat[gather] [M, ...], where only the places `scatter` [N] of the result are ever read.

    A repeat is masked as a key and dropped as a query, so its gradient is zero, and each token's is the one of its own place:
    plain indexing would clear and add up a whole [N, ...] for every group.
    """

    @staticmethod
    def forward(ctx: Any, flat: Tensor, gather: Tensor, scatter: Tensor) -> Tensor:
        ctx.scatter = scatter
        return flat.index_select(0, gather)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        return slopes[0].index_select(0, ctx.scatter), None, None


class Collect(torch.autograd.Function):
    """The inverse: laid [M, ...] -> laid[scatter] [N, ...]; no two tokens have one place, so nothing is added up."""

    @staticmethod
    def forward(ctx: Any, laid: Tensor, scatter: Tensor) -> Tensor:
        ctx.places, ctx.scatter = len(laid), scatter
        return laid.index_select(0, scatter)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        slope = slopes[0]
        return slope.new_zeros(ctx.places, *slope.shape[1:]).index_copy_(0, ctx.scatter, slope), None


def _window(group: Group, window: int | None) -> Tensor | None:
    """The group's mask, narrowed to |i - j| < window where a layer asks for a local one."""
    longest = group.shape[1]
    if window is None or longest <= window:
        return group.mask
    steps = torch.arange(longest)
    near = (steps[:, None] - steps).abs() < window
    if group.causal:
        near = near.tril()
    return near if group.mask is None else group.mask & near


def _varlen(qkv: list[Tensor], call: Packed, scaling: float | None, window: int | None) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    # The kernel knows half precision only.
    dtype = qkv[0].dtype
    half = dtype if dtype in (torch.float16, torch.bfloat16) else torch.bfloat16
    q, k, v = ((tensor if call.index is None else tensor[call.index]).to(half) for tensor in qkv)
    back = -1 if window is None else window - 1
    sides = (back, 0 if call.causal else back)
    starts, longest = call.row_starts, call.longest
    out = varlen_attn(q, k, v, starts, starts, longest, longest, scale=scaling, window_size=sides)
    assert isinstance(out, Tensor)
    return out.to(dtype)


def register() -> str:
    """Makes the function known to transformers; returns its name. Calling it again changes nothing."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)
    return NAME
