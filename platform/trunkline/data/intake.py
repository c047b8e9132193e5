"""Chunks of a source on their way into rows: what can not be used ends the reading, or is set aside and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from trunkline.data.encoding.base import SHOWN, Encoding
from trunkline.data.rows import Rows, join
from trunkline.data.sources.base import Chunk, Reading, Refused
from trunkline.errors import DataError

LISTED = 100
# An encoding looks at one thing after another, so a chunk has as many rounds; after these its rows are tried one by one.
ROUNDS = 4
NOTE = "quarantined"


class Intake:
    """Encodes chunk after chunk of one split. read: rows seen so far; notes: what happened to them while reading.

    With `on_bad: quarantine` rows that the source could not read, that lack a value or that the encoding refuses are set aside:
    quarantined counts them, first holds the first 100 with place and reason. Otherwise the first of them raises DataError.
    """

    def __init__(self, encoding: Encoding, reading: Reading) -> None:
        self.encoding, self.reading = encoding, reading
        self.read = self.quarantined = 0
        self.first: list[Refused] = []
        self.notes: Counter[str] = Counter()

    def rows(self, chunk: Chunk) -> Rows | None:
        """The chunk's rows that can be used, in order; None if there is none."""
        if chunk.where is None:
            before = self.read
            chunk = replace(chunk, where=lambda row: f"row {before + row}")
        self.read += len(chunk) + len(chunk.refused)
        picked = self.reading.select(chunk, self.encoding.wanted, self.encoding.optional)
        self.notes += picked.notes
        self._set_aside(picked.refused)
        for _ in range(ROUNDS):
            if not len(picked):
                return None
            try:
                return self._encode(picked)
            except DataError as error:
                picked = self._without(picked, self._bad(error))
        return self._one_by_one(picked)

    def report(self) -> dict[str, Any]:
        """What the store's index keeps of the rows set aside."""
        return {"rows": self.quarantined, "read": self.read, "first": [refused._asdict() for refused in self.first]}

    def _encode(self, picked: Chunk) -> Rows:
        return self.encoding.encode(picked.columns, where=picked.where)

    def _bad(self, error: DataError) -> Mapping[int, str]:
        if self.reading.on_bad == "error" or not error.rows:
            raise error
        return error.rows

    def _without(self, picked: Chunk, bad: Mapping[int, str]) -> Chunk:
        assert picked.where is not None
        self._set_aside([Refused(str(picked.where(row)), reason) for row, reason in sorted(bad.items())])
        return picked.take([row for row in range(len(picked)) if row not in bad])

    def _one_by_one(self, picked: Chunk) -> Rows | None:
        parts = []
        for row in range(len(picked)):
            one = picked.take([row])
            try:
                parts.append(self._encode(one))
            except DataError as error:
                self._without(one, self._bad(error))
        return join(parts) if parts else None

    def _set_aside(self, refused: Sequence[Refused]) -> None:
        self.quarantined += len(refused)
        self.first += refused[: LISTED - len(self.first)]


def check_share(report: Mapping[str, Any], reading: Reading) -> None:
    """Raises DataError if more rows were set aside than the card allows. report: as `Intake.report` gives it."""
    if report["rows"] <= reading.max_bad * report["read"]:
        return
    shown = "; ".join(f"{one['place']}: {one['reason'].rstrip('.')}" for one in report["first"][:SHOWN])
    more = f" and {report['rows'] - SHOWN} more" if report["rows"] > SHOWN else ""
    raise DataError(
        f"{report['rows']} of {report['read']} rows can not be used, more than data.max_bad {reading.max_bad:g} allows. "
        f"{shown}{more}. Mend them, or raise data.max_bad.",
        where=report["first"][0]["place"],
    )


def said(report: Mapping[str, Any]) -> str:
    """The rows set aside in a sentence: how many, and the first with its reason."""
    place, reason = report["first"][0]["place"], report["first"][0]["reason"].rstrip(".")
    return f"{report['rows']} of {report['read']} rows quarantined, the first {place}: {reason}"
