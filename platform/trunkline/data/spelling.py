"""What a text that is to be written consists of: bytes, or the pieces of a tokenizer."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from trunkline.data.rows import Ragged
from trunkline.data.tokenizer import Tokenizer, well_formed


class Spelling(Protocol):
    """Text -> ids 0..size-1 and back. max_target: tokens of a text kept where a card does not say; unknown: an id or -1."""

    size: int
    max_target: int
    unknown: int
    key: str

    def ids(self, texts: Sequence[str]) -> Ragged: ...

    def text(self, ids: Sequence[int]) -> str: ...


class Bytes:
    """UTF-8: loses nothing in any language and needs no training; ids are the bytes."""

    size, max_target, unknown, key = 256, 256, -1, "bytes"

    def ids(self, texts: Sequence[str]) -> Ragged:
        return to_bytes(texts)

    def text(self, ids: Sequence[int]) -> str:
        """Bytes that are no UTF-8 become the replacement character."""
        return bytes(ids).decode("utf-8", "replace")


class Pieces:
    """The tokens of a tokenizer. What it makes equal (case, accents, rare letters) is lost; space at the ends is too."""

    max_target = 64

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.size, self.unknown, self.key = tokenizer.vocab_size, tokenizer.unk_id, tokenizer.key

    def ids(self, texts: Sequence[str]) -> Ragged:
        return self.tokenizer.plain(texts)

    def text(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids).strip()


def to_bytes(texts: Sequence[str]) -> Ragged:
    """Texts as UTF-8, uint8: how rows keep a text aside."""
    encoded = [well_formed(text).encode() for text in texts]
    starts = np.concatenate([[0], np.cumsum([len(item) for item in encoded])]).astype(np.int64)
    return Ragged(np.frombuffer(b"".join(encoded), np.uint8), starts)


def from_bytes(rows: Ragged) -> list[str]:
    """The texts again."""
    content, starts = rows.values.astype(np.uint8).tobytes(), rows.starts.tolist()
    return [content[first:last].decode() for first, last in itertools.pairwise(starts)]
