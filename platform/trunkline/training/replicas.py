"""Whether all ranks still hold the same weights: a bit that flipped in one machine's memory is told, not trained on."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from trunkline.errors import IntegrityError

EVERY = 50
BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def compare(parameters: Mapping[str, Tensor], step: int, every: int = EVERY) -> None:
    """Collective, every `every` steps: all ranks' parameters bit by bit, by the sum of each one's bits as integers.

    parameters: name -> what every rank holds whole, alike before and after a step (ZeRO stages 0 to 2). One flipped bit always
    changes a sum. Raises IntegrityError on all ranks, with the ranks that hold what fewest hold.
    """
    world = torch.distributed.get_world_size()
    if world == 1 or step % every:
        return
    mine = digest(parameters)
    found = [torch.zeros_like(mine) for _ in range(world)]
    torch.distributed.all_gather(found, mine)
    if all(torch.equal(mine, other) for other in found):
        return
    table = torch.stack(found).cpu()
    common = table.mode(dim=0).values
    names = [name for name, same in zip(parameters, (table == common).all(dim=0).tolist(), strict=True) if not same]
    ranks = [str(rank) for rank in range(world) if not torch.equal(table[rank], common)]
    who = f"rank {', '.join(ranks)} differs from the others" if len(ranks) < world / 2 else "no rank is in the majority"
    raise IntegrityError(
        f"before step {step} the ranks hold different weights: {who}, in {len(names)} tensors, first {names[0]}. A machine's "
        "memory, or a plugin that acts on one rank alone. Checkpoints of the last "
        f"{every} steps may hold it: remove those, and resume."
    )


def digest(parameters: Mapping[str, Tensor]) -> Tensor:
    """The sum of each parameter's bits, read as integers of its width [P] int64."""
    return torch.stack([value.detach().reshape(-1).view(BITS[value.element_size()]).sum() for value in parameters.values()])
