"""A model whose tasks share rows is extended and refreshed by rehearsing: only what has rows of its own is drawn."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import trunkline
from shared_rows import CARDS, rows, write_joint
from trunkline.cli.app import main
from trunkline.document import reader
from trunkline.tasks.catalog import Catalog
from trunkline.workflows import strategies
from trunkline.workflows.strategies import Settings, drawn_tasks, planned, shares


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of `score`, with rows of `topic`, and of the joint task `talk`. Only to be read."""
    recipe = write_joint(tmp_path_factory.mktemp("shared"), rows(missing=0))
    project = recipe.parent.parent
    (project / "tasks" / "fresh").mkdir()
    card = CARDS["topic"].replace("name: topic", "name: fresh").replace("rows.jsonl", "../topic/rows.jsonl")
    (project / "tasks" / "fresh" / "card.yaml").write_text(card.lstrip())
    trunkline.train(recipe, in_process=True, overrides=["train.steps=2", "train.evaluate_every=null"])
    return project


def rates(project: Path) -> dict[str, float]:
    """Of the recipe that was made last."""
    made = max((project / ".trunkline" / "extend").glob("*/*.yaml"), key=lambda path: path.stat().st_mtime_ns)
    found: dict[str, float] = reader.read(made).data["sampling"]["rates"]
    return found


def test_replay_and_refresh_draw_hosts_alone(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = Path(shutil.copytree(trained, tmp_path / "project"))
    model = next(project.glob("outputs/shared-*/model"))
    asked = ["--in-process", "--steps", "2", "--protect", "*:-100", "--json"]
    new = ["--task", "fresh", "--task", "tags", "--strategy", "replay"]
    assert main(["extend", str(model), *new, *asked]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [row["task"] for row in report["old"]] == ["score", "talk_intent", "talk_slots"] and len(report["new"]) == 2
    assert rates(project) == {"talk_intent": 0.3, "fresh": 0.35, "score": 0.35}  # the new tags read the rows of score
    told = "".join(
        json.dumps({"words": row["words"], "label": row["label"] or "land"}) + "\n" for row in rows(count=12, missing=0)
    )
    (tmp_path / "new.jsonl").write_text(told)
    news = ["--task", "talk_intent", "--data", str(tmp_path / "new.jsonl")]
    assert main(["refresh", str(model), *news, *asked]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [row["task"] for row in report["old"]][:3] == ["score", "talk_intent", "talk_slots"]
    assert list(rates(project).values()) == [0.25, 0.25, 0.5] and list(rates(project))[:2] == ["score", "talk_intent"]


def drawn_law(trained: Path) -> bool:
    """Every rate is of a task that is drawn, and all that are drawn have one."""
    catalog, old, new = Catalog([trained / "tasks"]), ["score", "talk_intent", "talk_slots"], ["fresh", "tags"]
    plan = planned(["replay"], new, old, Settings(), drawn=strategies.drawn_tasks([*old, *new], catalog))
    return set(plan.changes["sampling"]["rates"]) == {"score", "talk_intent", "fresh"}


def test_rates_for_tasks_that_read_others_rows_are_caught(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn_law(trained)
    monkeypatch.setattr(strategies, "drawn_tasks", lambda tasks, _: {name: [name] for name in tasks})
    assert not drawn_law(trained)


def test_a_joint_entry_is_drawn_by_its_first_part_and_the_shares_add_up(trained: Path) -> None:
    drawn = drawn_tasks(["topic", "score", "talk"], Catalog([trained / "tasks"]))
    assert drawn == {"topic": ["topic"], "score": ["topic"], "talk": ["talk_intent"]}
    assert shares(["topic", "score"], ["talk"], 0.25, drawn) == {"topic": 0.25, "talk_intent": 0.75}
    assert shares(["topic"], ["score", "talk"], 0.25, drawn) == {"topic": 0.375, "talk_intent": 0.375}
