"""What a report tells of a run's data: counted from its rows, without a text unless asked, and without rows that are gone."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from trunkline.cli.app import main
from trunkline.launch.runs import RunFolder
from trunkline.report.data_card import sections
from trunkline.workflows.data_card import data_cards


@pytest.fixture(scope="module")
def run(small_model: Path) -> RunFolder:
    return RunFolder(small_model.parent)


@pytest.fixture
def copied(run: RunFolder, tmp_path: Path) -> RunFolder:
    """The same run, whose prepared.json may be changed."""
    shutil.copytree(run.path, tmp_path / "run", ignore=shutil.ignore_patterns("model", "checkpoints"))
    return RunFolder(tmp_path / "run")


def test_rows_labels_lengths_and_values_are_those_of_the_data(run: RunFolder) -> None:
    found = {card.task: card for card in data_cards(run)}
    rows = [json.loads(line) for line in (run.path.parents[1] / "tasks" / "topic" / "rows.jsonl").read_text().splitlines()]
    topic, score, tags = found["topic"].splits, found["score"].splits, found["tags"].splits
    assert sum(own.rows for own in topic.values()) == len(rows) == 160
    assert Counter(topic["train"].labels) + Counter(topic["validation"].labels) == Counter(row["label"] for row in rows)
    assert sum(tags["train"].labels.values()) + sum(tags["validation"].labels.values()) == sum(len(row["tags"]) for row in rows)
    assert sum(topic["train"].lengths.values) == pytest.approx(1) and len(topic["train"].lengths.steps) <= 24
    assert score["train"].labels == {} and sum(score["train"].values.values) == pytest.approx(1) and topic["train"].values is None
    assert (found["topic"].kind, found["topic"].examples) == ("classification", ())


def test_a_row_that_is_trained_on_elsewhere_is_leaked_and_one_that_is_not_is_none(copied: RunFolder) -> None:
    before = next(card for card in data_cards(copied) if card.task == "topic").splits["validation"]
    assert before.leaked_in == ["score"] and before.leaked < before.rows  # split apart: 21 % of the same texts, not 25 %
    prepared = json.loads(copied.prepared.read_text())
    prepared["splits"]["topic"]["validation"] = prepared["splits"]["score"]["train"]
    copied.prepared.write_text(json.dumps(prepared))
    planted = next(card for card in data_cards(copied) if card.task == "topic").splits["validation"]
    assert planted.leaked == planted.rows and "score" in planted.leaked_in
    (table, *_) = sections(data_cards(copied), "")
    assert any(f"{planted.rows:,} (" in row[-1] for row in table["table"]["rows"])


def test_tokenised_rows_that_are_gone_are_told(copied: RunFolder) -> None:
    prepared = json.loads(copied.prepared.read_text())
    prepared["splits"]["topic"] = {"train": str(copied.path / "nowhere.arrow")}
    copied.prepared.write_text(json.dumps(prepared))
    (table, *_) = sections(data_cards(copied), "")
    assert "The tokenised rows of topic are not at hand." in table["text"]
    assert main(["report", str(copied.path), "-o", str(copied.path / "r.html")]) == 0


def test_a_text_leaves_the_data_only_where_examples_are_asked_for(run: RunFolder, tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    assert main(["report", str(run.path), "-o", str(page)]) == 0
    without = page.read_text()
    assert main(["report", str(run.path), "-o", str(page), "--examples", "2"]) == 0
    text = next(card for card in data_cards(run, 1) if card.task == "topic").examples[0][0]
    assert "Training rows" not in without and text not in without and text in page.read_text()


def test_affinity_stands_beside_a_run_and_a_file_that_is_none_is_refused(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"tasks": ["a", "<b>"], "lookahead": [[1.0, -2.0], [0.5, 3.0]]}))
    place = ["report", str(run.path), "-o", str(tmp_path / "r.html"), "--affinity"]
    assert main([*place, str(tmp_path / "a.json")]) == 0
    assert "lookahead affinity" in (tmp_path / "r.html").read_text() and "<b>" not in (tmp_path / "r.html").read_text()
    for text, said in (("{}", "holds no `tasks`"), ("{", "can not be read")):
        (tmp_path / "bad.json").write_text(text)
        assert main([*place, str(tmp_path / "bad.json")]) in (3, 5) and said in capsys.readouterr().err
    assert main([*place, str(tmp_path / "none.json")]) == 3 and "no such file" in capsys.readouterr().err
