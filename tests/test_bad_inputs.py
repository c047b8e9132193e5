"""The 64 bad inputs end with their code and sentence and leave nothing; and the judge refuses what it must."""

from __future__ import annotations

from pathlib import Path

import pytest

from bad_inputs.project import CANARY, Case, Outcome, Project
from bad_inputs.recipes import RENDER
from bad_inputs.table import CASES, trained_once

FAST = [case for case in CASES if not case.slow]


@pytest.mark.parametrize("case", FAST, ids=lambda case: f"{case.row} {case.what}")
def test_a_bad_input_is_a_sentence_and_leaves_nothing(case: Case, tmp_path: Path) -> None:
    project = Project(tmp_path / "p", trained_once)
    outcome = case.act(project)
    assert case.faults(outcome, project) == [], outcome.said


def test_every_row_of_the_table_has_a_case() -> None:
    assert {case.row for case in CASES} == set(range(1, 65))


@pytest.mark.parametrize(
    ("outcome", "fault"),
    [
        (Outcome(0, "well said"), "exit code 0, not 3"),
        (Outcome(3, "something else"), "does not say"),
        (Outcome(3, "well said\nTraceback (most recent call last)"), "a traceback"),
        (Outcome(3, "well said", ["outputs/r-1/run.json"]), "left outputs/r-1/run.json"),
    ],
)
def test_an_outcome_that_is_off_is_found(outcome: Outcome, fault: str, tmp_path: Path) -> None:
    project = Project(tmp_path, trained_once)
    case = Case(1, "x", lambda p: outcome, 3, "well said")
    assert any(fault in found for found in case.faults(outcome, project))
    assert case.faults(Outcome(3, "well said"), project) == []


def test_a_command_that_touches_the_canary_is_found(tmp_path: Path) -> None:
    project = Project(tmp_path, trained_once)
    case = Case(12, "x", lambda p: p.run(*RENDER), 0, "seed")
    assert case.faults(case.act(project), project) == []
    outcome = project.shell(f"touch {CANARY}; echo seed")
    assert case.faults(outcome, project) == ["the canary was touched", f"left {CANARY}"]
