from __future__ import annotations

import numpy as np
import pytest

from trunkline.data.rows import Ragged, beside

LISTS = [[1, 2, 3], [], [4], [5, 6]]


def lists(ragged: Ragged) -> list[list[int]]:
    return [ragged.values[a:b].tolist() for a, b in zip(ragged.starts, ragged.starts[1:], strict=False)]


def test_ragged_keeps_its_lists() -> None:
    assert lists(Ragged.of(LISTS)) == LISTS


@pytest.mark.parametrize("rows", [[0], [3, 1, 0, 0], []])
def test_take_gives_the_rows_in_the_order_asked(rows: list[int]) -> None:
    assert lists(Ragged.of(LISTS).take(np.array(rows, np.int64))) == [LISTS[row] for row in rows]


def test_keep_gives_the_first_or_the_last_values() -> None:
    lengths = np.array([2, 0, 1, 1])
    assert lists(Ragged.of(LISTS).keep(lengths)) == [[1, 2], [], [4], [5]]
    assert lists(Ragged.of(LISTS).keep(lengths, end=True)) == [[2, 3], [], [4], [6]]


def test_beside_joins_row_by_row() -> None:
    frame = Ragged.same(np.array([9], np.int32), 4)
    assert lists(beside([frame, Ragged.of(LISTS), Ragged.single(np.arange(4)), frame])) == [
        [9, *row, number, 9] for number, row in enumerate(LISTS)
    ]
