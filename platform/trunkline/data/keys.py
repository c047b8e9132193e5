"""Randomness as a function: one 64-bit key per (seed, task, row, pass), equal on every machine and for ever.

The streams below are part of what a run means: changing a constant changes which tokens are masked in every run.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)


def splitmix64(values: np.ndarray) -> np.ndarray:
    """One step of splitmix64 on every uint64: a bijection whose outputs pass for random.

    Source: Steele, Lea & Flood, OOPSLA 2014; the constants of Vigna's splitmix64.c.
    """
    with np.errstate(over="ignore"):
        mixed = np.atleast_1d(values).astype(np.uint64, copy=False) + GOLDEN
        mixed = (mixed ^ (mixed >> _S30)) * _FIRST
        mixed = (mixed ^ (mixed >> _S27)) * _SECOND
    return mixed ^ (mixed >> _S31)


def unit(values: np.ndarray) -> np.ndarray:
    """Uint64 keys as float64 in [0, 1), from their upper 53 bits."""
    return (values >> _S11).astype(np.float64) * 2.0**-53


def row_keys(seed: int, task: str, row_ids: np.ndarray, passes: np.ndarray | int) -> np.ndarray:
    """One uint64 per row. passes: how often the task's rows were gone through before, one number or one per row."""
    rows = np.asarray(row_ids)
    return keyed_rows(key_bases(seed, [task]), rows, np.broadcast_to(np.asarray(passes), rows.shape))


def keyed_rows(bases: np.ndarray, row_ids: np.ndarray, passes: np.ndarray) -> np.ndarray:
    """`row_keys` of rows of several tasks, each beside the base of its task."""
    return splitmix64(splitmix64(row_ids.astype(np.uint64) ^ bases) ^ splitmix64(passes.astype(np.uint64)))


def key_bases(seed: int, tasks: Iterable[str]) -> np.ndarray:
    """One uint64 for each task."""
    return np.array([_base(seed, task) for task in tasks], np.uint64)


@functools.lru_cache(maxsize=4096)
def _base(seed: int, task: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}\0{task}".encode(), digest_size=8).digest(), "little")


def token_chances(keys: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """A float32 in [0, 1) for every token of rows of these lengths: a function of the row's key and the place in the row."""
    place = (np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)).astype(np.uint64)
    return unit(splitmix64(splitmix64(np.repeat(keys ^ GOLDEN, lengths)) + place * GOLDEN)).astype(np.float32)


def text_key(text: str) -> int:
    """A signed 64-bit key of a text's exact characters, for telling texts apart without keeping them."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
