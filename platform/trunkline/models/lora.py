"""What tasks change in a trunk, each on its own slice of the pack: LoRA, a low-rank change of its layers, its fusion; prompts."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.batch import Batch
from trunkline.models.prompt import Prompt, Site

PREFIX = "base_model.model."  # peft's, before the module's own name


@dataclass(frozen=True)
class LoRA:
    """What an adapter is made of. rank: r, 0 for no low-rank change. alpha: the change is scaled by alpha / r. of: tasks whose
    changes it mixes in. prompt: vectors of its prompt, 0 for none."""

    rank: int = 8
    alpha: float = 16.0
    of: Sequence[str] = ()
    prompt: int = 0


class Pair(nn.Module):
    """x [n, in] -> B A x [n, out]; B is zero at first, so that the model starts as it was."""

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        super().__init__()
        self.lora_A = nn.Parameter(torch.empty(rank, linear.in_features))
        self.lora_B = nn.Parameter(torch.zeros(linear.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.linear(x, self.lora_A), self.lora_B)


class Blend(Pair):
    """A mix of what several adapters change z_1..z_T, the own one last, by attention at every token:

        s = softmax over t of (Q y) . (K z_t);   change = (I + V_B V_A) sum over t of s_t z_t

    for y [n, out], what the layer gave.

    Source: AdapterFusion, Pfeiffer et al., arXiv:2005.00247, section 3.2. Departures: Q and K [rank, out] and V a low-rank change
    of the identity, not square matrices; the own adapter is learned with the mix, not before it. At first V is the identity
    and the own change is zero.
    """

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        super().__init__(linear, rank)
        out = linear.out_features
        self.query, self.key, self.value_A = (nn.Parameter(torch.empty(rank, out)) for _ in range(3))
        self.value_B = nn.Parameter(torch.zeros(out, rank))
        for drawn in (self.query, self.key, self.value_A):
            nn.init.kaiming_uniform_(drawn, a=math.sqrt(5))

    def forward(self, x: Tensor, output: Tensor | None = None, others: Sequence[Tensor] = (), scale: float = 1.0) -> Tensor:
        own = super().forward(x) * scale
        assert output is not None
        changes = torch.stack([*others, own], dim=1)  # [n, T, out]
        said = F.linear(changes, self.key) @ F.linear(output, self.query).unsqueeze(-1)
        mixed = (said.softmax(1) * changes).sum(1)
        return mixed + F.linear(F.linear(mixed, self.value_A), self.value_B)


class Adapters(nn.ModuleDict):
    """Tasks' changes of a trunk: y = W x + (alpha / r) B A x on the tokens of the task, W x bit for bit on all others.

    Source: Hu et al., arXiv:2106.09685, section 4.1; A is drawn as a linear layer's weight is, as in their code and peft.
    sites: name -> linear layer that is run on the pack's tokens [.., N, in]. wanted: task -> its LoRA. attentions: name -> module
    in which the tokens of a task with a prompt read it (see `Prompt`). The layers stay in place and keep their names: what is
    added is added by a hook. Every adapter of the pack's tasks runs in every micro-batch, in the pack's order, dummies included.
    """

    def __init__(
        self, sites: Mapping[str, nn.Linear], wanted: Mapping[str, LoRA], attentions: Mapping[str, Site] | None = None
    ) -> None:
        attentions = attentions or {}
        super().__init__({_key(task): nn.ModuleDict(_parts(lora, sites, attentions)) for task, lora in wanted.items()})
        self.wanted = dict(wanted)
        self._spans: list[tuple[str, slice]] = []
        for site, linear in sites.items():
            linear.register_forward_hook(functools.partial(self._changed, _flat(site)))
        for name, attention in attentions.items():
            attention.module.register_forward_pre_hook(functools.partial(self._prompting, _flat(name)), with_kwargs=True)

    @contextlib.contextmanager
    def over(self, batch: Batch) -> Iterator[None]:
        """While the trunk reads this pack, its tasks' adapters are on."""
        spans = [(task, part.tokens) for task, part in batch.tasks.items() if task in self.wanted]
        self._spans = sorted(spans, key=lambda own: own[1].start)
        try:
            yield
        finally:
            self._spans = []

    def _changed(self, site: str, _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        changed = [(task, span) for task, span in self._spans if self.wanted[task].rank]
        if not changed:
            return None
        read, flat = inputs[0].flatten(0, -2), output.flatten(0, -2)
        added = _added(flat, [(span, self._change(task, site, read[span], flat[span])) for task, span in changed])
        return added.view_as(output)

    def _prompting(
        self, site: str, _: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Hands the prompts of the pack's tasks to attention, which alone knows the queries."""
        prompted = [(task, span) for task, span in self._spans if self.wanted[task].prompt]
        if not prompted:
            return None

        def beside(found: Tensor, query: Tensor, scale: float) -> Tensor:
            return _added(found, [(span, self.of(task)[site](query[span], scale)) for task, span in prompted])

        return inputs, {**named, "plan": replace(named["plan"], beside=beside)}

    def _change(self, task: str, site: str, x: Tensor, output: Tensor) -> Tensor:
        """What a task adds to a layer's output [n, out]."""
        lora, own = self.wanted[task], self.of(task)[site]
        scale = lora.alpha / lora.rank
        if not lora.of:
            return own(x) * scale
        return own(x, output, [self._change(other, site, x, output) for other in lora.of], scale)

    def of(self, task: str) -> nn.ModuleDict:
        found = self[_key(task)]
        assert isinstance(found, nn.ModuleDict)
        return found

    def saved(self, task: str) -> dict[str, Tensor]:
        """A task's tensors by the names that peft gives them."""
        return {
            f"{PREFIX}{_dotted(site)}.{which}.weight": getattr(pair, which).detach().contiguous()
            for site, pair in self._pairs(task).items()
            for which in ("lora_A", "lora_B")
        }

    def open(self, task: str, tensors: Mapping[str, Tensor]) -> None:
        """Takes what `saved`, `fusion` and `prompt` gave. Raises RuntimeError where names or shapes are others."""
        found = {name.removeprefix(PREFIX).removesuffix(".weight"): tensor for name, tensor in tensors.items()}
        self.of(task).load_state_dict(
            {f"{_flat(name.rpartition('.')[0])}.{name.rpartition('.')[2]}": tensor for name, tensor in found.items()}
        )

    def fusion(self, task: str) -> dict[str, Tensor]:
        """What a task's mix has beside its adapter, by site; nothing for one that mixes nothing."""
        return {
            f"{_dotted(site)}.{name}": value.detach().contiguous()
            for site, pair in self._pairs(task).items()
            for name, value in pair.named_parameters()
            if not name.startswith("lora_")
        }

    def prompt(self, task: str) -> dict[str, Tensor]:
        """The keys and values [H, P, d] of a task's prompt, by the module that attends; nothing for a task without one."""
        return {
            f"{_dotted(site)}.{name}": value.detach().contiguous()
            for site, part in self.of(task).items()
            if isinstance(part, Prompt)
            for name, value in part.named_parameters()
        }

    def _pairs(self, task: str) -> dict[str, Pair]:
        return {site: part for site, part in self.of(task).items() if isinstance(part, Pair)}

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
            "target_modules": [_dotted(site) for site in self._pairs(task)],
            "task_type": None,
        }


def _parts(lora: LoRA, sites: Mapping[str, nn.Linear], attentions: Mapping[str, Site]) -> dict[str, nn.Module]:
    make = Blend if lora.of else Pair
    changes: dict[str, nn.Module] = {_flat(name): make(own, lora.rank) for name, own in sites.items()} if lora.rank else {}
    prompts = {_flat(name): Prompt(own, lora.prompt) for name, own in attentions.items()} if lora.prompt else {}
    return {**changes, **prompts}


def _added(flat: Tensor, changes: Sequence[tuple[slice, Tensor]]) -> Tensor:
    """flat [N, ...] with a change [n, ...] added to each span of tokens, in order; all others bit for bit.

    Tasks without a row may have one span; what they change is added up.
    """
    pieces, done = [flat[:0]], 0
    for span, change in changes:
        if span.stop == done:
            pieces[-1] = pieces[-1] + change.to(flat.dtype)
            continue
        pieces += [flat[done : span.start], flat[span] + change.to(flat.dtype)]
        done = span.stop
    return torch.cat([*pieces, flat[done:]])


def _key(task: str) -> str:
    """As the heads' modules are named."""
    return f"{task}_"


def _flat(site: str) -> str:
    return site.replace(".", "-")


def _dotted(site: str) -> str:
    return site.replace("-", ".")
