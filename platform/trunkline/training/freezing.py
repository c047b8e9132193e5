"""What is trained when: rules by name and phase, and which parameters they hold still in a step."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from trunkline.errors import ConfigError, nearest
from trunkline.models.multitask import MultiTask, owner

LAYERS = re.compile(r"layers\.(\d+)(?:-(\d+))?")


@dataclass(frozen=True)
class Rule:
    """modules: a section (`embeddings`, `layers.0-3`, `trunk`, `heads.topic`), a pattern of parameter names with
    `*`, or the names themselves.

    until: share of the steps, 0..1, up to which they are frozen; None: for ever. place: the recipe's, for errors.
    """

    modules: str | frozenset[str]
    until: float | None = None
    place: str | None = None


class Freezing:
    """Which parameters of a model are frozen in which step; those that the model itself does not train always are.

    Steps 1 to round(until * steps) of a rule are trained without its parameters. Raises ConfigError for modules that the model
    does not have, and where nothing is left to train.
    """

    def __init__(self, model: MultiTask, rules: Sequence[Rule], steps: int) -> None:
        names = [name for name, _ in model.named_parameters()]
        known = sections(model)
        self._still = frozenset(name for name, parameter in model.named_parameters() if not parameter.requires_grad)
        self._rules = [
            (frozenset(_named(rule, known, names)), None if rule.until is None else round(rule.until * steps)) for rule in rules
        ]
        self.borders = sorted({0, *(last for _, last in self._rules if last is not None), steps})
        for before, after in pairwise(self.borders):
            if len(self.at(before + 1)) == len(names):
                raise ConfigError(
                    f"in steps {before + 1} to {after} everything is frozen and nothing is left to train. Free a part.",
                    where=rules[-1].place if rules else None,
                )

    def at(self, step: int) -> frozenset[str]:
        """The parameters frozen in step number `step` (1 is the first)."""
        return self._still.union(*(held for held, last in self._rules if last is None or step <= last))

    @staticmethod
    def hold(model: nn.Module, frozen: frozenset[str]) -> None:
        """Only what is not frozen wants a gradient; so none is computed for, or through, a frozen prefix."""
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name not in frozen)


def sections(model: MultiTask) -> dict[str, set[str]]:
    """Word -> parameter names: trunk, embeddings, layers, layers.0.., heads, heads.<task>, and adapters where there are any."""
    named = dict(model.named_parameters())
    layers = model.trunk.blocks
    inside = [{id(parameter) for parameter in layer.parameters()} for layer in layers]
    found: dict[str, set[str]] = {
        f"layers.{number}": {name for name, parameter in named.items() if id(parameter) in own}
        for number, own in enumerate(inside)
    }
    found["layers"] = set().union(*found.values())
    found["trunk"] = {name for name in named if name.startswith("trunk.")}
    first = {id(parameter) for parameter in model.trunk.embeddings.parameters()}
    found["embeddings"] = {
        name
        for name in found["trunk"] - found["layers"]
        if id(named[name]) in first or any(step.startswith("embedding") for step in name.split("."))
    }
    for room in ("heads", "adapters"):
        for name in (name for name in named if name.startswith(f"{room}.")):
            for word in (room, f"{room}.{owner(name)}"):
                found.setdefault(word, set()).add(name)
    return {word: own for word, own in found.items() if own}


def layer_scale(model: MultiTask, decay: float) -> Mapping[str, float]:
    """Parameter name -> factor of the learning rate: decay ** (layers above it); the embeddings lie below all layers.

    Source: Howard & Ruder, arXiv:1801.06146, section 3.2 (there the decay is 1/2.6); the top layer has the trunk's own rate.
    """
    known = sections(model)
    count = len(model.trunk.blocks)
    scales = {name: decay**count for name in known.get("embeddings", ())}
    for number in range(count):
        scales |= dict.fromkeys(known[f"layers.{number}"], decay ** (count - 1 - number))
    return scales


def _named(rule: Rule, known: Mapping[str, set[str]], names: Sequence[str]) -> set[str]:
    if not isinstance(rule.modules, str):
        return set(rule.modules)
    match = LAYERS.fullmatch(rule.modules)
    if match:
        first, last = int(match[1]), int(match[2] or match[1])
        wanted = [f"layers.{number}" for number in range(first, last + 1)]
        if wanted and all(word in known for word in wanted):
            return set().union(*(known[word] for word in wanted))
        count = sum(LAYERS.fullmatch(word) is not None for word in known)
        raise ConfigError(f"the trunk has layers 0 to {count - 1}, found '{rule.modules}'. Name some of them.", where=rule.place)
    if rule.modules in known:
        return known[rule.modules]
    found = set(fnmatch.filter(names, rule.modules)) if "*" in rule.modules else set()
    if not found:
        raise ConfigError(
            f"the model has no '{rule.modules}'. {nearest(rule.modules, known)} Or a pattern of names, such as '*.bias'.",
            where=rule.place,
        )
    return found
