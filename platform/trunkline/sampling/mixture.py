"""Mixtures of mixtures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trunkline.errors import ConfigError, nearest
from trunkline.registry import SAMPLERS
from trunkline.sampling.base import Horizon, Sampler, nested, normalised

if TYPE_CHECKING:
    from trunkline.batch import Verdict


@SAMPLERS.register("mixture")
class Mixture(Sampler):
    """A mixture of tasks is a task of other mixtures: rates multiply on the way down.

        rate of a task = sum over the ways to it of  product over the mixtures on the way of  rate / sum of the mixture's rates

    Source: seqio's Mixture (Roberts et al., arXiv:2203.17189, section 3.2), there of numbers and functions. mixtures: name ->
    {of: list of tasks and mixtures, kind: a sampling schedule over them, proportional if left out, and its own arguments}. The
    size of a mixture is the sum of its tasks', the length of its rows their mean. top: the mixture that is drawn from. Every task
    of the recipe must be in it somewhere. Raises ConfigError for a mixture that contains itself, and for unknown, missing or
    repeated names. Schedules inside that watch gradients or release rows are refused; those that go by scores take a mixture's
    to be the mean of its tasks'.
    """

    def __init__(
        self, sizes: Mapping[str, int], horizon: Horizon, *, mixtures: Mapping[str, Mapping[str, Any]], top: str = "top"
    ) -> None:
        super().__init__(sizes, horizon)
        if not isinstance(mixtures, Mapping) or not mixtures:
            raise ConfigError(
                f"sampling.mixtures must name mixtures, such as top: {{of: [...], kind: uniform}}, found {mixtures!r}."
            )
        self.members = {name: self._members(name, stated, mixtures) for name, stated in mixtures.items()}
        if top not in self.members:
            raise ConfigError(f"sampling.top: there is no mixture '{top}'. {nearest(str(top), self.members)}")
        self.top = top
        self.order = self._ordered()
        self.leaves: dict[str, set[str]] = {}
        for name in self.order:
            self.leaves[name] = set().union(*(self.leaves.get(member, {member}) for member in self.members[name]))
        missing = sorted(set(sizes) - self.leaves[top])
        if missing:
            raise ConfigError(
                f"sampling.mixtures: {', '.join(missing)} is not in '{top}'. Name it in a mixture, or leave it out of tasks."
            )
        self.samplers = {name: self._sampler(name, mixtures[name]) for name in self.order}

    def _members(self, name: str, stated: Any, mixtures: Mapping[str, Any]) -> list[str]:
        where = f"sampling.mixtures.{name}"
        if name in self.sizes:
            raise ConfigError(f"{where}: '{name}' is a task of the recipe. Give the mixture another name.")
        members = stated.get("of") if isinstance(stated, Mapping) else None
        if not isinstance(members, list | tuple) or not members:
            raise ConfigError(f"{where} must be {{of: [tasks and mixtures], kind: ...}}, found {stated!r}.")
        known = [*self.sizes, *mixtures]
        for member in members:
            if member not in known:
                raise ConfigError(f"{where}.of: there is no task or mixture '{member}'. {nearest(str(member), known)}")
        if len(set(members)) < len(members):
            raise ConfigError(f"{where}.of names one twice: {', '.join(members)}. Raise its rate instead.")
        return list(members)

    def _ordered(self) -> list[str]:
        """The mixtures below `top`, each before those that hold it."""
        done: list[str] = []

        def visit(name: str, path: tuple[str, ...]) -> None:
            if name in path:
                way = " -> ".join([*path[path.index(name) :], name])
                raise ConfigError(f"sampling.mixtures.{name}: a mixture contains itself: {way}. Take one of them out.")
            if name in done or name in self.sizes:
                return
            for member in self.members[name]:
                visit(member, (*path, name))
            done.append(name)

        for name in self.members:
            visit(name, ())
        return done

    def _sampler(self, name: str, stated: Mapping[str, Any]) -> Sampler:
        leaves = {member: self.leaves.get(member, {member}) for member in self.members[name]}
        sizes = {member: sum(self.sizes[task] for task in tasks) for member, tasks in leaves.items()}
        tokens = {
            member: sum(self.sizes[task] * self.horizon.row_tokens[task] for task in tasks) / sizes[member]
            for member, tasks in leaves.items()
        }
        part = {"kind": "proportional", **{key: value for key, value in stated.items() if key != "of"}}
        made = nested(f"mixtures.{name}", part, sizes, Horizon(self.horizon.steps, self.horizon.tokens_per_step, tokens))
        if made.needs_gram or made.difficulty is not None:
            raise ConfigError(
                f"sampling.mixtures.{name}: '{part['kind']}' watches gradients or rows, and can not stand in a mixture."
            )
        return made

    def check(self) -> None:
        for name, sampler in self.samplers.items():
            try:
                sampler.check()
            except ConfigError as error:
                raise ConfigError(error.message.replace("sampling", f"sampling.mixtures.{name}", 1)) from error
        super().check()

    def rates(self, step: int) -> Mapping[str, float]:
        found = dict.fromkeys(self.sizes, 0.0)
        flows = dict.fromkeys(self.order, 0.0)
        flows[self.top] = 1.0
        for name in reversed(self.order):
            if not flows[name]:
                continue
            for member, rate in normalised(self.samplers[name].rates(step)).items():
                into = flows if member in flows else found
                into[member] += flows[name] * rate
        return found

    @property
    def needs_verdicts(self) -> bool:
        return any(sampler.needs_verdicts for sampler in self.samplers.values())

    def judge(self, verdicts: Mapping[str, Verdict]) -> None:
        for name, sampler in self.samplers.items():
            told = {member: self._mean(member, verdicts) for member in self.members[name]}
            sampler.judge({member: verdict for member, verdict in told.items() if verdict is not None})

    def _mean(self, member: str, verdicts: Mapping[str, Verdict]) -> Verdict | None:
        if member in self.sizes:
            return verdicts.get(member)
        known = [verdicts[task] for task in sorted(self.leaves[member]) if task in verdicts]
        if not known:
            return None
        skill = sum(verdict.skill for verdict in known) / len(known)
        return type(known[0])(skill, skill)

    def state(self) -> dict[str, object]:
        return {name: state for name, sampler in self.samplers.items() if (state := sampler.state())}

    def load_state(self, state: Mapping[str, Any]) -> None:
        for name, sampler in self.samplers.items():
            sampler.load_state(state.get(name, {}))
