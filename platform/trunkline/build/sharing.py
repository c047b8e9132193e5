"""Tasks that share: rows of the same tokens, heads of the same kind and arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trunkline.build.task import head_wanted, make_head
from trunkline.data.encoding.base import Encoding, shorten
from trunkline.data.rows import Ragged
from trunkline.data.store import SplitJob, StoredSplit
from trunkline.errors import ConfigError, Problems
from trunkline.tasks.card import Card
from trunkline.tasks.sharing import owners

if TYPE_CHECKING:
    from trunkline.models.base import Trunk
    from trunkline.models.heads.base import Head


def groups(cards: Mapping[str, Card]) -> dict[str, list[str]]:
    """Host -> the tasks that learn from its rows, itself among them, in the order of the cards; only where there are several."""
    hosts = owners(cards, "rows_of")
    found: dict[str, list[str]] = {}
    for name in cards:
        found.setdefault(hosts.get(name, name), []).append(name)
    return {host: members for host, members in found.items() if len(members) > 1}


def targets_beside(cards: Mapping[str, Card]) -> dict[str, tuple[str | None, ...]]:
    """Task -> the target columns of all tasks of its group, for those that share rows."""
    return {name: tuple(cards[other].target for other in members) for members in groups(cards).values() for name in members}


def check_kinds(cards: Mapping[str, Card], encodings: Mapping[str, Encoding], together: Mapping[str, int]) -> None:
    """Raises ConfigError for a task that can not share rows. together: rows each task's loss wants drawn together."""
    problems = Problems()
    for members in groups(cards).values():
        for name in members:
            card = cards[name]
            where = card.where("rows_of") if card.rows_of is not None else card.where("name")
            others = ", ".join(f"'{other}'" for other in members if other != name)
            if card.data.on_bad == "quarantine":
                problems.add(
                    ConfigError(
                        f"data.on_bad: quarantine sets rows aside task by task, so '{name}' can not share rows with {others}. "
                        "Mend the rows, or give each task data of its own.",
                        where=where,
                    )
                )
            elif encodings[name].sight != (0,):
                problems.add(
                    ConfigError(
                        f"a {card.head.kind} task reads its rows in one direction, so it can not share them with {others}. "
                        "Give it data of its own.",
                        where=where,
                    )
                )
            elif not encodings[name].keeps_tokens:
                problems.add(
                    ConfigError(
                        f"a {card.head.kind} task changes the tokens it reads, so it can not share rows with {others}. "
                        "Give it data of its own.",
                        where=where,
                    )
                )
            elif together[name] > 1:
                problems.add(
                    ConfigError(
                        f"the loss of '{name}' wants {together[name]} rows together, so it can not share rows with {others}. "
                        "Give it data of its own, or another loss.",
                        where=where,
                    )
                )
    problems.raise_if_any()


def make_heads(cards: Mapping[str, Card], trunk: Trunk, encodings: Mapping[str, Encoding]) -> dict[str, Head]:
    """Task -> head on this trunk, in the order of the cards; one module for the tasks that share it, made where the first stands.

    Raises ConfigError unless they are of one kind, with the same arguments.
    """
    owned = owners(cards, "head_of")
    made: dict[str, Head] = {}
    heads: dict[str, Head] = {}
    for name, card in cards.items():
        owner = owned.get(name, name)
        if owner not in made:
            made[owner] = make_head(cards[owner], trunk.width, encodings[owner], trunk.num_layers)
        if owner != name:
            _check_same_head(card, cards[owner], head_wanted(card, encodings[name]), head_wanted(cards[owner], encodings[owner]))
        heads[name] = made[owner]
    return heads


def _check_same_head(card: Card, owner: Card, own: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    wrong = [key for key in sorted({*own, *theirs}) if own.get(key) != theirs.get(key)]
    if wrong:
        told = "; ".join(f"{key} is {shorten(own.get(key))} here, {shorten(theirs.get(key))} there" for key in wrong)
        raise ConfigError(
            f"'{card.name}' can not use the head of '{owner.name}': {told}. Write the same, or leave head_of out.",
            where=card.where("head_of"),
        )


def check_tokens(cards: Mapping[str, Card], jobs: Sequence[SplitJob], stored: Sequence[StoredSplit]) -> None:
    """Raises ConfigError unless the tasks of a group read every row as the same tokens."""
    found = {(job.name, job.split): split for job, split in zip(jobs, stored, strict=True)}
    problems = Problems()
    for host, members in groups(cards).items():
        for name, split in found:
            if name in members and name != host:
                row = _differs(found[host, split], found[name, split])
                if row is not None:
                    problems.add(_other_tokens(cards[name], host, split, row))
                    break
    problems.raise_if_any()


def _other_tokens(card: Card, host: str, split: str, row: int) -> ConfigError:
    return ConfigError(
        f"'{card.name}' does not read the rows of '{host}' as the same tokens: {split} row {row} is the first that differs. "
        "Where one of them reads words and another text, make words of both: data.lists: {column: ' '}.",
        where=card.where("rows_of"),
    )


def _differs(one: StoredSplit, other: StoredSplit) -> int | None:
    """The first row whose tokens differ."""
    pairs = ((getattr(one.rows, name), getattr(other.rows, name)) for name in ("tokens", "lengths", "seconds"))
    rows = [_first(a, b) for a, b in pairs]
    return min((row for row in rows if row is not None), default=None)


def _first(one: Ragged, other: Ragged) -> int | None:
    if len(one) != len(other):
        return min(len(one), len(other))
    bad = np.flatnonzero(one.starts != other.starts)
    if len(bad):
        return int(bad[0]) - 1
    bad = np.flatnonzero(one.values != other.values)
    return int(np.searchsorted(one.starts, bad[0], side="right")) - 1 if len(bad) else None
