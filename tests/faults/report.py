"""What became of a run, and the table of all rows."""

from __future__ import annotations

from typing import NamedTuple


class Found(NamedTuple):
    """outcome: in words. weights_equal: with the run nothing happened to, bit for bit; None where they can not be."""

    outcome: str
    steps_lost: int | None = None
    seconds_to_recover: float | None = None
    weights_equal: bool | None = None


def expect(holds: bool, otherwise: str) -> None:
    """Raises AssertionError with the sentence unless it holds."""
    if not holds:
        raise AssertionError(otherwise)
