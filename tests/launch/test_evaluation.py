"""P9: the metrics of two ranks are those of one, bit for bit, when the rows do not divide evenly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import laws
from ranks import Ranks
from trunkline.cli.app import main

Found = dict[str, dict[str, float]]
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def evaluated(
    finished: Path,
) -> Iterator[tuple[dict[str, dict[str, float]], list[dict[str, dict[str, float]]], list[dict[str, float]]]]:
    """Metrics of one rank, of each of two ranks, and of each rank's own rows alone."""
    ranks = {1: Ranks(1), 2: Ranks(2)}
    alone = ranks[1](laws.evaluate_run, str(finished))[0]
    together = ranks[2](laws.evaluate_run, str(finished))
    apart = ranks[2](laws.evaluate_run, str(finished), fault="each rank its own")
    yield alone, together, apart
    for held in ranks.values():
        held.close()


def test_two_ranks_measure_what_one_does_to_the_last_bit(evaluated: tuple[Found, list[Found], list[Found]]) -> None:
    alone, together, _ = evaluated
    assert list(alone) == ["topic", "score", "tags", "answer", "words"]
    for found in together:
        for task, metrics in alone.items():
            assert found[task] == pytest.approx(metrics, abs=1e-6), task


def test_an_average_of_the_ranks_metrics_is_rejected(evaluated: tuple[Found, list[Found], list[Found]]) -> None:
    alone, _, apart = evaluated
    averaged = {task: {m: (apart[0][task][m] + apart[1][task][m]) / 2 for m in alone[task]} for task in alone}
    wrong = [task for task in averaged if averaged[task] != pytest.approx(alone[task], abs=1e-6)]
    assert len(wrong) >= 4


def test_the_command_measures_every_row_and_agrees_with_the_run(finished: Path, capsys: Captured) -> None:
    assert main(["evaluate", str(finished / "model"), "--json"]) == 0
    measured = {row["task"]: row for row in json.loads(capsys.readouterr().out)}
    in_run = {row["task"]: row for row in json.loads((finished / "result.json").read_text())["tasks"]}
    assert measured.keys() == in_run.keys()
    for task, row in measured.items():
        assert row["value"] == pytest.approx(in_run[task]["value"], abs=1e-5)
        assert row["baseline"] == pytest.approx(in_run[task]["baseline"])


def test_a_card_that_changed_since_training_is_refused(finished: Path, tmp_path: Path, capsys: Captured) -> None:
    import shutil

    shutil.copytree(finished.parent.parent / "tasks", tmp_path / "tasks")
    card = tmp_path / "tasks" / "topic" / "card.yaml"
    card.write_text(card.read_text().replace("[water, land]", "[land, water]"))
    assert main(["evaluate", str(finished / "model"), "--task", "topic", "--catalog", str(tmp_path / "tasks")]) == 3
    assert "has changed since the model was trained" in capsys.readouterr().err


def test_predict_writes_a_json_line_for_each_row(finished: Path, tmp_path: Path, capsys: Captured) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "red river"}\nplain words\n')
    assert main(["predict", str(finished / "model"), str(rows), "--task", "topic"]) == 4  # mixed: row 0 is no plain text
    rows.write_text('{"text": "red river"}\n{"text": "old house"}\n')
    assert main(["predict", str(finished / "model"), str(rows), "--task", "topic"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [set(answer) >= {"label"} for answer in answers] == [True, True]
