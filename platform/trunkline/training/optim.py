"""Parameter groups, optimizers and the learning rate as a function of the step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from trunkline.errors import ConfigError, nearest
from trunkline.registry import OPTIMIZERS

Groups = list[dict[str, Any]]


@OPTIMIZERS.register("adamw")
def adamw(
    groups: Groups, *, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.01
) -> torch.optim.Optimizer:
    """AdamW with decoupled decay on matrices only. Source: Loshchilov & Hutter, arXiv:1711.05101.

    A head absent from a step has gradient zero there: it still decays and its moments still fade, alike on any number of
    ranks.
    """
    for group in groups:
        group["weight_decay"] = weight_decay if group["decays"] else 0.0
    return torch.optim.AdamW(groups, lr=1.0, betas=(betas[0], betas[1]), eps=eps, fused=True)


def parameter_groups(
    model: nn.Module,
    owner: Callable[[str], str | None],
    embeddings: nn.Module,
    *,
    lr: float,
    head_lr: float,
    steps: Mapping[str, float] | None = None,
    scale: Callable[[str], float] = lambda _: 1.0,
) -> Groups:
    """Groups of their own for the embeddings, the rest of the trunk and each head, each split into decaying and not.

    owner: parameter name -> task or None. Biases and norms (one dimension) do not decay. `peak_lr` is what the schedule scales.
    steps: name -> step count, for parameters that were trained before: each count is a group. scale: name -> factor of `lr`.
    """
    in_embeddings = {id(parameter) for parameter in embeddings.parameters()}
    groups: dict[tuple[str, bool, float, float], dict[str, Any]] = {}
    taken = steps or {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        task = owner(name)
        room = f"head:{task}" if task else "embeddings" if id(parameter) in in_embeddings else "trunk"
        decays = parameter.ndim > 1
        peak = (head_lr if task else lr) * scale(name)
        new = {"name": f"{room}{'' if decays else ':plain'}", "params": [], "decays": decays, "peak_lr": peak}
        groups.setdefault((room, decays, peak, taken.get(name, 0.0)), new)["params"].append(parameter)
    return list(groups.values())


class Schedule:
    """A share of the peak learning rate, a pure function of the step. Source: transformers' get_scheduler, by its names.

    warmup: share of the steps, 0..1. `factor(step)` is what step number `step` (1 is the first) trains with:
    the first step trains on warm-up's first rung, not at 0.
    """

    def __init__(self, kind: str, warmup: float, steps: int) -> None:
        from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION, get_scheduler

        names = {name.value for name in TYPE_TO_SCHEDULER_FUNCTION}
        if kind not in names:
            raise ConfigError(f"optim.schedule: no schedule named '{kind}'. {nearest(kind, names)}")
        stand_in = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=1.0)
        try:
            scheduler = get_scheduler(kind, stand_in, num_warmup_steps=round(warmup * steps), num_training_steps=steps)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"optim.schedule: '{kind}' needs arguments that a recipe can not give: {error}. Take cosine or linear."
            ) from error
        lambdas = getattr(scheduler, "lr_lambdas", None)
        if lambdas is None:
            raise ConfigError(
                f"optim.schedule: '{kind}' is no function of the step. Take cosine, linear or constant_with_warmup."
            )
        self._function: Callable[[int], float] = lambdas[0]

    def factor(self, step: int) -> float:
        return float(self._function(step))


def set_learning_rates(groups: Groups, factor: float) -> dict[str, float]:
    """Sets each group's rate to its peak times `factor`; returns the rates by group name."""
    for group in groups:
        group["lr"] = group["peak_lr"] * factor
    return {group["name"]: group["lr"] for group in groups}
