"""Labels that are added do not switch the gate off: an old task is measured on the labels it had."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from extended import extend
from trunkline.build.task import open_source
from trunkline.data.sources.base import Source
from trunkline.tasks.catalog import Catalog
from trunkline.workflows import judging

ASKED = ("--task", "answer", "--strategy", "replay", "--json", "--protect")


def grow(project: Path) -> int:
    """Adds `fire` to the labels of topic, and gives it every fifth row; how many of its validation rows have an old label."""
    card, data = (project / "tasks" / "topic" / name for name in ("card.yaml", "rows.jsonl"))
    card.write_text(card.read_text().replace("[water, land]", "[fire, water, land]"))
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    told = [{**row, "label": row["label"] if number % 5 else "fire"} for number, row in enumerate(rows)]
    data.write_text("".join(json.dumps(row) + "\n" for row in told))
    catalog = Catalog([project / "tasks"])
    labels = [
        label for chunk in open_source(catalog.get("topic"), catalog).read("validation") for label in chunk.columns["label"]
    ]
    assert "fire" in labels
    return sum(label != "fire" for label in labels)


def test_a_promise_holds_for_a_task_whose_labels_grew(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = grow(project)
    assert extend(project, *ASKED, "topic:90,*:-100") == 9
    report = json.loads(capsys.readouterr().out)
    topic = report["old"][0]
    assert report["broken"] == ["topic"] and topic["task"] == "topic" and topic["rows"] == rows
    assert 0 <= topic["before"] <= 1 and topic["change"] == pytest.approx(100 * (topic["after"] - topic["before"]))
    assert extend(project, *ASKED, "*:-100") == 0
    capsys.readouterr()
    # Measured on all rows, the old model would be asked for labels it does not have.
    monkeypatch.setattr(judging, "Known", _everything)
    assert extend(project, *ASKED, "*:-100") == 4


def _everything(source: Source, *_: object) -> Source:
    return source
