"""What every trunk offers."""

from __future__ import annotations

import fnmatch
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from trunkline.batch import Batch


class Trunk(nn.Module):
    """tokens of a pack -> hidden [N, D], rows kept apart. Its keyword-only arguments come from the recipe's `trunk:`.

    width: D. embeddings: the token embeddings, a parameter group of their own. sights: which of `Batch.sight` it honours; a task
    that needs another is refused before training, with `one_way`, what to do about it.
    """

    width: int
    sights: frozenset[int] = frozenset({0})
    one_way: ClassVar[str] = "Choose another trunk."

    @property
    @abstractmethod
    def embeddings(self) -> nn.Module: ...

    @property
    def probes(self) -> list[nn.Linear]:
        """Layers on which the tasks' gradients may be compared; none if the trunk knows no such layers.

        Rows must lie apart from their input to the loss: a token of one row has no part in another's gradient.
        """
        return []

    def probed(self, patterns: Sequence[str] | None = None) -> list[nn.Linear]:
        """`probes`, or the trained linear layers whose name in the trunk fits a pattern such as `*.layer.3.*`."""
        if patterns is None:
            return self.probes
        named = [(name, part) for name, part in self.named_modules() if isinstance(part, nn.Linear) and part.weight.requires_grad]
        return [part for name, part in named if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]

    def by_token(self, batch: Batch, states: Tensor) -> Tensor:
        """What a probe layer read or gave for this pack, one line for each of its tokens [N, d]."""
        del batch
        return states.flatten(0, -2)

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor: ...

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Writes weights and configuration; `describe` says how to open them again."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """`kind` and the keyword arguments that open what `save` wrote; `pretrained` is relative to that folder."""
