"""Several monitors as one."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from trunkline.monitor.group import Group
from trunkline.monitor.jsonl import Jsonl


class Fragile:
    """A third party's monitor that fails where told to."""

    def __init__(self, fails_at: str) -> None:
        self.fails_at = fails_at
        self.calls: list[str] = []

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name == self.fails_at:
            raise RuntimeError(f"{name} is broken")

    def log(self, step, values) -> None:
        self._called("log")

    def event(self, name, **details) -> None:
        self._called("event")

    def close(self, *, failed=False) -> None:
        self._called("close")


@pytest.mark.parametrize("fails_at", ["log", "event", "close"])
def test_one_that_raises_is_switched_off_and_the_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fails_at: str
) -> None:
    fragile = Fragile(fails_at)
    group = Group([fragile, Jsonl(tmp_path)])
    with caplog.at_level(logging.WARNING):
        for step in range(3):
            group.log(step, {"train/lr": 0.1})
            group.event("saved", step=step)
        group.close()
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [0, 1, 2]
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [event["step"] for event in events if event["event"] == "saved"] == [0, 1, 2]
    assert [event["error"] for event in events if event["event"] == "monitor_failed"] == [f"RuntimeError: {fails_at} is broken"]
    assert fragile.calls.count(fails_at) == 1
    assert fragile.calls[-1] == "close"
    assert [record.getMessage() for record in caplog.records] == [
        f"monitor Fragile failed and is switched off, training goes on: RuntimeError: {fails_at} is broken"
    ]


def test_two_that_fail_on_each_others_failure_end_the_matter() -> None:
    first, second = Fragile("event"), Fragile("event")
    group = Group([first, second])
    group.event("start")
    group.event("end")
    assert (first.calls, second.calls) == (["event"], ["event"])


def test_an_interrupt_is_not_swallowed() -> None:
    class Interrupted(Fragile):
        def log(self, step, values) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Group([Interrupted("")]).log(1, {})
