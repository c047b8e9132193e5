"""The answers of a question as a user gives them, and where they stand in its context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trunkline.data.encoding.base import Where, refuse
from trunkline.data.tokenizer import well_formed

MISPLACED = ("error", "mend")


@dataclass(frozen=True)
class Gold:
    """Texts that answer a question. places: (first character, the one behind the last) of those that stand in the context.

    misplaced: how many do not stand where they should; mended: how many of these stand elsewhere. shown: the first misplaced one.
    """

    texts: tuple[str, ...]
    places: tuple[tuple[int, int], ...]
    misplaced: int = 0
    mended: int = 0
    shown: Any = None

    @property
    def lost(self) -> bool:
        """It has answers, and none of them stands in the context."""
        return bool(self.texts) and not self.places


def read_answers(
    name: str,
    values: Sequence[Any],
    starts_name: str | None,
    starts: Sequence[Any] | None,
    contexts: Sequence[str],
    where: Where,
) -> list[Gold]:
    """One Gold a row. Raises DataError for values that are no texts, and for starts that are no whole number for each text."""
    lists = [_texts(value) for value in values]
    bad = [row for row, own in enumerate(lists) if own is None]
    if bad:
        refuse(name, "has values that are neither text nor a list of texts", bad, values, where)
    if starts is None or starts_name is None:
        return [_gold(own or [], None, context) for own, context in zip(lists, contexts, strict=True)]
    numbers = [_numbers(value) for value in starts]
    # An empty text is no answer, whatever its start.
    asked = [len(own) if own and any(map(str.strip, own)) else None for own in lists]
    bad = [
        row
        for row, (count, at) in enumerate(zip(asked, numbers, strict=True))
        if count is not None and (at is None or len(at) != count)
    ]
    if bad:
        refuse(starts_name, f"is not one whole number for each text of '{name}'", bad, starts, where)
    return [_gold(own or [], at or [], context) for own, at, context in zip(lists, numbers, contexts, strict=True)]


def _texts(value: Any) -> list[str] | None:
    given = [] if value is None else [value] if isinstance(value, str) else value
    return list(given) if isinstance(given, list | tuple) and all(isinstance(text, str) for text in given) else None


def _numbers(value: Any) -> list[int] | None:
    given = [] if value is None or value == "" else value if isinstance(value, list | tuple) else [value]
    try:
        numbers = [int(number) for number in given]
        exact = all(not isinstance(n, bool) and float(n) == int(n) for n in given)
    except (TypeError, ValueError, OverflowError):
        return None
    return numbers if exact else None


def _gold(texts: Sequence[str], starts: Sequence[int] | None, context: str) -> Gold:
    places, kept = [], []
    misplaced = mended = 0
    shown = None
    for number, text in enumerate(texts):
        if not text.strip():
            continue
        kept.append(well_formed(text))
        at = context.find(text) if starts is None else starts[number]
        if at < 0 or not context.startswith(text, at):
            misplaced += 1
            shown = shown or (text if starts is None else (text, at))
            at = _nearest(context, text, at)
            mended += at >= 0
        if at >= 0:
            begin = len(well_formed(context[:at]))
            places.append((begin, begin + len(kept[-1])))
    return Gold(tuple(kept), tuple(places), misplaced, mended, shown)


def _nearest(context: str, text: str, start: int) -> int:
    """Where the text stands nearest to a character of the context, the earlier of two; -1 if nowhere."""
    before, behind = context.rfind(text, 0, max(start, 0) + len(text)), context.find(text, max(start, 0))
    found = [at for at in (before, behind) if at >= 0]
    return min(found, key=lambda at: abs(at - start)) if found else -1
