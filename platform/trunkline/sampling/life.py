"""When a task is in the run, and how much of it there is at least and at most."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trunkline.errors import ConfigError
from trunkline.sampling.base import Around, Sampler, normalised

if TYPE_CHECKING:
    from trunkline.batch import Verdict


@dataclass(frozen=True)
class Life:
    """A task's part in a run. Raises ConfigError for bounds that cross.

    start, stop: drawn from this part of the run, and until that one, 0 to 1. warmup: for this part of the run from its start its
    rate rises in a straight line. patience: evaluations in a row without a new best of its own, after which it is drawn no
    more; it is drawn again when its skill has fallen by `returns` below what it was when it stopped. min_share, max_share: of the
    rows of a step, wherever its schedule draws it at all.
    """

    start: float = 0.0
    stop: float = 1.0
    warmup: float = 0.0
    patience: int | None = None
    returns: float = 0.02
    min_share: float = 0.0
    max_share: float = 1.0

    def check(self) -> None:
        """Raises ConfigError whose message begins with the key."""
        if self.stop <= self.start:
            raise ConfigError(f"stop: {self.stop:g} of the run is not after start, {self.start:g}. Raise stop or lower start.")
        if self.max_share < self.min_share:
            raise ConfigError(f"max_share: {self.max_share:g} is below min_share, {self.min_share:g}. Raise it.")

    def rises(self, progress: float, rung: float) -> float:
        """The factor of its rate: 0 where it is not in the run. rung: of the run, one step; a warm-up begins at its first."""
        if progress < self.start or (progress >= self.stop and self.stop < 1):
            return 0.0
        return min(1.0, (progress - self.start + rung) / self.warmup) if self.warmup else 1.0


@dataclass
class Standing:
    """How a task with patience does. best: its highest skill; stalled: evaluations since; left: its skill when it was stopped."""

    best: float = -math.inf
    stalled: int = 0
    left: float | None = None


class Lives(Around):
    """Another sampler's rates, shaped by the lives of the tasks; tasks without one are as they were.

    Should no task be left, those whose patience is at an end go on. What evaluations said is kept in the state. Raises
    ConfigError for shares that can not all be met.
    """

    def __init__(self, of: Sampler, lives: Mapping[str, Life]) -> None:
        Sampler.__init__(self, of.sizes, of.horizon)
        self.of, self.lives, self.difficulty = of, dict(lives), of.difficulty
        self.standing = {task: Standing() for task, life in lives.items() if life.patience is not None}
        least = sum(life.min_share for life in self.lives.values())
        if least > 1 + 1e-9:
            raise ConfigError(f"tasks: their min_share add up to {least:g}, above 1. Lower some.")
        most = sum(self.lives.get(task, Life()).max_share for task in self.sizes)
        if most < 1 - 1e-9:
            raise ConfigError(f"tasks: their max_share add up to {most:g}, below 1. Raise some.")

    def rates(self, step: int) -> Mapping[str, float]:
        progress, rung = self.horizon.progress(step), 1 / self.horizon.steps
        found = dict(self.of.rates(step))
        for task, life in self.lives.items():
            found[task] *= life.rises(progress, rung)
        waiting = {task for task, standing in self.standing.items() if standing.left is not None}
        if any(rate for task, rate in found.items() if task not in waiting):
            found |= dict.fromkeys(waiting, 0.0)
        if not any(found.values()):
            return found
        return bounded(normalised(found), self.lives)

    def judge(self, verdicts: Mapping[str, Verdict]) -> None:
        super().judge(verdicts)
        for task, standing in self.standing.items():
            if task in verdicts and math.isfinite(verdicts[task].skill):
                self._judge(standing, self.lives[task], verdicts[task].skill)

    def _judge(self, standing: Standing, life: Life, skill: float) -> None:
        if standing.left is not None:
            if skill < standing.left - life.returns:
                standing.left, standing.stalled, standing.best = None, 0, skill
            return
        if skill > standing.best:
            standing.best, standing.stalled = skill, 0
            return
        standing.stalled += 1
        assert life.patience is not None
        if standing.stalled >= life.patience:
            standing.left = skill

    def state(self) -> dict[str, object]:
        kept = {
            task: [standing.best if math.isfinite(standing.best) else None, standing.stalled, standing.left]
            for task, standing in self.standing.items()
        }
        return {**super().state(), **({"lives": kept} if kept else {})}

    def load_state(self, state: Mapping[str, Any]) -> None:
        super().load_state(state)
        for task, (best, stalled, left) in state.get("lives", {}).items():
            if task in self.standing:
                self.standing[task] = Standing(-math.inf if best is None else best, stalled, left)


def bounded(shares: Mapping[str, float], lives: Mapping[str, Life]) -> dict[str, float]:
    """Shares moved within their bounds; the rest share what is left in their old proportions. Tasks of share 0 stay there.

    Where the bounds of those that are drawn can not all hold, the lower ones (or the upper ones) are met in proportion.
    """
    drawn = {task: part for task, part in shares.items() if part > 0}
    least = {task: lives[task].min_share if task in lives else 0.0 for task in drawn}
    most = {task: lives[task].max_share if task in lives else 1.0 for task in drawn}
    fixed: dict[str, float] = {}
    while len(fixed) < len(drawn):
        left, free = 1 - sum(fixed.values()), {task: part for task, part in drawn.items() if task not in fixed}
        scale = max(left, 0.0) / sum(free.values())
        moved = {task: min(max(part * scale, least[task]), most[task]) for task, part in free.items()}
        excess = sum(moved.values()) - left
        # Only the side that is short fixes its tasks, or the others could be pushed off their bounds again.
        off = {task: to for task, to in moved.items() if (to - free[task] * scale) * (1 if excess > 0 else -1) > 1e-12}
        if not off or abs(excess) < 1e-12:
            fixed |= moved
            break
        fixed |= off
    total = sum(fixed.values())
    return {task: fixed[task] / total if task in fixed else 0.0 for task in shares}
