"""Coefficients from a step's own losses and gradients: a look before the backward that counts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trunkline.batch import Batch, Weighting
from trunkline.data.dealing import Step
from trunkline.training.engine import Engine
from trunkline.training.gram import Probe
from trunkline.training.objective import factors


def probe_of(engine: Engine, packs: Step, *, shared: bool = False) -> Probe:
    """A probe for one step, on the layers that the objective names."""
    return Probe(engine.module.trunk, len(packs.counts), engine.module.probes, shared=shared)


def probed(engine: Engine) -> bool:
    """Whether there is a layer to probe: they may be frozen in a phase of the run."""
    return bool(engine.module.trunk.probed(engine.module.probes))


class Foresight:
    """One step of a weighting that is `exact`: it sees this step's losses, and the Gram matrix if it reads one; then the backward
    is weighed.

    The look goes back from the losses to the probe layers and no further, or not at all. With one micro-batch it uses the forward
    that is there anyway; with several, and with probe layers under ZeRO-3, every pack is run forward once more before, with the
    same dropout. Rows that belong to several tasks are looked at task by task. A step whose losses or gradients are not finite
    tells the weighting nothing.

    apart: the look has a forward of its own. told: whether the weighting has observed this step. gram: [T, T], or None before
    the look, or where the weighting reads losses only.
    """

    def __init__(self, engine: Engine, packs: Step, weighting: Weighting, reseed: Callable[[int], None], *, apart: bool) -> None:
        self.engine, self.packs, self.weighting, self.reseed = engine, packs, weighting, reseed
        self.counts = torch.tensor(list(packs.counts.values()), dtype=torch.float64)
        self.before = weighting.state()
        self.probe = probe_of(engine, packs, shared=_shared(packs)) if weighting.needs_gram else None
        self.apart = apart or (self.probe is not None and engine.stage == 3)  # ZeRO-3 lets go of weights behind a backward
        self.told = False
        self.gram: Tensor | None = None
        self.ones = torch.ones(len(packs.counts), device=engine.device)
        self.scale = factors(torch.ones_like(self.counts), packs.counts).to(engine.device)

    def pass_over(self, batches: Sequence[Batch]) -> None:
        """A forward and a look for each micro-batch. Collective."""
        if self.probe is None:
            self._tell(self._sums(batches))
            return
        sums = torch.zeros_like(self.counts, device=self.engine.device)
        for micro, batch in enumerate(batches):
            self.reseed(micro)
            with self.probe.watching(batch.to(self.engine.device), self.ones):
                scalar, parts = self.engine.module(batch.to(self.engine.device), self.scale)
                self.probe.look(scalar, self.scale)
            sums += parts
        self._tell(sums)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The only micro-batch of the step: its scalar, weighed by what it showed, its loss sums, and the coefficients [T]."""
        inner: list[Tensor] = []
        self.engine.module.inner = inner
        try:
            with self.probe.watching(batch, self.ones) if self.probe else contextlib.nullcontext():
                scalar, parts = self.engine.forward(batch, self.scale, last=True)
                if self.probe is not None:
                    self.probe.look(inner[0], self.scale)
        finally:
            self.engine.module.inner = None
        self._tell(parts.double())
        coefficients = self.weighting.coefficients()
        self.scale.copy_(factors(coefficients, self.packs.counts))
        return scalar, parts, coefficients

    def look_back(self, batches: Sequence[Batch]) -> None:
        """After the step: what it made of the losses of its own rows, for a weighting that asks. Collective."""
        losses = self._losses(self._sums(batches))
        if losses.isfinite().all():
            self.weighting.look_back(losses, self.counts > 0)

    def forget(self) -> None:
        """The step was left out after all."""
        self.weighting.load_state(self.before)

    def _sums(self, batches: Sequence[Batch]) -> Tensor:
        sums = torch.zeros_like(self.counts, device=self.engine.device)
        for micro, batch in enumerate(batches):
            self.reseed(micro)
            sums += self.engine.sums(batch.to(self.engine.device), self.ones)
        return sums

    def _losses(self, sums: Tensor) -> Tensor:
        """Mean losses [T] of all ranks, on the CPU."""
        whole = sums.clone()
        torch.distributed.all_reduce(whole)
        return whole.cpu() / self.counts.clamp(min=1)

    def _tell(self, sums: Tensor) -> None:
        self.gram = self.probe.gram() if self.probe is not None else None
        losses = self._losses(sums)
        if losses.isfinite().all() and (self.gram is None or self.gram.isfinite().all()):
            if self.gram is not None:
                self.weighting.see(self.gram)
            self.weighting.observe(losses, self.counts > 0)
            self.told = True


def _shared(packs: Step) -> bool:
    """Whether rows of this step belong to several tasks, on whatever rank: a guest's rows are its host's, counted once."""
    return sum(map(len, packs.rows.values())) > packs.drawn
