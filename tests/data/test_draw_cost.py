"""What a draw and a restore cost, in Python calls and bytes: no clock, so no quiet machine is needed.

Issue 5 wants 200,000 draws a second over 64 tasks and 100 million rows; docs/decisions/0040 tells what was measured. What can be
lost without a clock noticing is that cost stops depending on rows or tasks, or that draws are decided one by one.
"""

from __future__ import annotations

import json
import sys
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from trunkline.data import stream as streams
from trunkline.data.stream import Stream
from trunkline.sampling.base import Horizon
from trunkline.sampling.temperature import Temperature

SMALL, MANY_TASKS, MANY_ROWS = (2, 10_000), (64, 10_000), (2, 1_500_000)  # rows beyond a million are ordered page by page


def flow(tasks: int, rows: int) -> Stream:
    sizes = {f"task {number}": np.broadcast_to(np.int32(8), (rows,)) for number in range(tasks)}
    sampler = Temperature(dict.fromkeys(sizes, rows), Horizon(1000, 8_192, dict.fromkeys(sizes, 8.0)), temperature=2.0)
    return Stream(sizes, sampler, seed=1, tokens_per_step=8_192, unit_limit=8_192)


def calls(work: Callable[[], object]) -> int:
    """Of Python and C functions."""
    counted = 0

    def count(_frame: object, event: str, _given: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return counted


def calls_per_draw(drawn: Stream) -> float:
    drawn.next_step(1)
    before = drawn.draws
    counted = calls(lambda: drawn.next_step(2))
    return counted / (drawn.draws - before)


def test_a_draw_costs_two_calls_however_many_tasks_and_rows_there_are() -> None:
    few = calls_per_draw(flow(*SMALL))
    assert few < 2
    assert calls_per_draw(flow(*MANY_TASKS)) < 1.1 * few + 0.1
    assert calls_per_draw(flow(*MANY_ROWS)) < 1.1 * few + 0.1


def test_draws_decided_one_by_one_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "BLOCK", 1)
    assert calls_per_draw(flow(*SMALL)) > 20


def restored(tasks: int, rows: int, steps: int) -> tuple[int, int]:
    """Calls and bytes of restoring what was drawn in `steps` steps."""
    before, after = flow(tasks, rows), flow(tasks, rows)
    for step in range(1, steps + 1):
        before.next_step(step)
    state = json.loads(json.dumps(before.state()))
    tracemalloc.start()
    counted = calls(lambda: after.load_state(state))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert after.cursors == before.cursors
    return counted, peak


def test_a_restore_costs_the_same_however_many_rows_there_are_or_were_drawn() -> None:
    counted, peak = restored(*SMALL, steps=1)
    assert peak < 10_000  # less than a byte a row
    assert restored(*SMALL, steps=8)[0] == counted
    many, bytes_ = restored(*MANY_ROWS, steps=1)
    assert many == counted and bytes_ < 10_000


def test_a_restore_that_draws_again_what_was_drawn_is_rejected() -> None:
    counted, _ = restored(*SMALL, steps=1)
    again = flow(*SMALL)
    assert calls(lambda: [again.next_step(step) for step in range(1, 9)]) > 100 * counted
