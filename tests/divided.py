"""A small world in which a loss compares more rows than a pass holds: gradients, losses and memory of one step, on every rank."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

import kinds
import laws
from trunkline.batch import Known
from trunkline.data.dealing import Step, build_step
from trunkline.data.packing import Table
from trunkline.data.units import Unit
from trunkline.losses.base import Loss
from trunkline.losses.classification import CrossEntropy
from trunkline.losses.contrastive import InfoNCE
from trunkline.models.heads.classification import Classification
from trunkline.models.heads.contrastive import Contrastive
from trunkline.models.multitask import MultiTask, owner
from trunkline.models.transformer import Transformer
from trunkline.training import cached
from trunkline.training import step as steps
from trunkline.training.engine import Engine
from trunkline.training.objective import Objective, factors
from trunkline.training.optim import parameter_groups, set_learning_rates
from trunkline.training.optimizers import AdamW
from trunkline.weighting.static import Static

SEED = 9


@dataclass(frozen=True)
class Outcome:
    """gradient: of the whole step. losses: as observed. held_bytes: most that was saved for a backward at once."""

    gradient: dict[str, Tensor]
    losses: list[float]
    micro_batches: int
    held_bytes: int


def world(dropout: float) -> MultiTask:
    torch.manual_seed(1)
    trunk = Transformer(laws.VOCAB, 0, 64, hidden_size=laws.WIDTH, layers=2, heads=2, dropout=dropout)
    anchor, subject = Classification(laws.WIDTH, kinds.C, dropout=dropout), Contrastive(laws.WIDTH, dropout=dropout)
    return MultiTask(trunk, {"anchor": anchor, "subject": subject})


def units(group: int) -> list[Unit]:
    """Four rows of the anchor task, and two groups of the other."""
    made = kinds.tables("contrastive")

    def unit(task: str, first: int, count: int) -> Unit:
        rows = torch.arange(first, first + count).numpy()
        return Unit(task, rows, rows * 0, int(made[task].rows.tokens.lengths[rows].sum()))

    return [unit("subject", 0, group), unit("anchor", 7, 4), unit("subject", group, group)]


def packed(group: int, *, divisible: bool, tokens_per_pass: int) -> Step:
    rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    made: Mapping[str, Table] = kinds.tables("contrastive", divisible=divisible)
    return build_step(1, units(group), made, seed=0, rank=rank, world=ranks, tokens_per_pass=tokens_per_pass)


def run(*, group: int, is_cached: bool, tokens_per_pass: int, stage: int = 0, dropout: float = 0.0, fault: str = "") -> Outcome:
    model = world(dropout)
    losses: dict[str, Loss] = {"anchor": CrossEntropy(), "subject": InfoNCE(group=group, cached=is_cached)}
    groups = parameter_groups(model, owner, model.trunk.embeddings, lr=1e-2, head_lr=2e-2)
    engine = Engine(Objective(model, losses), model, groups, lambda given: AdamW(given), zero_stage=stage, clip=None)
    packs = packed(group, divisible=is_cached, tokens_per_pass=tokens_per_pass)
    set_learning_rates(engine.param_groups, 1.0)
    with planted(fault), Held() as held:
        observed = steps.run_step(engine, packs, Static(kinds.TASKS, kinds.WEIGHTS), seed=SEED)
    return Outcome(laws.gradients(engine.named_state()), observed.losses.tolist(), len(packs.batches), held.most_bytes)


def by_autograd(*, group: int, tokens_per_pass: int, dropout: float) -> dict[str, Tensor]:
    """The same micro-batches under the same seeds on one rank, all graphs kept, one backward from the loss of whole groups."""
    model, packs = world(dropout), packed(group, divisible=True, tokens_per_pass=tokens_per_pass)
    scale = factors(Static(kinds.TASKS, kinds.WEIGHTS).coefficients(), packs.counts)
    vectors: dict[int, Tensor] = {}
    total = torch.zeros(())
    for micro, batch in enumerate(packs.batches):
        steps.seed_dropout(SEED, packs.step, micro)
        out, anchor, subject = model(batch), batch.tasks["anchor"], batch.tasks["subject"]
        if not anchor.dummy:
            total = total + scale[0] * CrossEntropy()(out["anchor"], anchor.targets).sum()
        if not subject.dummy:
            assert subject.places is not None
            own = out["subject"].split(subject.targets["vectors"].tolist())
            vectors |= dict(zip(subject.places.tolist(), own, strict=True))
    whole = torch.cat([vectors[place] for place in range(2 * group)])
    (total + scale[1] * InfoNCE(group=group)(whole, packs.divided["subject"].targets).sum()).backward()
    return {name: p.grad if p.grad is not None else torch.zeros_like(p) for name, p in model.named_parameters()}


class Held:
    """Counts the bytes that autograd has saved for a backward, and the most of them at once; parameters do not count."""

    def __init__(self) -> None:
        self.now_bytes = self.most_bytes = 0
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda box: box.tensor)

    def __enter__(self) -> Held:
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.__exit__(*error)

    def _pack(self, tensor: Tensor) -> _Box:
        box = _Box(tensor)
        size = 0 if isinstance(tensor, nn.Parameter) else tensor.numel() * tensor.element_size()
        self.now_bytes += size
        self.most_bytes = max(self.most_bytes, self.now_bytes)
        weakref.finalize(box, self._drop, size)
        return box

    def _drop(self, size: int) -> None:
        self.now_bytes -= size


@dataclass(eq=False)
class _Box:
    tensor: Tensor


@contextmanager
def planted(fault: str) -> Iterator[None]:
    """One mistake in the cached pass."""
    faults: dict[str, tuple[Any, str, Callable[..., Any]]] = {
        "stale dropout seed": (steps, "look_ahead", _stale),
        "negatives of the own rank alone": (steps, "look_ahead", _own_alone),
        "loss counted on every rank": (cached, "_known", _double),
        "factor applied twice": (steps, "informed", _twice),
    }
    if not fault:
        yield
        return
    module, name, wrong = faults[fault]
    right = getattr(module, name)
    setattr(module, name, lambda *given: wrong(right, *given))
    try:
        yield
    finally:
        setattr(module, name, right)


def _stale(right: Any, engine: Any, packs: Any, reseed: Any) -> Any:
    del reseed
    return right(engine, packs, lambda micro: steps.seed_dropout(SEED, packs.step + 1, micro))


def _own_alone(right: Any, engine: Any, packs: Any, reseed: Any) -> Any:
    reduce = torch.distributed.all_reduce
    torch.distributed.all_reduce = lambda _: None
    try:
        return right(engine, packs, reseed)
    finally:
        torch.distributed.all_reduce = reduce


def _double(right: Any, part: Any, whole: Any, values: Tensor, slope: Tensor) -> Known:
    return replace(right(part, whole, values, slope), value=values.sum())


def _twice(right: Any, batch: Any, found: dict[str, Known]) -> Any:
    return right(batch, {task: replace(known, slope=known.slope * kinds.WEIGHTS[1]) for task, known in found.items()})
