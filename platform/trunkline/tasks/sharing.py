"""Tasks that share: rows read once (`rows_of`), a head used by several (`head_of`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from trunkline.errors import ConfigError
from trunkline.tasks.card import Card


def resolved(card: Card, find: Callable[[str, str], Card]) -> Card:
    """The card with the data of the task its `rows_of` names, followed to the card that has its own; itself without one.

    find: (name, the place that asks) -> that card as it was loaded. Raises ConfigError if the names go in a circle.
    """
    chain = [card]
    while chain[-1].rows_of is not None:
        last = chain[-1]
        assert last.rows_of is not None
        if last.rows_of in [one.name for one in chain]:
            path = " -> ".join([*(one.name for one in chain), last.rows_of])
            raise ConfigError(f"rows are asked for in a circle: {path}. One of them needs data.", where=last.where("rows_of"))
        chain.append(tasks_of(find(last.rows_of, last.where("rows_of")))[0])
    host = chain.pop()
    while chain:
        host = chain.pop().sharing(host)
    return host


def resolved_all(cards: Mapping[str, Card]) -> dict[str, Card]:
    """Loaded cards and the parts of the joint ones, by name, each with the data of the task it shares rows with."""
    known = {**cards, **{part.name: part for card in cards.values() for part in card.parts.values()}}
    return {name: resolved(card, lambda other, _: known[other]) for name, card in known.items()}


def tasks_of(card: Card) -> list[Card]:
    """The tasks a card stands for: itself, or the parts of a joint card."""
    return list(card.parts.values()) or [card]


def joined(cards: Mapping[str, Card]) -> dict[str, dict[str, str]]:
    """Joint card -> part -> task, for those that have a part among the cards."""
    found: dict[str, dict[str, str]] = {}
    for name, card in cards.items():
        if card.whole is not card:
            found.setdefault(card.whole.name, {})[name.removeprefix(f"{card.whole.name}_")] = name
    return found


def owners(cards: Mapping[str, Card], what: Literal["rows_of", "head_of"]) -> dict[str, str]:
    """Task -> the task whose rows or head it uses, for those that use another's; names are followed to their end.

    Where the task at the end is not among the cards, the first that leads to it stands in for it. Raises ConfigError on a circle.
    """
    named: dict[str, str | None] = {name: getattr(card, what) for name, card in cards.items()}
    found: dict[str, str] = {}
    first: dict[str, str] = {}
    for name, card in cards.items():
        chain = [name]
        while (other := named.get(chain[-1])) is not None:
            if other in chain:
                raise ConfigError(f"goes in a circle: {' -> '.join([*chain, other])}. Break it.", where=card.where(what))
            chain.append(other)
        owner = chain[-1] if chain[-1] in cards else first.setdefault(chain[-1], name)
        if owner != name:
            found[name] = owner
    return found
