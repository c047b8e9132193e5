"""`trunkline refresh`: new rows and corrections, the drift verdict, the gate against poisoned labels, the same data again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import trunkline
from extended import hashes
from small_project import write_project
from trunkline.cli.app import main
from trunkline.workflows.line import Line

ROWS = 60


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project of a finished run of two tasks, long enough that topic is learned. Only to be read."""
    recipe = write_project(tmp_path_factory.mktemp("refresh"))
    trunkline.train(recipe, in_process=True, overrides=["tasks=[topic, score]", "train.steps=60", "optim.lr=1e-2"])
    return recipe.parent.parent


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "project"))


def rows(project: Path, fault: str = "", first: int = 0) -> Path:
    """New rows of the topic task: the old ones with their words in another order."""
    lines = (project / "tasks" / "topic" / "rows.jsonl").read_text().splitlines()[first : first + ROWS]
    made: list[dict[str, Any]] = []
    for line in map(json.loads, lines):
        text, label = " ".join(sorted(line["words"])), line["label"]
        if fault == "poisoned":
            label = "land" if label == "water" else "water"
        if fault == "shifted":
            text, label = "wind wind wind glass glass glass " + text, "water"
        made.append(
            {"text": text, "predicted": "land", "right": label} if fault == "corrections" else {"text": text, "label": label}
        )
    path = project / f"new{fault}{first}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


def refresh(project: Path, data: Path, *arguments: str) -> int:
    line = project / "models" / "main"
    model = line if Line(line).exists else next(project.glob("outputs/small-*/model"))
    given = ["--task", "topic", "--data", str(data), "--line", str(line), "--in-process", "--json", *arguments]
    return main(["refresh", str(model), *given])


def lineage(report: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(report["model"]) / "manifest.json").read_text())["lineage"]
    return found


def test_corrections_become_the_current_model_and_the_same_again_changes_nothing(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = rows(project, "corrections")
    assert refresh(project, data, "--steps", "4", "--protect", "*:-100") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["rows"] == ROWS and 0 < report["corrected"] < 1
    assert [row["task"] for row in report["old"]] == ["topic", "score", "topic (new rows)"]
    current = Line(project / "models" / "main").current
    assert list(trunkline.load(current).tasks) == ["topic", "score"]
    assert refresh(project, data, "--steps", "4", "--protect", "*:-100") == 0
    assert json.loads(capsys.readouterr().out)["already"]
    assert Line(project / "models" / "main").current == current
    # The next refresh rehearses and measures what the one before taught.
    assert refresh(project, rows(project, first=80), "--steps", "2", "--protect", "*:-100") == 0
    second = json.loads(capsys.readouterr().out)
    taught = second["earlier"][0]
    assert [row["task"] for row in second["old"]][2:] == [f"topic (rows of {taught[-10:]})", "topic (new rows)"]
    assert all(row["rows"] > 0 and row["change"] is not None for row in second["old"])
    assert taught in lineage(second)["cards"] and lineage(second)["aside"] == [taught, second["news"]]
    assert report["news"] == taught and report["held_out"] == second["old"][2]["rows"]
    # So does an extension that rehearses.
    line = str(project / "models" / "main")
    asked = ["--strategy", "replay", "--steps", "2", "--protect", "*:-100", "--in-process", "--json"]
    assert main(["extend", line, "--task", "tags", *asked]) == 0
    third = json.loads(capsys.readouterr().out)
    assert [row["task"] for row in third["old"]][2:] == [f"topic (rows of {name[-10:]})" for name in (taught, second["news"])]
    assert lineage(third)["aside"] == [taught, second["news"]] and {taught, second["news"]} <= lineage(third)["cards"].keys()


def test_poisoned_labels_are_stopped_by_the_gate_and_shifted_rows_are_told(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    poisoned = ("--steps", "40", "-s", "optim.lr=1e-2", "-s", "optim.head_lr=5e-2", "--share", "0.05", "--protect", "topic:-1")
    assert refresh(project, rows(project, "poisoned"), *poisoned) == 9
    report = json.loads(capsys.readouterr().out)
    assert "topic" in report["broken"] and "labels" not in report["broken"]
    before = Line(project / "models" / "main").current
    assert refresh(project, rows(project, "shifted"), "--steps", "2", "--protect", "*:-100") == 0
    report = json.loads(capsys.readouterr().out)
    assert {"labels", "lengths", "vocabulary"} <= set(report["shifted"])
    assert Line(project / "models" / "main").current != before


@pytest.mark.slow
def test_ten_refreshes_one_after_another_keep_the_promise(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(10):
        assert refresh(project, rows(project, first=number * 10), "--steps", "4", "--protect", "*:-60") == 0
        capsys.readouterr()
    line = Line(project / "models" / "main")
    assert len(line.versions()) == line.keep and len(line.history()) == 11


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("", 4, "0 rows are too few"),
        ('{"text": "a river", "label": "fire"}\n' * 12, 4, "no label"),
        ('{"text": "a river", "right": "fire", "predicted": "land"}\n' * 12, 4, "no label"),
        ('{"text": "a river"}\n' * 12, 4, "has no 'label'"),
        ('{"words": ["a"], "label": "land"}\n' * 12, 4, "has no 'text'"),
        ("nothing\n" * 12, 4, "is no JSON object"),
        ('{"text": "a river", "label": "land"}\n' * 12, 4, "all rows read alike"),
    ],
)
def test_rows_that_can_not_be_used_change_nothing(
    project: Path, capsys: pytest.CaptureFixture[str], text: str, code: int, said: str
) -> None:
    data, before = project / "bad.jsonl", hashes(project / "outputs")
    data.write_text(text)
    assert refresh(project, data) == code
    out = json.loads(capsys.readouterr().out)
    assert said in out["error"]["message"] and "bad.jsonl" in str(out["error"]["where"])
    assert hashes(project / "outputs") == before and not (project / "models").exists()


def test_a_task_the_model_does_not_have_is_a_sentence(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = next(project.glob("outputs/small-*/model"))
    assert main(["refresh", str(model), "--task", "tpoic", "--data", str(rows(project)), "--json"]) == 3
    assert "Did you mean 'topic'" in capsys.readouterr().out
