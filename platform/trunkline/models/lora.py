"""LoRA: a low-rank change of the trunk's linear layers, each task's own, on that task's slice of the pack."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.batch import Batch

PREFIX = "base_model.model."  # peft's, before the module's own name


@dataclass(frozen=True)
class LoRA:
    """What an adapter is made of. rank: r >= 1. alpha: the change is scaled by alpha / r."""

    rank: int = 8
    alpha: float = 16.0


class Pair(nn.Module):
    """x [n, in] -> B A x [n, out]; B is zero at first, so that the model starts as it was."""

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        super().__init__()
        self.lora_A = nn.Parameter(torch.empty(rank, linear.in_features))
        self.lora_B = nn.Parameter(torch.zeros(linear.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.linear(x, self.lora_A), self.lora_B)


class Adapters(nn.ModuleDict):
    """Tasks' changes of a trunk: y = W x + (alpha / r) B A x on the tokens of the task, W x bit for bit on all others.

    Source: Hu et al., arXiv:2106.09685, section 4.1; A is drawn as a linear layer's weight is, as in their code and peft.
    sites: name -> linear layer that is run on the pack's tokens [.., N, in]. wanted: task -> its LoRA. The layers stay in place
    and keep their names: what is added is added by a hook. Every adapter of the pack's tasks runs in every micro-batch, in the
    pack's order, dummies included.
    """

    def __init__(self, sites: Mapping[str, nn.Linear], wanted: Mapping[str, LoRA]) -> None:
        super().__init__(
            {
                _key(task): nn.ModuleDict({_flat(s): Pair(own, lora.rank) for s, own in sites.items()})
                for task, lora in wanted.items()
            }
        )
        self.wanted = dict(wanted)
        self._spans: list[tuple[str, slice]] = []
        for site, linear in sites.items():
            linear.register_forward_hook(functools.partial(self._changed, _flat(site)))

    @contextlib.contextmanager
    def over(self, batch: Batch) -> Iterator[None]:
        """While the trunk reads this pack, its tasks' adapters are on."""
        self._spans = [(task, part.tokens) for task, part in batch.tasks.items() if task in self.wanted]
        try:
            yield
        finally:
            self._spans = []

    def _changed(self, site: str, _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if not self._spans:
            return None
        read, flat = inputs[0].flatten(0, -2), output.flatten(0, -2)
        pieces, done = [], 0
        for task, span in sorted(self._spans, key=lambda pair: pair[1].start):
            lora, change = self.wanted[task], self.of(task)[site](read[span])
            pieces += [flat[done : span.start], flat[span] + change * (lora.alpha / lora.rank)]
            done = span.stop
        return torch.cat([*pieces, flat[done:]]).view_as(output)

    def of(self, task: str) -> nn.ModuleDict:
        found = self[_key(task)]
        assert isinstance(found, nn.ModuleDict)
        return found

    def saved(self, task: str) -> dict[str, Tensor]:
        """A task's tensors by the names that peft gives them."""
        return {
            f"{PREFIX}{_dotted(site)}.{which}.weight": getattr(pair, which).detach().contiguous()
            for site, pair in self.of(task).items()
            for which in ("lora_A", "lora_B")
        }

    def open(self, task: str, tensors: Mapping[str, Tensor]) -> None:
        """Takes what `saved` gave. Raises RuntimeError where names or shapes are others."""
        found = {name.removeprefix(PREFIX).removesuffix(".weight"): tensor for name, tensor in tensors.items()}
        self.of(task).load_state_dict(
            {f"{_flat(name.rpartition('.')[0])}.{name.rpartition('.')[2]}": tensor for name, tensor in found.items()}
        )

    def configuration(self, task: str) -> dict[str, Any]:
        """peft's adapter_config.json of a task."""
        lora = self.wanted[task]
        return {
            "peft_type": "LORA",
            "base_model_name_or_path": "../../trunk",
            "r": lora.rank,
            "lora_alpha": lora.alpha,
            "lora_dropout": 0.0,
            "bias": "none",
            "fan_in_fan_out": False,
            "inference_mode": True,
            "target_modules": [_dotted(site) for site in self.of(task)],
            "task_type": None,
        }


def _key(task: str) -> str:
    """As the heads' modules are named."""
    return f"{task}_"


def _flat(site: str) -> str:
    return site.replace(".", "-")


def _dotted(site: str) -> str:
    return site.replace("-", ".")
