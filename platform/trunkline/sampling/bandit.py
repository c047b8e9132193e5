"""Tasks as the arms of a bandit: more of what paid."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

from trunkline.errors import ConfigError, nearest
from trunkline.registry import SAMPLERS
from trunkline.sampling.base import Horizon, Sampler, positive, share, whole

if TYPE_CHECKING:
    from trunkline.batch import Verdict

Reward = Literal["validation", "alignment"]


class Bandit(Sampler):
    """What bandits share: what a reward is, when a turn ends, and that no task is left out.

    reward: `validation`, what the task's skill (the share of the way from baseline to perfect) rose by since the evaluation
    before, a turn for each evaluation; `alignment`, the cosine of its gradient with the sum of the others', a turn every `turn`
    steps, mean over those that had both. Rewards lie in [-1, 1]. Every task has at least `floor` of the rows, or it would show
    neither. Statistics are equal on all ranks: evaluations and gradients are summed over them before.
    Raises ConfigError for an unknown reward or a floor that tasks can not all have.
    """

    def __init__(
        self, sizes: Mapping[str, int], horizon: Horizon, *, reward: Reward = "validation", floor: float = 0.05, turn: int = 10
    ) -> None:
        super().__init__(sizes, horizon)
        if reward not in get_args(Reward):
            raise ConfigError(f"sampling.reward: no reward named {reward!r}. {nearest(str(reward), get_args(Reward))}")
        self.reward, self.floor, self.turn = reward, share("floor", floor), whole("turn", turn)
        if self.floor * len(sizes) > 1:
            raise ConfigError(
                f"sampling.floor: {len(sizes)} tasks can not have a share of {self.floor} each. Lower it to {1 / len(sizes):.3f}."
            )
        self.turns = self.steps = 0
        self.before: dict[str, float] = {}
        self.sums: dict[str, float] = {}
        self.seen: dict[str, int] = {}

    @property
    def needs_gram(self) -> bool:
        return self.reward == "alignment"

    @property
    def needs_verdicts(self) -> bool:
        return self.reward == "validation"

    def align(self, cosines: Mapping[str, float]) -> None:
        if self.reward != "alignment":
            return
        for task, cosine in cosines.items():
            if task in self.sizes and math.isfinite(cosine):
                self.sums[task] = self.sums.get(task, 0.0) + cosine
                self.seen[task] = self.seen.get(task, 0) + 1
        self.steps += 1
        if self.steps % self.turn == 0:
            self._end({task: total / self.seen[task] for task, total in self.sums.items()})
            self.sums, self.seen = {}, {}

    def judge(self, verdicts: Mapping[str, Verdict]) -> None:
        if self.reward != "validation":
            return
        now = {task: verdicts[task].skill for task in self.sizes if task in verdicts and math.isfinite(verdicts[task].skill)}
        gains = {task: skill - self.before[task] for task, skill in now.items() if task in self.before}
        self.before |= now
        if gains:
            self._end(gains)

    def _end(self, rewards: Mapping[str, float]) -> None:
        """A turn is over."""
        self.learn({task: min(1.0, max(-1.0, reward)) for task, reward in rewards.items()})
        self.turns += 1

    def rates(self, step: int) -> Mapping[str, float]:
        del step
        return self.drawn()

    def drawn(self) -> dict[str, float]:
        """What each task has of the rows, floor and all; they sum to one."""
        left = 1 - self.floor * len(self.sizes)
        return {task: self.floor + left * part for task, part in self.shares().items()}

    @abstractmethod
    def shares(self) -> dict[str, float]:
        """What each task would have without a floor; they sum to one."""

    @abstractmethod
    def learn(self, rewards: Mapping[str, float]) -> None:
        """Rewards of the turn that ends; `shares` and `drawn` are still its own."""

    def state(self) -> dict[str, object]:
        kept = {"turns": self.turns, "steps": self.steps, "before": self.before, "sums": self.sums, "seen": self.seen}
        return {name: dict(value) if isinstance(value, dict) else value for name, value in kept.items()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.turns, self.steps = int(state["turns"]), int(state["steps"])
        self.before, self.sums, self.seen = (dict(state[name]) for name in ("before", "sums", "seen"))


@SAMPLERS.register("exp3")
class Exp3(Bandit):
    """Shares in proportion to exp(what a task has paid for its share so far).

        share = (1 - T * e) * softmax(e' * gain) + e,  e = min(1 / T, explore * sqrt(ln T / (T * turns)));  gain += reward / drawn

    Source: FLAD, Albalak et al. 2023, algorithm 1 (arXiv:2302.00674), after Auer et al. 2002; e' is e of the turn before,
    with explore 1. drawn: the share it had of the rows, floor and all, or a thousandth. Departure: a turn pays every task that
    was seen in it, each for what it had, instead of the single one that was drawn. explore: > 0; with 1, theirs, shares are even
    for the first T * ln T turns.
    """

    def __init__(
        self, sizes: Mapping[str, int], horizon: Horizon, *, reward: Reward = "validation", floor: float = 0.05, turn: int = 10,
        explore: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__(sizes, horizon, reward=reward, floor=floor, turn=turn)
        self.explore = positive("explore", explore)
        self.gains = dict.fromkeys(self.sizes, 0.0)

    def _rate(self, turns: int, explore: float = 1.0) -> float:
        count = len(self.sizes)
        return 1 / count if turns < 1 else min(1 / count, explore * math.sqrt(math.log(count) / (count * turns)))

    def shares(self) -> dict[str, float]:
        explored = self._rate(self.turns, self.explore)
        scores = {task: self._rate(self.turns - 1) * gain for task, gain in self.gains.items()}
        largest = max(scores.values())
        weights = {task: math.exp(score - largest) for task, score in scores.items()}
        total = sum(weights.values())
        return {task: (1 - len(weights) * explored) * weight / total + explored for task, weight in weights.items()}

    def learn(self, rewards: Mapping[str, float]) -> None:
        drawn = self.drawn()
        for task, reward in rewards.items():
            self.gains[task] += reward / max(drawn[task], 1e-3)

    def state(self) -> dict[str, object]:
        return {**super().state(), "gains": dict(self.gains)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        super().load_state(state)
        self.gains |= {task: gain for task, gain in state["gains"].items() if task in self.sizes}


@SAMPLERS.register("ucb1")
class UCB1(Bandit):
    """One task has the turn: the one of the largest mean reward, or one of which too little is known.

        score = mean reward + sqrt(2 * ln(turns) / turns of the task);  mean <- (1 - smoothing) * mean + smoothing * reward

    Source: FLAD, Albalak et al. 2023, algorithm 2 (arXiv:2302.00674), after Auer et al. 2002. A task that never had a turn comes
    first, in the recipe's order. The others have `floor` of the rows meanwhile. smoothing: in [0, 1]; FLAD's beta is 1 - it.
    """

    def __init__(
        self, sizes: Mapping[str, int], horizon: Horizon, *, reward: Reward = "validation", floor: float = 0.05, turn: int = 10,
        smoothing: float = 0.1,
    ) -> None:  # fmt: skip
        super().__init__(sizes, horizon, reward=reward, floor=floor, turn=turn)
        self.smoothing = share("smoothing", smoothing)
        self.means: dict[str, float] = {}
        self.had = dict.fromkeys(self.sizes, 0)

    def shares(self) -> dict[str, float]:
        new = [task for task in self.sizes if not self.had[task]]
        best = new[0] if new else max(self.sizes, key=self._score)
        return {task: float(task == best) for task in self.sizes}

    def _score(self, task: str) -> float:
        return self.means.get(task, 0.0) + math.sqrt(2 * math.log(max(self.turns, 1)) / self.had[task])

    def learn(self, rewards: Mapping[str, float]) -> None:
        (drawn,) = (task for task, part in self.shares().items() if part)
        self.had[drawn] += 1
        if drawn in rewards:
            mean = self.means.get(drawn, rewards[drawn])
            self.means[drawn] = (1 - self.smoothing) * mean + self.smoothing * rewards[drawn]

    def state(self) -> dict[str, object]:
        return {**super().state(), "means": dict(self.means), "had": dict(self.had)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        super().load_state(state)
        self.means = {task: mean for task, mean in state["means"].items() if task in self.sizes}
        self.had |= {task: int(count) for task, count in state["had"].items() if task in self.sizes}
