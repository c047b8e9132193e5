"""A file of rows answered as it streams by: so many rows at a time, whatever its size."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trunkline.errors import DataError
from trunkline.predict import Model, Row
from trunkline.serve.rows import Given
from trunkline.serve.written import Writer

ROWS = 512  # at a time
Respond = Callable[[Sequence[Row], Callable[[int], str]], list[dict[str, Any]]]


@dataclass
class Count:
    """What came of a file."""

    answered: int = 0
    failed: int = 0


def answer_file(
    given: Iterable[Given], respond: Respond, writer: Writer, *, keep: Sequence[str] = (), failing: bool = False
) -> Count:
    """Answers in the order of the rows. keep: columns of a row that its answer begins with.

    failing: a row that can not be answered gets `{"error": "where: why"}` and the others go on; without it the first one ends
    all. Raises DataError with the row's place.
    """
    count = Count()
    rest = iter(given)
    while some := list(itertools.islice(rest, ROWS)):
        answers, failed = _answers(some, respond, failing)
        count.failed += failed
        count.answered += len(some) - failed
        writer.write([{**_kept(own.row, keep), **answer} for own, answer in zip(some, answers, strict=True)])
    return count


def _answers(some: Sequence[Given], respond: Respond, failing: bool) -> tuple[list[dict[str, Any]], int]:
    """One for each, and how many are none: those that fail are named by their error, and the rest is asked again."""
    faults = {number: f"{own.place}: {own.fault}" for number, own in enumerate(some) if own.row is None}
    if faults and not failing:
        first = some[min(faults)]
        raise DataError(first.fault, where=first.place)
    while True:
        good = [number for number in range(len(some)) if number not in faults]
        try:
            found = respond([some[number].row or "" for number in good], _Places(some, good)) if good else []
        except DataError as error:
            if not failing or not error.rows:
                raise
            faults |= {good[row]: f"{some[good[row]].place}: {reason}" for row, reason in error.rows.items()}
            continue
        answers = dict(zip(good, found, strict=True))
        told = [answers[number] if number in answers else {"error": faults[number]} for number in range(len(some))]
        return told, len(faults)


@dataclass(frozen=True)
class _Places:
    """Where the rows stand that are asked about."""

    some: Sequence[Given]
    good: Sequence[int]

    def __call__(self, row: int) -> str:
        return self.some[self.good[row]].place


def _kept(row: Row | None, keep: Sequence[str]) -> dict[str, Any]:
    return {name: row.get(name) for name in keep} if isinstance(row, Mapping) else dict.fromkeys(keep)


def predictions(model: Model, tasks: Sequence[str]) -> Respond:
    """One task's predictions, or of several a mapping each, from one pass through the trunk."""

    def respond(rows: Sequence[Row], where: Callable[[int], str]) -> list[dict[str, Any]]:
        (found,) = model.answer([model.prepare(tasks, rows, where=where)])
        if len(tasks) == 1:
            return found[tasks[0]]
        return [dict(zip(found, own, strict=True)) for own in zip(*found.values(), strict=True)]

    return respond


def vectors(model: Model, column: str, *, pooling: str, task: str | None) -> Respond:
    """A vector for each text, or for each mapping's `column`."""

    def respond(rows: Sequence[Row], where: Callable[[int], str]) -> list[dict[str, Any]]:
        texts = [row if isinstance(row, str) else row.get(column) for row in rows]
        bad = {number: f"'{column}' is no text." for number, text in enumerate(texts) if not isinstance(text, str)}
        if bad:
            first = min(bad)
            raise DataError(bad[first], where=where(first), rows=bad)
        found = model.embed([text for text in texts if isinstance(text, str)], pooling=pooling, task=task)
        return [{"vector": vector.tolist()} for vector in found]

    return respond


def columns_of(model: Model, tasks: Sequence[str]) -> tuple[list[str], list[str]]:
    """The columns that rows must have to be answered, and those that are read where they are there."""
    names = [name for task in tasks for name in (model.joint.get(task) or {"": task}).values()]
    encodings = [model.task(name).encoding for name in names]
    wanted = list(dict.fromkeys(name for encoding in encodings for name in encoding.inputs))
    return wanted, [encoding.target for encoding in encodings if encoding.target is not None]
