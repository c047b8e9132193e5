"""Units: a step's rows in a handful of arrays."""

from __future__ import annotations

import numpy as np

from trunkline.data.units import Unit, Units, joined


def unit(task: str, *rows: int, tokens: int = 5, turn: int = 0, place: int = 0) -> Unit:
    ids = np.array(rows, np.int64)
    return Unit(task, ids, np.full_like(ids, turn), tokens, place)


def plain(units: Units) -> list[tuple[str, list[int], list[int], int, int]]:
    return [(one.task, one.rows.tolist(), one.passes.tolist(), one.tokens, one.place) for one in units]


DRAWN = [unit("b", 7, tokens=3), unit("a", 1, 4, 2, tokens=30, turn=1), unit("b", 9, tokens=4), unit("a", 0, 3, 5, tokens=31)]


def test_single_units_come_out_as_they_went_in() -> None:
    units = Units.of(DRAWN)
    assert len(units) == 4 and units.names == ("b", "a") and Units.of(units) is units
    assert plain(units) == [
        ("b", [7], [0], 3, 0),
        ("a", [1, 4, 2], [1, 1, 1], 30, 0),
        ("b", [9], [0], 4, 0),
        ("a", [0, 3, 5], [0, 0, 0], 31, 0),
    ]
    assert plain(units[1:3]) == plain(units)[1:3] and units[-1].rows.tolist() == [0, 3, 5]


def test_places_count_the_rows_of_the_task_that_came_before() -> None:
    placed = Units.of(DRAWN).placed()
    assert [one.place for one in placed] == [0, 0, 1, 3]
    assert placed.row_places.tolist() == [0, 0, 1, 2, 1, 3, 4, 5]
    assert placed.of_task("a").tolist() == [1, 2, 3, 5, 6, 7] and not len(placed.of_task("c"))
    assert placed.seen() == ["b", "a"]


def test_units_taken_in_any_order_keep_their_rows_and_places() -> None:
    placed = Units.of(DRAWN).placed()
    numbers = [3, 0, 3, 2]
    assert plain(placed.take(np.array(numbers))) == [plain(placed)[number] for number in numbers]
    assert not len(placed.take(np.array([], np.int64)))


def test_a_unit_apart_is_a_unit_for_each_of_its_rows() -> None:
    placed = Units.of(DRAWN).placed()
    sizes = np.array([3, 10, 11, 9, 4, 12, 8, 11])
    apart = placed.apart(np.array([False, False, False, True]), sizes)
    assert plain(apart) == [
        *plain(placed)[:3],
        ("a", [0], [0], 12, 3),
        ("a", [3], [0], 8, 4),
        ("a", [5], [0], 11, 5),
    ]


def test_joined_units_follow_each_other() -> None:
    units = Units.of(DRAWN)
    assert plain(joined([units[:1], units[1:]])) == plain(units)
