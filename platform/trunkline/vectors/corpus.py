"""Plain text as numbers: a line is a sentence, a word what stands between spaces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trunkline.errors import DataError


@dataclass(frozen=True)
class Corpus:
    """words: by falling frequency, then by spelling. counts [V]. ids [n], sentence [n]: of every word kept, in order."""

    words: list[str]
    counts: np.ndarray
    ids: np.ndarray
    sentence: np.ndarray


def read_corpus(paths: Sequence[Path], *, lower: bool = False, min_count: int = 5) -> Corpus:
    """The words that stand in the files `min_count` times or more; the others are left out as if they were not there.

    Raises DataError with the numbers where a file is no UTF-8 text or fewer than two words are left.
    """
    seen: Counter[str] = Counter()
    for line in _lines(paths, lower):
        seen.update(line)
    words = sorted((word for word, count in seen.items() if count >= min_count), key=lambda word: (-seen[word], word))
    if len(words) < 2:
        raise DataError(
            f"{len(seen)} different words, of which {len(words)} stand there {min_count} times or more. Give more text, or lower "
            "--min-count.",
            where=str(paths[0]),
        )
    number = {word: index for index, word in enumerate(words)}
    ids, lengths = [], []
    for line in _lines(paths, lower):
        found = [number[word] for word in line if word in number]
        ids.append(np.array(found, np.int32))
        lengths.append(len(found))
    flat = np.concatenate(ids)
    return Corpus(
        words, np.bincount(flat, minlength=len(words)), flat, np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    )


def _lines(paths: Sequence[Path], lower: bool) -> Iterator[list[str]]:
    for path in paths:
        if not path.is_file():
            raise DataError("no such file.", where=str(path))
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise DataError(
                        f"no UTF-8 text: {error.reason}. Convert the file.", where=f"{path}:{number}:{error.start + 1}"
                    ) from error
                yield (text.lower() if lower else text).split()
