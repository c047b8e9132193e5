"""In which order the rows of a task come: a function of (seed, task, turn), so that nothing of it is ever saved."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

SORTED = 1 << 20  # rows up to which a turn's order is sorted out whole (0.1 s); of larger tasks a page at a time is worked out
PAGE = 1 << 12
ROUNDS = 6


def philox(*words: object) -> np.random.Philox:
    """A generator whose key is a hash of the words."""
    digest = hashlib.blake2b("\0".join(map(str, words)).encode(), digest_size=16).digest()
    return np.random.Philox(key=np.frombuffer(digest, np.uint64))


class Orders:
    """Row numbers of many tasks, turn by turn; in a turn each of a task's first `pools` rows comes once.

    Tasks of more than `largest` rows are permuted by a Feistel network over the next power of four, walked on from until it
    falls inside: a restored stream draws its first row as fast as its last. Source: Black & Rogaway, Ciphers with Arbitrary
    Finite Domains, CT-RSA 2002, section 3. Of every task two pages are held, so that draws for all tasks are one look-up; a small
    task's page is its whole turn.
    """

    def __init__(self, seed: int, names: Sequence[str], sizes: Sequence[int], largest: int = SORTED, page: int = PAGE) -> None:
        self.seed, self.names, self.largest = seed, list(names), largest
        self.sizes = np.array(sizes, np.int64)
        self.pools = self.sizes.copy()
        self._page = np.where(self.sizes > largest, page, self.sizes)
        self._base = np.cumsum(self._page) - self._page
        kind = np.int32 if self.sizes.max() < 2**31 else np.int64
        self._table = np.zeros((2, int(self._page.sum())), kind)
        self._held = np.full((2, len(self.names)), -1, np.int64)

    def resize(self, task: int, pool: int) -> None:
        """From now on a turn of the task has only its first `pool` rows."""
        self.pools[task] = pool
        self._held[:, task] = -1

    def page(self, tasks: np.ndarray, turns: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """The number of the page on which each place lies. `rows` can be asked for two of a task's that follow on each other."""
        return turns * -(-self.pools[tasks] // self._page[tasks]) + inside // self._page[tasks]

    def rows(self, tasks: np.ndarray, turns: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """The rows at these places of these turns of these tasks, int64."""
        pages = self.page(tasks, turns, inside)
        slots = pages & 1
        missing = np.flatnonzero(self._held[slots, tasks] != pages)
        if len(missing):
            for task, page in dict.fromkeys(zip(tasks[missing].tolist(), pages[missing].tolist(), strict=True)):
                self._fill(task, page)
        return self._table[slots, self._base[tasks] + inside % self._page[tasks]].astype(np.int64)

    def _fill(self, task: int, page: int) -> None:
        pool, size, base = int(self.pools[task]), int(self._page[task]), int(self._base[task])
        turn, part = divmod(page, -(-pool // size))
        generator = philox(self.seed, self.names[task], turn)
        if self.sizes[task] > self.largest:
            found = _walked(np.arange(part * size, min((part + 1) * size, pool)), pool, generator.random_raw(ROUNDS))
        else:
            # Sorting raw Philox words keeps the order fixed whatever NumPy does to its shuffles.
            found = np.argsort(generator.random_raw(pool), kind="stable")
        self._table[page & 1, base : base + len(found)] = found
        self._held[page & 1, task] = page


def _walked(places: np.ndarray, size: int, keys: np.ndarray) -> np.ndarray:
    half = np.uint64((max(size - 1, 1).bit_length() + 1) // 2)
    found = places.astype(np.uint64)
    outside = np.ones(len(found), bool)
    while outside.any():
        found[outside] = _feistel(found[outside], half, keys)
        outside = found >= np.uint64(size)
    return found.astype(np.int64)


def _feistel(values: np.ndarray, half: np.uint64, keys: np.ndarray) -> np.ndarray:
    """One-to-one on 0 .. 4 ** half - 1."""
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = values >> half, values & mask
    for key in keys:
        left, right = right, left ^ (_mixed(right + key) & mask)
    return (left << half) | right


def _mixed(words: np.ndarray) -> np.ndarray:
    """splitmix64's finaliser: every bit of the result depends on every bit of the word."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
