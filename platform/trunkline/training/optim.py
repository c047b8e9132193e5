"""Parameter groups, and the learning rate as a function of the step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from trunkline.errors import ConfigError, nearest

Groups = list[dict[str, Any]]
COOLDOWN = 0.2  # of the steps, under wsd


def parameter_groups(
    model: nn.Module,
    owner: Callable[[str], str | None],
    embeddings: nn.Module,
    *,
    lr: float,
    head_lr: float,
    embedding_lr: float | None = None,
    head_decay: float | None = None,
    embedding_decay: float | None = None,
    steps: Mapping[str, float] | None = None,
    scale: Mapping[str, float] | None = None,
) -> Groups:
    """Groups of their own for the embeddings, the rest of the trunk and each head, each split into decaying and not.

    owner: parameter name -> task or None. The embeddings are the token embeddings and every other table of the trunk (positions,
    segments). Biases and norms (one dimension) do not decay. `peak_lr` is what the schedule scales; embedding_lr None: as lr.
    `decay` None: the optimizer's own. steps: name -> step count, of parameters trained before: each count is a group. scale: name
    -> factor of its rate.
    """
    tables = [module.weight for module in model.modules() if isinstance(module, nn.Embedding)]
    in_embeddings = {id(parameter) for parameter in (*embeddings.parameters(), *tables)}
    peaks = {"head": (head_lr, head_decay), "embeddings": (embedding_lr or lr, embedding_decay), "trunk": (lr, None)}
    groups: dict[tuple[str, float, float], dict[str, Any]] = {}
    taken, scales = steps or {}, scale or {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        task = owner(name)
        room = "head" if task else "embeddings" if id(parameter) in in_embeddings else "trunk"
        decays = parameter.ndim > 1
        label = f"{f'head:{task}' if task else room}{'' if decays else ':plain'}"
        rate, decay = peaks[room]
        peak = rate * scales.get(name, 1.0)
        new = {"name": label, "room": room, "params": [], "decays": decays, "decay": decay, "peak_lr": peak}
        groups.setdefault((label, peak, taken.get(name, 0.0)), new)["params"].append(parameter)
    return list(groups.values())


class Schedule:
    """A share of the peak learning rate, a pure function of the step. Source: transformers' get_scheduler, by its names.

    warmup: share of the steps, 0..1. `wsd` is its `warmup_stable_decay` (Hu et al., arXiv:2404.06395): warm-up, then the peak,
    then down to 0 along half a cosine over the last `cooldown` share of the steps.
    `factor(step)` is what step number `step` (1 is the first) trains with: the first is on warm-up's first rung, not at 0.
    """

    def __init__(self, kind: str, warmup: float, steps: int, cooldown: float = COOLDOWN) -> None:
        from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION, get_scheduler

        rising = round(warmup * steps)
        extra = {"num_decay_steps": min(round(cooldown * steps), steps - rising)} if kind == "wsd" else None
        kind = "warmup_stable_decay" if kind == "wsd" else kind
        names = {name.value for name in TYPE_TO_SCHEDULER_FUNCTION}
        if kind not in names:
            raise ConfigError(f"optim.schedule: no schedule named '{kind}'. {nearest(kind, names)}")
        stand_in = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=1.0)
        try:
            scheduler = get_scheduler(
                kind, stand_in, num_warmup_steps=rising, num_training_steps=steps, scheduler_specific_kwargs=extra
            )
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
