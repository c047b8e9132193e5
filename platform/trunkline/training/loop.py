"""THE loop: what happens in a step, in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from trunkline.batch import Monitor, Verdict, Weighting
from trunkline.data.dealing import Step, build_step
from trunkline.data.packing import Table
from trunkline.data.stream import Stream
from trunkline.errors import Diverged, Stopped
from trunkline.training.average import Average
from trunkline.training.engine import Engine
from trunkline.training.guards import Skipped, account
from trunkline.training.interference import Interference, alignment
from trunkline.training.optim import Schedule, set_learning_rates
from trunkline.training.pace import Pace
from trunkline.training.passes import Pass
from trunkline.training.spikes import Spikes
from trunkline.training.step import PLAIN, Observed, run_step


@dataclass(frozen=True)
class Plan:
    """How long and how often. Steps, tokens; evaluate_every and save_every None: only at the end; max_bad_steps: in a row.

    watch_gradients: steps from one look at the tasks' gradients to the next, beside those that others ask for; None: no look.
    """

    steps: int
    tokens_per_pass: int
    log_every: int
    evaluate_every: int | None
    save_every: int | None
    max_bad_steps: int
    seed: int
    rank: int
    world: int
    watch_gradients: int | None = None


@dataclass
class Progress:
    """What the loop itself must remember, saved in every checkpoint."""

    step: int = 0
    tokens: int = 0
    skipped: Skipped = field(default_factory=Skipped)
    rollbacks: int = 0
    spikes: Spikes = field(default_factory=lambda: Spikes(None))
    interference: Interference = field(default_factory=lambda: Interference(()))

    def state(self) -> dict[str, Any]:
        """All but the step."""
        return {
            "tokens": self.tokens,
            "skipped": asdict(self.skipped),
            "rollbacks": self.rollbacks,
            "spikes": self.spikes.state(),
            "interference": self.interference.state(),
        }

    def load_state(self, step: int, state: Mapping[str, Any]) -> None:
        """Older checkpoints hold the tokens alone."""
        self.step, self.tokens = step, int(state["tokens"])
        self.skipped = Skipped(**state.get("skipped", {}))
        self.rollbacks = int(state.get("rollbacks", 0))
        self.spikes.load_state(state.get("spikes", {}))
        self.interference.load_state(state.get("interference", {}))


def train(
    plan: Plan,
    progress: Progress,
    *,
    engine_at: Callable[[int], Engine],
    stream: Stream,
    tables: Mapping[str, Table],
    weighting: Weighting,
    schedule: Schedule,
    monitor: Monitor,
    evaluate: Callable[[int], Mapping[str, float]],
    verdicts: Callable[[], Mapping[str, Verdict]],
    save: Callable[[Progress, bool], bool],
    record: Callable[[Step], None],
    asked: Callable[[], bool],
    average: Average | None = None,
    passes: Pass = PLAIN,
    enough: Callable[[], bool] = lambda: False,
    better: Callable[[], bool] = lambda: False,
    back: Callable[[Progress], bool] = lambda _: False,
) -> None:
    """Trains from `progress.step` + 1 to `plan.steps`, or to the evaluation that was `enough`; every rank runs it alike.

    Raises Diverged when too many steps are bad, Stopped after the step in which a rank was asked to stop, with a checkpoint.

    engine_at: the engine a step trains with; another one where what is trained changes. Collective.
    evaluate, save: collective; evaluate returns what to log, verdicts what it says of each task, equal on all ranks, save
    whether a checkpoint stands, or is on its way; told to, it waits for it. record: called with every step's rows before it is
    trained on. asked: whether this rank was asked to stop. average: of the parameters, kept up with them. passes: over a
    micro-batch. enough: whether what was evaluated so far ends the run; better: whether what was just evaluated is to be saved.
    Both equal on all ranks. back: collective; after too many bad steps, puts what is trained back to before them, or refuses.
    """
    if enough():
        return
    clock, pace, interference = Clock(), Pace(), progress.interference
    for step in range(progress.step + 1, plan.steps + 1):
        units = stream.next_step(step)
        packs = build_step(
            step, units, tables, seed=plan.seed, rank=plan.rank, world=plan.world, tokens_per_pass=plan.tokens_per_pass
        )
        record(packs)
        engine = engine_at(step)
        rates = set_learning_rates(engine.param_groups, schedule.factor(step))
        aligned = stream.sampler.needs_gram
        watch = aligned or bool(plan.watch_gradients and step % plan.watch_gradients == 0)
        observed = run_step(
            engine, packs, weighting, seed=plan.seed, stop=asked(), watch=watch, passes=passes, spikes=progress.spikes
        )
        progress.step, progress.tokens = step, progress.tokens + packs.tokens
        clock.trained(packs.tokens)
        losses, limit = observed.losses.tolist(), plan.max_bad_steps
        went_back = False
        try:
            account(progress.skipped, packs, observed.taken, losses, monitor, limit, observed.leaping)
        except Diverged:
            went_back = back(progress)
            if not went_back:
                raise
        if held_up := pace.see(observed.seconds):
            monitor.event("straggler", step=step, **held_up)
        if average is not None and observed.taken:
            average.update(step)
        if observed.gram is not None:
            interference.see(observed.gram)
            if aligned:
                stream.sampler.align(alignment(list(tables), observed.gram))

        last = step == plan.steps
        if step == 1 or step % plan.log_every == 0 or last:
            seen = {**figures(packs, observed), **interference.read(), **stream.account()}
            monitor.log(step, {**seen, **rates_of(rates), **clock.read(), "train/tokens": progress.tokens})
        evaluated = last or bool(plan.evaluate_every and step % plan.evaluate_every == 0)
        if evaluated:
            monitor.log(step, evaluate(step))
            stream.sampler.judge(verdicts())
            last = last or enough()
            clock.paused()
        due = bool(plan.save_every and step % plan.save_every == 0) or (evaluated and better())
        if last or observed.stop or went_back or due:
            saved = save(progress, last or observed.stop or went_back)
            clock.paused()
        if last:
            return
        if observed.stop:
            monitor.event("stopped", step=step)
            how = "with a checkpoint" if saved else "without one: the disk refused it, see events.jsonl"
            raise Stopped(f"asked to stop, and stopped after step {step} of {plan.steps} {how}.")


class Clock:
    """Tokens per second of training alone: evaluation and saving do not count."""

    def __init__(self) -> None:
        self._since, self._tokens = time.perf_counter(), 0
        self._seconds = 0.0

    def trained(self, tokens: int) -> None:
        now = time.perf_counter()
        self._seconds += now - self._since
        self._since, self._tokens = now, self._tokens + tokens

    def paused(self) -> None:
        self._since = time.perf_counter()

    def read(self) -> dict[str, float]:
        """The rate since the last reading."""
        rate = self._tokens / max(self._seconds, 1e-9)
        self._seconds, self._tokens = 0.0, 0
        return {"system/tokens_per_s": rate}


def figures(packs: Step, observed: Observed) -> dict[str, float]:
    """Losses of the tasks present, coefficients, and each task's share of the step's rows (tasks may share rows)."""
    values: dict[str, float] = {}
    assert observed.coefficients is not None
    coefficients = observed.coefficients.tolist()
    for number, task in enumerate(packs.counts):
        if bool(observed.present[number]):
            values[f"train/{task}/loss"] = float(observed.losses[number])
        values[f"weight/{task}"] = coefficients[number]
        values[f"share/{task}"] = len(packs.rows.get(task, ())) / packs.drawn
    return values


def rates_of(rates: Mapping[str, Any]) -> dict[str, float]:
    """The trunk's learning rate; heads follow the same schedule from their own peak."""
    return {"train/lr": float(rates.get("trunk", next(iter(rates.values()))))}
