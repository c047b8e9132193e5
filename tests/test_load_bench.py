"""The bench of figures under load: every figure once, what was kept as it was kept, what was not run as that, and the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks.load.measures import ROOMS
from benchmarks.load.table import END, FIGURES, MEASURED, PAGE, START, markdown, rows
from benchmarks.load.training import WARM, slope

MACHINE = "a small one"


def kept(folder: Path, name: str, **more: Any) -> None:
    own = {"id": name, "figure": "f", "target": "t", "got": "3 of 3", "met": True, "date": "2026-01-02", "machine": MACHINE}
    (folder / f"{name}.json").write_text(json.dumps({**own, "command": f"c {name}", **more}))


def faults(folder: Path, **found: dict[str, Any]) -> Path:
    path = folder / "faults.json"
    whole = {"wrong": None, "seconds_to_recover": 40.0, "date": "2026-01-03T04:05:06+00:00"}
    path.write_text(json.dumps({"machine": MACHINE, "rows": {name: {**whole, **own} for name, own in found.items()}}))
    return path


def by_id(folder: Path, path: Path) -> dict[str, dict[str, Any]]:
    return {own["id"]: own for own in rows(folder, path)}


def test_every_figure_that_is_measured_here_has_one_room() -> None:
    assert sorted(name for names in ROOMS.values() for name in names) == sorted(MEASURED)
    assert list(FIGURES) == [f"L{number}" for number in range(1, 19)]


def test_a_figure_is_shown_as_it_was_kept_and_one_that_was_not_run_as_that(tmp_path: Path) -> None:
    kept(tmp_path, "L3")
    kept(tmp_path, "L5", met=False, note="too few draws")
    lines = markdown(rows(tmp_path, tmp_path / "none")).splitlines()[2:]
    assert len(lines) == 18
    assert lines[2] == f"| L3 | f | t | 3 of 3 | yes | 2026-01-02 | {MACHINE} | `c L3` |"
    assert "| 3 of 3. too few draws | no |" in lines[4]
    assert "| not run | not run |" in lines[13] and lines[13].endswith("| `make soak MINUTES=120` |")


def test_steps_lost_are_met_only_with_a_sigterm_among_the_faults(tmp_path: Path) -> None:
    killed = {"F3": {"steps_lost": 5}}
    own = by_id(tmp_path, faults(tmp_path, **killed))["L16"]
    assert own["met"] is None and own["date"] == "2026-01-03" and "SIGTERM: not run" in own["got"]
    assert by_id(tmp_path, faults(tmp_path, **killed, F8={"steps_lost": 0}))["L16"]["met"] is True


@pytest.mark.parametrize(("name", "lost"), [("F3", 6), ("F8", 1)])
def test_a_step_lost_too_many_is_no(tmp_path: Path, name: str, lost: int) -> None:
    assert by_id(tmp_path, faults(tmp_path, **{name: {"steps_lost": lost}}))["L16"]["met"] is False


def test_a_fault_that_did_not_end_as_it_must_counts_for_nothing(tmp_path: Path) -> None:
    found = by_id(tmp_path, faults(tmp_path, F1={"wrong": "hung", "steps_lost": 0}))
    assert found["L15"]["got"] == found["L16"]["got"] == "not run"


@pytest.mark.parametrize(("seconds", "met"), [(44.0, True), (46.0, False)])
def test_a_recovery_is_met_within_45_seconds(tmp_path: Path, seconds: float, met: bool) -> None:
    found = by_id(tmp_path, faults(tmp_path, F1={"steps_lost": 0}, F2={"steps_lost": 0, "seconds_to_recover": seconds}))
    assert found["L15"]["met"] is met


def test_the_slope_is_of_what_comes_after_the_warm_up() -> None:
    steps = list(range(0, 2001, 100))
    assert slope(steps, [100.0 + 50 * (step <= WARM) for step in steps]) == pytest.approx(0)
    assert slope(steps, [100.0 + 0.002 * step for step in steps]) == pytest.approx(2)


def test_the_page_is_of_what_is_kept() -> None:
    shown = PAGE.read_text(encoding="utf-8").split(START)[1].split(END)[0]
    assert shown == markdown(rows()), "run `python -m benchmarks.load --no-measure`"
