"""Chunks of a source on their way into rows: what can not be used ends the reading, or is set aside and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from trunkline.data.encoding.base import SHOWN, Encoding
from trunkline.data.partial import Extra, encode_partly
from trunkline.data.rows import Rows, join
from trunkline.data.sources.chunk import Chunk, Refused
from trunkline.data.sources.reading import Reading
from trunkline.errors import DataError

LISTED = 100
# An encoding looks at one thing after another, so a chunk has as many rounds; after these its rows are tried one by one.
ROUNDS = 4
NOTE = "quarantined"


class Intake:
    """Encodes chunk after chunk of one split. read: rows seen so far; notes: what happened to them while reading.

    With `on_bad: quarantine` rows that the source could not read, that lack a value or that the encoding refuses are set aside:
    quarantined counts them, first holds the first 100 with place and reason. Otherwise the first of them raises DataError.
    extras: columns that become targets beside the encoding's. beside: where tasks share their rows, the target column of each,
    None for one that has none: a row stays if any of them has a label there.
    """

    def __init__(
        self, encoding: Encoding, reading: Reading, *, extras: Sequence[Extra] = (), beside: Sequence[str | None] = ()
    ) -> None:
        self.encoding, self.reading, self.extras, self.beside = encoding, reading, extras, beside
        self.read = self.quarantined = 0
        self.first: list[Refused] = []
        self.notes: Counter[str] = Counter()

    def rows(self, chunk: Chunk) -> Rows | None:
        """The chunk's rows that can be used, in order; None if there is none."""
        if chunk.where is None:
            before = self.read
            chunk = replace(chunk, where=lambda row: f"row {before + row}")
        self.read += len(chunk) + len(chunk.refused)
        picked = self._select(chunk)
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

    def _select(self, chunk: Chunk) -> Chunk:
        """The columns wanted, without the rows nobody has a label for."""
        more = [extra.column for extra in self.extras]
        if not self.beside:
            return self.reading.select(chunk, (*self.encoding.wanted, *more), self.encoding.optional)
        targets = [target for target in self.beside if target is not None]
        picked = self.reading.select(chunk, self.encoding.inputs, optional=(*targets, *more))
        if len(targets) < len(self.beside):
            return picked
        labels = [picked.columns[name] for name in targets]
        kept = [row for row in range(len(picked)) if any(values[row] is not None for values in labels)]
        if len(kept) < len(picked):
            picked.notes["without_labels_dropped"] += len(picked) - len(kept)
            picked = picked.take(kept)
        return picked

    def _encode(self, picked: Chunk) -> Rows:
        return encode_partly(self.encoding, picked, self.extras, partial=bool(self.beside))

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
