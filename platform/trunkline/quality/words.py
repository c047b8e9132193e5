"""Word vectors against people: similarity of pairs, analogies, nearest neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

QUESTIONS_AT_ONCE = 256
TINY = 1e-3  # of 3CosMul, as published


@dataclass(frozen=True)
class Lexicon:
    """Words and their vectors [V, D], in the order of the file. number: word -> row."""

    words: Sequence[str]
    values: np.ndarray

    def __post_init__(self) -> None:
        assert len(self.words) == len(self.values)

    @property
    def number(self) -> Mapping[str, int]:
        return {word: row for row, word in reversed(list(enumerate(self.words)))}

    def first(self, most: int) -> Lexicon:
        return Lexicon(self.words[:most], self.values[:most])


def unit(vectors: np.ndarray) -> np.ndarray:
    """Every vector [.., D] at length 1, float64; a zero vector stays."""
    wide = vectors.astype(np.float64)
    norms = np.linalg.norm(wide, axis=-1, keepdims=True)
    return wide / np.where(norms > 0, norms, 1.0)


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Of each pair of vectors [n, D]: [n], 0 where one is zero."""
    cosine: np.ndarray = (unit(first) * unit(second)).sum(axis=1)
    return cosine


def spelled(word: str, known: Mapping[str, int]) -> str | None:
    """The word as the vectors have it: as it stands, or in lower case."""
    return word if word in known else word.lower() if word.lower() in known else None


def analogies(
    lexicon: Lexicon, questions: Sequence[tuple[str, str, str, str]], *, multiply: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """a is to b as c is to d: the row of the word found for each question [n], and of the right one; -1 where a word is unknown.

        3CosAdd: argmax over d of cos(d, b - a + c)      3CosMul: argmax of cos'(d, b) cos'(d, c) / (cos'(d, a) + 0.001)

    with unit vectors and cos' = (cos + 1) / 2; a, b and c themselves are never the answer. Source: Mikolov et al., NAACL 2013,
    section 4; Levy & Goldberg, CoNLL 2014, equations 3 and 4.
    """
    known, vectors = lexicon.number, unit(lexicon.values).astype(np.float32)
    places = np.array([[known.get(spelled(word, known) or "", -1) for word in question] for question in questions], np.int64)
    places = places.reshape(-1, 4)
    found = np.full(len(places), -1, np.int64)
    there = np.flatnonzero((places >= 0).all(axis=1))
    for start in range(0, len(there), QUESTIONS_AT_ONCE):
        rows = there[start : start + QUESTIONS_AT_ONCE]
        a, b, c = (vectors[places[rows, part]] for part in range(3))
        if multiply:
            near = [(vectors @ part.T + 1) / 2 for part in (a, b, c)]  # [V, n] each
            scores = near[1] * near[2] / (near[0] + TINY)
        else:
            scores = vectors @ (b - a + c).T
        for part in range(3):
            scores[places[rows, part], np.arange(len(rows))] = -np.inf
        found[rows] = scores.argmax(axis=0)
    right = np.where((places >= 0).all(axis=1), places[:, 3], -1)
    return found, right


def neighbours(lexicon: Lexicon, word: str, count: int = 10) -> list[tuple[str, float]]:
    """The nearest other words by cosine, nearest first; none for a word without a vector."""
    known = lexicon.number
    own = spelled(word, known)
    if own is None:
        return []
    vectors = unit(lexicon.values)
    scores = vectors @ vectors[known[own]]
    scores[known[own]] = -np.inf
    best = np.argsort(-scores, kind="stable")[:count]
    return [(lexicon.words[row], float(scores[row])) for row in best.tolist() if np.isfinite(scores[row])]
