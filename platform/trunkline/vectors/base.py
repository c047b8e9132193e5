"""What every method is, and the table it makes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trunkline import durable
from trunkline.errors import ConfigError, Diverged
from trunkline.vectors.corpus import Corpus

Say = Callable[[str], None]


@dataclass(frozen=True)
class Vectors:
    """words and their vectors [V, D] float32, by falling frequency."""

    words: list[str]
    values: np.ndarray

    def save(self, path: Path) -> None:
        """Word2Vec's text format: a line `V D`, then a word and its numbers a line. gensim and fastText's tools read it."""
        lines = [f"{len(self.words)} {self.values.shape[1]}"]
        lines += [
            f"{word} {' '.join(f'{value:.6g}' for value in row)}" for word, row in zip(self.words, self.values, strict=True)
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.replace(path, "\n".join(lines) + "\n")


class Method(ABC):
    """Its keyword-only arguments are what the command gives. The same text and seed give the same vectors on one machine."""

    @abstractmethod
    def train(self, corpus: Corpus, *, seed: int, say: Say) -> Vectors: ...


def finished(corpus: Corpus, values: np.ndarray) -> Vectors:
    """Raises Diverged where a number is not finite."""
    if not np.isfinite(values).all():
        raise Diverged("the vectors are not finite. Lower lr or batch.")
    return Vectors(corpus.words, values.astype(np.float32))


def whole(name: str, value: int, low: int = 1) -> int:
    """Raises ConfigError unless it is a whole number from `low` up."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ConfigError(f"{name}: a whole number from {low} up is needed, found {value!r}.")
    return value


def number(name: str, value: float) -> float:
    """Raises ConfigError unless it is a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ConfigError(f"{name}: a number above 0 is needed, found {value!r}.")
    return float(value)
