"""P9: the metrics of two ranks are those of one, bit for bit, when the rows do not divide evenly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import laws
from ranks import Ranks
from small_project import LINE
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


def test_it_tells_intervals_tables_and_leaks_beside_the_figures(finished: Path, capsys: Captured) -> None:
    told = ["evaluate", str(finished / "model"), "--json", "--draws", "40", "--worst", "2", "--linear", "--split", "validation"]
    assert main([*told, "--task", "topic", "--task", "score", "--task", "tags"]) == 0
    rows = {row["task"]: row for row in json.loads(capsys.readouterr().out)}
    for row in rows.values():
        for metric, value in row["metrics"].items():
            low, high = row["intervals"][metric]
            assert low <= value <= high or low == pytest.approx(value) or high == pytest.approx(value)
    topic, score, tags = rows["topic"], rows["score"], rows["tags"]
    counts = topic["confusion"]["counts"]
    assert sum(map(sum, counts)) == topic["rows"]
    assert (counts[0][0] + counts[1][1]) / topic["rows"] == pytest.approx(topic["metrics"]["accuracy"])
    assert topic["calibration"]["accuracy"] == pytest.approx(topic["metrics"]["accuracy"]) and score["calibration"] is None
    assert 0.5 < topic["linear"]["accuracy"] <= 1 and score["linear"]["spearman"] > 0 and tags["linear"] is None
    assert len(topic["worst"]) == 2 and topic["worst"][0]["wrongness"] >= topic["worst"][1]["wrongness"]
    assert topic["worst"][0]["target"][0] in ("water", "land") and set(topic["worst"][0]["text"].split()) <= set(LINE.split())
    # score keeps fewer of the same rows for validation than topic does, so some of topic's are rows that score learns from.
    assert [(leak["trained"], leak["of"]) for leak in topic["leaks"]] == [("score", topic["rows"])] and score["leaks"] == []


def test_for_people_it_is_a_table_with_intervals_and_leaks_are_warned_of(finished: Path, capsys: Captured) -> None:
    assert main(["evaluate", str(finished / "model"), "--task", "score", "--task", "topic", "--draws", "20", "--tables"]) == 0
    out, err = capsys.readouterr()
    assert "interval" in out.splitlines()[0] and " to " in out and "calibration error" in out and "true label" in out
    assert "warning: leak: " in err and "validation rows of topic stand in the training of score" in err


def test_a_model_is_not_told_apart_from_itself_and_another_one_is_compared_on_the_same_rows(
    finished: Path, capsys: Captured
) -> None:
    model = str(finished / "model")
    assert main(["evaluate", model, "--against", model, "--task", "topic", "--draws", "20", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    same = row["against"]["accuracy"]
    assert (same["difference"], same["p"], same["verdict"]) == (0, 1, "not told apart")
    assert main(["evaluate", model, "--against", model, "--task", "topic", "--draws", "20"]) == 0
    assert "not told apart 0 to 0" in capsys.readouterr().out


def test_models_of_other_tasks_are_not_compared(finished: Path, tmp_path: Path, capsys: Captured) -> None:
    from trunkline.workflows.surgery import without

    smaller = without(finished / "model", ["topic"], tmp_path / "smaller")
    place = ["--catalog", str(finished.parent.parent / "tasks")]
    assert main(["evaluate", str(finished / "model"), "--against", str(smaller), "--draws", "5", *place]) == 3
    assert "has no task 'topic', so the two can not be compared on it." in capsys.readouterr().err
    assert main(["evaluate", str(smaller), "--task", "topic", *place]) == 2
    assert main(["evaluate", str(smaller), "--task", "tags", "--split", "tset", *place]) == 2
    assert main(["evaluate", str(smaller), "--task", "tags", "--split", "test", *place]) == 3


def test_records_of_two_ranks_are_those_of_one_bit_for_bit_and_of_one_rank_alone_are_not(finished: Path) -> None:
    import numpy as np
    import torch

    from trunkline.build.evaluation import judged_task
    from trunkline.build.model import load_model
    from trunkline.evaluate import everything, measure
    from trunkline.metrics.bootstrap import Measured
    from trunkline.tasks.catalog import Catalog

    place = finished.parent.parent / "tasks"
    model = load_model(finished / "model")
    judged, _ = judged_task(model, "tags", Catalog([place]), place, "validation", lambda _: None)
    settings = {"tokens_per_pass": 40, "device": torch.device("cpu")}
    ranks = [list(measure(model.network, judged, rank=rank, world=3, **settings)) for rank in range(3)]
    whole = everything(model.network, judged, **settings)
    together = everything(model.network, judged, rank=1, world=3, gather=lambda own: [ranks[0], own, ranks[2]], **settings)
    assert len(whole.rows) % 3
    for name, record in whole.records.items():
        assert np.array_equal(record, together.records[name]), name
    assert not np.array_equal(Measured.of(ranks[0]).ids, whole.ids)


def test_predict_writes_a_json_line_for_each_row(finished: Path, tmp_path: Path, capsys: Captured) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "red river"}\nplain words\n')
    assert main(["predict", str(finished / "model"), str(rows), "--task", "topic"]) == 4  # mixed: row 0 is no plain text
    rows.write_text('{"text": "red river"}\n{"text": "old house"}\n')
    assert main(["predict", str(finished / "model"), str(rows), "--task", "topic"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [set(answer) >= {"label"} for answer in answers] == [True, True]
