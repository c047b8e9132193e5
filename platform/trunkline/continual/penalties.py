"""What holds a trunk near where it started while it learns something new."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

ANCHOR, FISHER = "anchor", "fisher"
Groups = list[dict[str, Any]]
MakeOptimizer = Callable[[Groups], torch.optim.Optimizer]


def anchored(make: MakeOptimizer, share: float, *, weighed: bool) -> MakeOptimizer:
    """The optimizer, whose every step first takes trunk and embeddings a share of the way back to where they started.

        p <- p - min(share * F * lr / peak lr, 1) * (p - p0),    F = 1, or the parameter's Fisher information if `weighed`

    Source: L2-SP, Li, Grandvalet & Davoine, arXiv:1802.01483, eq. 3; with F elastic weight consolidation, Kirkpatrick et al.,
    arXiv:1612.00796, eq. 3. Departures: decoupled from the gradient as AdamW's decay is, so that no moment scales it; F is scaled
    to a mean of 1, so that `share` means the same with and without. It stands in for weight decay on what it holds.
    p0 and F are kept beside the moments, by name: in every checkpoint, at any ZeRO stage.
    """
    kept = (ANCHOR, FISHER) if weighed else (ANCHOR,)

    def made(groups: Groups) -> torch.optim.Optimizer:
        for group in groups:
            if group["room"] != "head":
                group["decay"] = 0.0
        optimizer = make(groups)
        own = getattr(optimizer, "moments", ())
        for group in optimizer.param_groups:
            if group["room"] != "head":
                group["moments"] = (*group.get("moments", own), *kept)
                group["pulled"] = share
        optimizer.register_step_pre_hook(_pull)
        return optimizer

    return made


@torch.no_grad()
def _pull(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"] if "pulled" in group else ():
            state = optimizer.state[parameter]
            share = group["pulled"] * group["lr"] / group["peak_lr"]
            weight = (state[FISHER] * share).clamp(max=1) if FISHER in state else share
            parameter.sub_(weight * (parameter - state[ANCHOR]))
