"""Rows of a file gathered into chunks, each row with the line it began on."""

from __future__ import annotations

from collections import Counter
from typing import Any

from trunkline.data.sources.chunk import CHUNK_ROWS, Chunk, Refused

# A chunk ends early at this many characters, so that rows of megabytes do not pile up.
CHUNK_CHARACTERS = 1 << 24
REPLACEMENT = "\ufffd"


class Gatherer:
    """Rows of one file on their way into chunks, with the line each began on."""

    def __init__(self, shown: str) -> None:
        self.shown = shown
        self.rows: list[Any] = []
        self.lines: list[int] = []
        self.notes: Counter[str] = Counter()
        self.characters = 0
        self.refused: list[Refused] = []

    @property
    def waits(self) -> bool:
        """Something has been kept since the last chunk."""
        return bool(self.rows or self.refused)

    def refuse(self, line: int, reason: str) -> bool:
        """Notes a row that can not be used; true when a chunk is full."""
        self.refused.append(Refused(f"{self.shown}:{line}", reason))
        return len(self.refused) >= CHUNK_ROWS

    def add(self, row: Any, line: int, text: str | None) -> bool:
        """Keeps a row; true when a chunk is full. text: what of it to weigh and look through for undecodable bytes."""
        self.rows.append(row)
        self.lines.append(line)
        if text is not None:
            self.characters += len(text)
            if REPLACEMENT in text:
                self.notes["undecodable"] += 1
        return len(self.rows) >= CHUNK_ROWS or self.characters >= CHUNK_CHARACTERS

    def chunk(self, columns: dict[str, list[Any]]) -> Chunk:
        """The rows so far as `columns` holds them; starts anew."""
        shown, lines = self.shown, self.lines
        chunk = Chunk(columns, lambda row: f"{shown}:{lines[row]}", self.notes, len(lines), self.refused)
        self.rows, self.lines, self.notes, self.characters, self.refused = [], [], Counter(), 0, []
        return chunk
