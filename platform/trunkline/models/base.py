"""What every trunk offers."""

from __future__ import annotations

import fnmatch
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from trunkline.batch import Batch
from trunkline.models.prompt import Site


@dataclass(frozen=True)
class Words:
    """What a run knows of its V tokens before the first step.

    spelled [V]: each token as people write it, "" for special ones. rows: the tokens of each task's training rows, as flat
    values and the bounds of the rows in them. seed: the run's.
    """

    spelled: Sequence[str]
    rows: Sequence[tuple[np.ndarray, np.ndarray]] = ()
    seed: int = 0


@dataclass(frozen=True)
class Primed:
    """What a trunk starts from beside its seed: tensors by their names in its state, and what is to be said of them."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)


class Trunk(nn.Module):
    """tokens of a pack -> hidden [N, D], rows kept apart. Its keyword-only arguments come from the recipe's `trunk:`.

    width: D. embeddings: the token embeddings, a parameter group of their own. sights: which of `Batch.sight` it honours; a task
    that needs another is refused before training, with `one_way`, what to do about it. num_layers: how many states of each token
    `layers` gives.
    """

    width: int
    num_layers: int = 1
    sights: frozenset[int] = frozenset({0})
    one_way: ClassVar[str] = "Choose another trunk."

    @property
    @abstractmethod
    def embeddings(self) -> nn.Module: ...

    @property
    def blocks(self) -> list[nn.Module]:
        """The modules its layers are made of, from the input on; none if it is not made of such."""
        lists = [list(part) for part in self.modules() if isinstance(part, nn.ModuleList)]
        return max(lists, key=len, default=[])

    def renew(self, count: int) -> None:
        """Draws its top `count` layers anew, biases 0, norms as they begin. count: 1 to the number of `blocks`.

        Source: Zhang et al., arXiv:2006.05987, section 4; linear layers and embeddings from N(0, 0.02^2) as BERT has, others as
        they draw themselves.
        """
        assert 0 < count <= len(self.blocks)
        for part in (part for block in self.blocks[-count:] for part in block.modules()):
            if isinstance(part, nn.Linear | nn.Embedding):
                nn.init.normal_(part.weight, std=0.02)
                if isinstance(part, nn.Linear) and part.bias is not None:
                    nn.init.zeros_(part.bias)
            elif callable(reset := getattr(part, "reset_parameters", None)):
                reset()

    @property
    def adaptable(self) -> dict[str, nn.Linear]:
        """Name -> linear layer of its blocks that runs on the pack's tokens [.., N, d], N alone; none if it knows no such."""
        return {}

    @property
    def attentions(self) -> dict[str, Site]:
        """Name -> module of its blocks that attends by `models.attention`; none if it knows no such."""
        return {}

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

    def prime(self, words: Words) -> Primed:
        """What the run's tokens and training rows tell it, once, before the first step; changes nothing by itself."""
        del words
        return Primed()

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor: ...

    def layers(self, batch: Batch) -> list[Tensor]:
        """`num_layers` states [N, D], from the embeddings up; the last is what `forward` gives."""
        return [self(batch)]

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Writes weights and configuration; `describe` says how to open them again."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """`kind` and the keyword arguments that open what `save` wrote; `pretrained` is relative to that folder."""
