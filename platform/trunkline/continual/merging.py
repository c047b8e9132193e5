"""One trunk of several that were trained from the same one: arithmetic on what each of them changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

State = Mapping[str, Tensor]
METHODS = ("average", "arithmetic", "ties", "dare")


def merged(
    method: str, parent: State, others: Sequence[State], *, scale: float, density: float, seed: int = 0
) -> dict[str, Tensor]:
    """name -> the merged parameter, with changes d_i = other_i - parent.

    average     parent + mean of d_i                      Wortsman et al., arXiv:2203.05482 (uniform soup)
    arithmetic  parent + scale * sum of d_i               Ilharco et al., arXiv:2212.04089, section 2
    ties        parent + scale * mean of the d_i whose sign is that of their sum, after each is cut to its `density` largest
                values, elsewhere 0                       Yadav et al., arXiv:2306.01708, algorithm 1
    dare        parent + scale * sum of d_i with a share 1 - density dropped by chance, the rest divided by density
                                                          Yu et al., arXiv:2311.03099, section 3.1
    """
    changes = [{name: other[name].float() - value.float() for name, value in parent.items()} for other in others]
    if method == "ties":
        changes = [_trimmed(change, density) for change in changes]
    if method == "dare":
        chance = torch.Generator().manual_seed(seed)
        changes = [{name: _dropped(value, density, chance) for name, value in change.items()} for change in changes]
    found = {}
    for name, value in parent.items():
        stacked = torch.stack([change[name] for change in changes])
        if method == "average":
            moved = stacked.mean(0)
        elif method == "ties":
            agree = (stacked * stacked.sum(0).sign()) > 0
            moved = scale * (stacked * agree).sum(0) / agree.sum(0).clamp(min=1)
        else:
            moved = scale * stacked.sum(0)
        found[name] = (value.float() + moved).to(value.dtype)
    return found


def _trimmed(change: State, density: float) -> dict[str, Tensor]:
    """Only the largest `density` of all values, over all parameters together."""
    sizes = torch.cat([value.abs().flatten() for value in change.values()])
    kept = max(1, round(density * len(sizes)))
    least = sizes.kthvalue(len(sizes) - kept + 1).values
    return {name: value * (value.abs() >= least) for name, value in change.items()}


def _dropped(value: Tensor, density: float, chance: torch.Generator) -> Tensor:
    return value * (torch.rand(value.shape, generator=chance) < density) / density
