"""The small world of `laws` with a row in it that spoils its step: a loss or a gradient that is no number, on one rank."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

import laws
from trunkline.data.dealing import Step, build_step
from trunkline.data.packing import Table
from trunkline.data.units import Unit
from trunkline.losses.regression import MSE
from trunkline.models.multitask import owner
from trunkline.registry import WEIGHTINGS
from trunkline.training import guards
from trunkline.training import step as steps
from trunkline.training.engine import Engine
from trunkline.training.guards import Told
from trunkline.training.objective import Objective
from trunkline.training.optim import parameter_groups, set_learning_rates
from trunkline.training.optimizers import AdamW

CLIFF = 123.0
BAD = 3  # the step that the spoilt row is drawn in
State = dict[str, dict[str, Tensor]]


class Cliff(MSE):
    """A squared error that is flat and endlessly steep where the target is CLIFF: the loss is finite, its gradient is not."""

    def forward(self, outputs: Tensor, targets: Any) -> Tensor:
        values = super().forward(outputs, targets)
        cliff = (targets["target"] == CLIFF).flatten()
        values[cliff] = (outputs.float() - outputs.float().detach()).flatten()[cliff].abs().sqrt()
        return values


@dataclass
class Run:
    """States after every step (0: before the first), and what every step showed."""

    states: list[State] = field(default_factory=list)
    weightings: list[dict[str, object]] = field(default_factory=list)
    finite: list[bool] = field(default_factory=list)
    stops: list[bool] = field(default_factory=list)
    losses: list[list[float]] = field(default_factory=list)
    has_it: bool = False
    rows: list[int] = field(default_factory=list)
    stream: dict[str, Any] = field(default_factory=dict)


def tables(spoilt: float | None) -> dict[str, Table]:
    """laws' tables; the first `score` row drawn in step BAD, and not before, has this target."""
    made = laws.tables()
    if spoilt is None:
        return made
    seen: set[int] = set()
    flow = laws.stream()
    for number in range(1, BAD + 1):
        drawn = [int(row) for unit in flow.next_step(number) if unit.task == "score" for row in unit.rows]
        new = [row for row in drawn if row not in seen]
        seen |= set(drawn)
    target = made["score"].rows.targets["target"]
    assert isinstance(target, np.ndarray)
    target = target.copy()
    target[new[0]] = spoilt
    rows = dataclasses.replace(made["score"].rows, targets={"target": target})
    return {**made, "score": dataclasses.replace(made["score"], rows=rows)}


def train(
    count: int,
    *,
    stage: int = 0,
    spoilt: float | None = None,
    left_out: Collection[int] = (),
    weighting: str = "uncertainty",
    resume: Run | None = None,
    stop_on: tuple[int, int] | None = None,
    dropout: float = 0.1,
    fault: str = "",
) -> Run:
    """`count` steps on every rank. left_out: steps whose rows are drawn and not trained on. resume: goes on after step BAD of it.

    stop_on: (rank, step) that is asked to stop.
    """
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    net = laws.model(dropout)
    if resume:
        net.load_state_dict({name: entry["param"] for name, entry in resume.states[BAD].items()})
    groups = parameter_groups(net, owner, net.trunk.embeddings, lr=1e-2, head_lr=2e-2)
    losses = {**laws.losses(), "score": Cliff()}
    engine = Engine(Objective(net, losses), net, groups, lambda given: AdamW(given, weight_decay=0.1), zero_stage=stage)
    flow, made = laws.stream(), tables(spoilt)
    mixer = WEIGHTINGS.get(weighting)(laws.TASKS, laws.WEIGHTS, **laws.WEIGHTING_SETTINGS[weighting])
    run, first = Run(), 1
    if resume:
        first = BAD + 1
        engine.load_moments(resume.states[BAD])
        flow.load_state(resume.stream)
        mixer.load_state(resume.weightings[BAD])
    run.states.append(engine.named_state())
    run.weightings.append(mixer.state())
    with planted(fault):
        for number in range(first, count + 1):
            packs = packed(number, flow.next_step(number), made, rank, world)
            run.stream = flow.state() if number == BAD else run.stream
            set_learning_rates(engine.param_groups, 1.0)
            if number not in left_out:
                observed = steps.run_step(engine, packs, mixer, seed=9, stop=stop_on == (rank, number))
                run.finite.append(observed.finite)
                run.stops.append(observed.stop)
                run.losses.append(observed.losses.tolist())
            if number == BAD:
                mine = [batch.tasks["score"] for batch in packs.batches]
                targets = torch.cat([part.targets["target"] for part in mine if not part.dummy] or [torch.zeros(0)])
                run.has_it = spoilt is not None and bool((targets.isnan() if spoilt != spoilt else targets == spoilt).any())
                run.rows = packs.rows["score"]
            run.states.append(engine.named_state())
            run.weightings.append(mixer.state())
    return run


def packed(number: int, units: list[Unit], made: dict[str, Table], rank: int, world: int) -> Step:
    return build_step(number, units, made, seed=0, rank=rank, world=world, tokens_per_pass=80)


@contextmanager
def planted(fault: str) -> Iterator[None]:
    """One mistake in the guard."""
    right = guards.tell
    faults: dict[str, tuple[Any, str, Callable[..., Any]]] = {
        "": (steps, "tell", right),
        "no guard": (steps, "tell", lambda *given: _never_bad(right(*given))),
        "losses alone": (steps, "tell", lambda *given: dataclasses.replace(right(*given), gradient_is_finite=True)),
        "gradient kept": (Engine, "drop", lambda _: None),
        "own rank alone": (steps, "tell", lambda sums, norm, stop, _: Told(sums.cpu(), bool(norm.isfinite()), stop)),
    }
    module, name, wrong = faults[fault]
    before = getattr(module, name)
    setattr(module, name, wrong)
    try:
        yield
    finally:
        setattr(module, name, before)


class Trusting(Told):
    """Says that every step is fine."""

    @property
    def finite(self) -> bool:
        return True


def _never_bad(told: Told) -> Told:
    return Trusting(told.sums, told.gradient_is_finite, told.asked_to_stop)
