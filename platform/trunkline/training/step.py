"""The passes of one optimizer step."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from trunkline.batch import Batch, Weighting
from trunkline.data.dealing import Step
from trunkline.errors import TrunklineError
from trunkline.training import replicas
from trunkline.training.cached import informed, look_ahead
from trunkline.training.engine import Engine
from trunkline.training.exact import Foresight, probe_of, probed
from trunkline.training.guards import tell
from trunkline.training.objective import factors
from trunkline.training.passes import Micro, Pass, Plain
from trunkline.training.spikes import Spikes

PLAIN = Plain()


@dataclass(frozen=True)
class Observed:
    """What a step showed, equal on all ranks.

    losses, present: mean loss per task [T] float64 (0 where absent) and which were present [T]. finite: the losses and the
    gradient are numbers; if not, or if the loss of tasks is `leaping`, the step was left out. seconds: every rank's time in
    its forward passes. stop: a rank was asked to stop. gram: [T, T] float64, inner products of
    the tasks' gradients, where the weighting or the sampler asked for it and the step was taken. coefficients: what
    the tasks' losses were multiplied with [T].
    """

    losses: Tensor
    present: Tensor
    finite: bool = True
    stop: bool = False
    gram: Tensor | None = None
    coefficients: Tensor | None = None
    leaping: tuple[str, ...] = ()
    seconds: tuple[float, ...] = ()

    @property
    def taken(self) -> bool:
        """Whether the weights were stepped."""
        return self.finite and not self.leaping


class RanksDisagree(TrunklineError):
    """Ranks are about to run different steps, which would mix heads or hang."""


def run_step(
    engine: Engine,
    packs: Step,
    weighting: Weighting,
    *,
    seed: int,
    stop: bool = False,
    watch: bool = False,
    passes: Pass = PLAIN,
    spikes: Spikes | None = None,
) -> Observed:
    """The passes over every micro-batch (`passes.py`), one optimizer step, then the weighting observes.

    Plain passes are one forward and one backward. If groups were dealt apart, a look ahead finds their loss first
    (`cached.py`). If a loss or the gradient is not finite on any rank, all ranks leave the step out: no parameter, moment,
    step count or weighting changes (`guards.py`).

    Each micro-batch's scalar is its part of sum over tasks of coefficient * (loss sum / count over the whole step), so
    gradients are plain sums: no division by ranks or micro-batches is left to do. watch: the tasks' gradients are compared
    even if the weighting does not ask for it. While the layers on which they are compared are frozen, they are not.
    """
    agree(packs)
    if engine.stage < 3:  # stage 3 holds every weight once
        replicas.compare(engine.parameters, packs.step)
    weighed = weighting.needs_gram
    sums = torch.zeros(len(packs.counts), dtype=torch.float64, device=engine.device)
    reseed = partial(seed_dropout, seed, packs.step)
    batches = _informed(engine, packs, reseed)
    looked = (weighed or watch) and probed(engine)
    # Passes that are not plain run the forward as they like, so that the look can not lean on theirs; and what is watched beside
    # it wants the coefficients before the forward.
    apart = len(batches) > 1 or not isinstance(passes, Plain) or (looked and not weighed)
    ahead = Foresight(engine, packs, weighting, reseed, apart=apart) if weighting.exact and (looked or not weighed) else None
    if ahead is not None and ahead.apart:
        ahead.pass_over(batches)
    coefficients = weighting.coefficients()
    scale = factors(coefficients, packs.counts).to(engine.device)
    carried = coefficients.float().to(engine.device) * engine.world
    probe = probe_of(engine, packs) if looked and (ahead is None or not weighed) else None
    for micro, batch in enumerate(batches):
        batch = batch.to(engine.device)
        with probe.watching(batch, carried) if probe else contextlib.nullcontext():
            if ahead is not None and not ahead.apart:
                reseed(micro)
                scalar, parts, coefficients = ahead.forward(batch)
                engine.backward(scalar)
            else:
                last = micro == len(batches) - 1
                parts = passes.run(Micro(engine, batch, scale, last, partial(reseed, micro), keyed(seed, packs.step)))
        sums += parts
    told = tell(sums, engine.squared_norm(), stop, engine.forward_seconds())
    counts = torch.tensor(list(packs.counts.values()), dtype=torch.float64)
    gram = probe.gram() if probe else ahead.gram if ahead is not None else None
    losses, present = told.sums / counts.clamp(min=1), counts > 0
    leaping = tuple(spikes.of(_present(packs, losses))) if spikes is not None and told.finite else ()
    shown = gram if told.finite and not leaping else None
    observed = Observed(losses, present, told.finite, told.asked_to_stop, shown, coefficients, leaping, told.seconds)
    if not observed.taken:
        engine.drop()
        if ahead is not None:
            ahead.forget()
        return observed
    engine.step()
    if ahead is not None and ahead.told:
        if weighting.looks_back:
            ahead.look_back(_informed(engine, packs, reseed))
        return observed
    if shown is not None and weighed and ahead is None:
        weighting.see(shown)
    weighting.observe(observed.losses, observed.present)
    return observed


def _informed(engine: Engine, packs: Step, reseed: Callable[[int], None]) -> list[Batch]:
    """The step's micro-batches with what is known of groups dealt apart."""
    known = look_ahead(engine, packs, reseed)
    return [informed(batch, found) for batch, found in zip(packs.batches, known, strict=True)]


def _present(packs: Step, losses: Tensor) -> dict[str, float]:
    """The mean loss of each task in the step."""
    return {task: float(losses[number]) for number, (task, count) in enumerate(packs.counts.items()) if count}


def keyed(*words: int) -> int:
    """A number of 56 bits that the words decide."""
    return int.from_bytes(hashlib.blake2b(" ".join(map(str, words)).encode(), digest_size=7).digest(), "big")


def seed_dropout(seed: int, step: int, micro: int) -> None:
    """Dropout is a function of (seed, step, rank, micro-batch), so that resuming needs no generator state (law 3)."""
    torch.manual_seed(keyed(seed, step, torch.distributed.get_rank(), micro))


def agree(packs: Step, every: int = 50, first: int = 10) -> None:
    """Compares a hash of (step, micro-batches, heads in order, counts) across ranks: the first steps, then now and then.

    Raises RanksDisagree on every rank before any forward, where the backward's collectives would hang or mix heads.
    """
    world = torch.distributed.get_world_size()
    if world == 1 or (packs.step > first and packs.step % every):
        return
    heads = [list(batch.tasks) for batch in packs.batches]
    words = f"{packs.step} {len(packs.batches)} {heads} {dict(packs.counts)}".encode()
    mine = torch.tensor(int.from_bytes(hashlib.blake2b(words, digest_size=7).digest(), "big"))
    device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    found = [torch.zeros_like(mine, device=device) for _ in range(world)]
    torch.distributed.all_gather(found, mine.to(device))
    if len({int(value) for value in found}) > 1:
        rank = torch.distributed.get_rank()
        raise RanksDisagree(
            f"step {packs.step}: ranks hold different heads, counts or numbers of micro-batches. Rank {rank} has "
            f"{len(packs.batches)} micro-batches of {heads[0] if heads else []}. Give every rank the same recipe, cards and data."
        )
