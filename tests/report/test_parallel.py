"""A line for each trial over an axis for each setting: higher values lie higher, and the best stands out."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from trunkline.report.parallel import BEST, BOTTOM, TOP, parallel

SPACE = "{http://www.w3.org/2000/svg}"


def heights(drawn: str) -> list[list[float]]:
    lines = ElementTree.fromstring(drawn).findall(f"{SPACE}polyline")
    return [[float(point.split(",")[1]) for point in line.get("points", "").split()] for line in lines]


def test_each_axis_goes_from_its_least_below_to_its_greatest_above() -> None:
    found = heights(parallel(["lr", "objective"], [[1.0, 0.3], [2.0, 0.1], [3.0, 0.2]], 2))
    assert found == [[BOTTOM, TOP], [(TOP + BOTTOM) / 2, BOTTOM], [TOP, (TOP + BOTTOM) / 2]]


def test_a_wide_range_is_logarithmic_and_names_lie_in_order() -> None:
    found = heights(parallel(["lr", "kind"], [[1e-4, "b"], [1e-3, {"kind": "a"}], [1e-2, "c"]], 0))
    middle = (TOP + BOTTOM) / 2
    assert sorted(line[0] for line in found) == [TOP, middle, BOTTOM]
    assert {line[1] for line in found} == {TOP, middle, BOTTOM}


def test_the_best_is_drawn_last_and_in_its_own_colour_and_what_is_not_said_is_left_out() -> None:
    drawn = parallel(["a<b", "objective"], [[1, 0.9], [None, 0.1]], 0)
    assert [len(line) for line in heights(drawn)] == [1, 2]
    assert drawn.count(BEST) == 1 and drawn.index(BEST) > drawn.index("0.7") and "a&lt;b" in drawn


def test_one_value_alone_is_no_error() -> None:
    assert re.search("polyline", parallel(["lr"], [[0.1], [0.1]], 0)) and "svg" in parallel(["lr"], [], 0)
