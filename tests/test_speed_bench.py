"""The benches of speed: a bound worked by hand, ratios of pairs, sides that must train the same, and the page."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from benchmarks.speed.__main__ import END, ROOT, START, markdown, rows
from benchmarks.speed.elsewhere import extension, weightings
from benchmarks.speed.ratios import Pair, agreed, row
from benchmarks.speed.sentences import pairs
from benchmarks.speed.work import WORKS, Work, padding, table, work

from trunkline.data.packing import pack


def small() -> Work:
    """Rows of 2, 8, 4 and 2 tokens in one step."""
    tables = {"a": table(np.array([2, 8, 4, 2]), np.random.default_rng(0))}
    return Work(tables, [[("a", 0), ("a", 1), ("a", 2), ("a", 3)]])


def test_the_bound_is_the_slots_of_padded_batches_for_each_token():
    assert padding(small(), 2, sort=False) == pytest.approx((2 * 8 + 2 * 4) / 16)
    assert padding(small(), 2, sort=True) == pytest.approx((2 * 2 + 2 * 8) / 16)


def test_rows_of_one_length_leave_packing_nothing_to_gain():
    assert padding(work(WORKS["W3"], steps=2, rows=64), 32, sort=False) == 1.0
    assert padding(work(WORKS["W1"], steps=2, rows=64), 32, sort=False) > 2.0


def test_a_ratio_is_the_median_over_pairs_with_an_interval_around_it():
    median, low, high = Pair([1.0, 2.0, 1.0], [2.0, 4.0, 3.0]).ratio()
    assert median == 2.0 and low <= median <= high and low >= 2.0 and high <= 3.0


@pytest.mark.parametrize(("got", "met"), [(0.96, True), (0.94, False)])
def test_a_row_is_met_when_its_median_reaches_the_must(got, met):
    assert row("R1", (got, 0.9, 1.0), 0.95, 1.05, "x")["met"] is met


@pytest.mark.parametrize(("got", "met"), [(1.09, True), (1.11, False)])
def test_a_cost_is_met_when_its_median_does_not_pass_the_must(got, met):
    assert row("R13", (got, 1.0, 1.2), 1.10, 1.04, "x", at_most=True)["met"] is met


def test_what_other_benches_measured_stands_with_their_dates():
    assert {found["id"] for found in weightings()} == {"R12", "R13", "R14"}
    (added,) = extension()
    assert added["met"] and "'isolate'" in added["measure"] and added["date"] < "2027"


def test_both_sides_of_the_pairs_have_the_same_texts():
    stated = pairs(2)
    batch = pack(stated.units(1), stated.tables, seed=0)
    texts = [text.tolist() for pair in stated.texts(1) for text in pair]
    assert [batch.tokens[a:b].tolist() for a, b in itertools.pairwise(batch.row_starts.tolist())] == texts


def test_sides_that_do_not_train_the_same_are_no_result():
    assert agreed(5e-7) == 5e-7
    with pytest.raises(AssertionError, match="apart"):
        agreed(1e-3)


def test_the_page_says_what_the_results_say():
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert page.split(START)[1].split(END)[0] == markdown(rows())
