"""A teacher's scores, from a column or from a model, reach the loss; bad ones are sentences."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import trunkline
from shared_rows import CARDS, change, rows, write_project
from trunkline.build.assemble import assemble
from trunkline.build.prepare import prepare
from trunkline.cli.app import main
from trunkline.config.recipe import load_recipe
from trunkline.losses.distillation import Distillation

Captured = pytest.CaptureFixture[str]
HEAD = "head: {kind: classification"


def project(folder: Path, teacher: str, more: str = "") -> Path:
    """Whole labels; the topic learns from a teacher too, whose probabilities stand in the column `scores`."""
    given = [{**row, "scores": [0.25, 0.75], "guess": 2.5} for row in rows(missing=0.0)]
    recipe = write_project(folder, given)
    change(folder, "topic", HEAD, f"teacher: {teacher}\n{more}{HEAD}")
    return recipe


def prepared(recipe: Path, *overrides: str) -> list[str]:
    run = recipe.parent / "run"
    run.mkdir(exist_ok=True)
    said: list[str] = []
    prepare(load_recipe(recipe, overrides), run, recipe.parent / "store", said.append)
    return said


def test_a_column_of_probabilities_becomes_logits_of_training_rows(tmp_path: Path) -> None:
    recipe = project(tmp_path, "{column: scores, form: probabilities}")
    prepared(recipe, "tasks=[topic]")
    built = assemble(recipe.parent / "run")
    scores = built.tables["topic"].rows.targets["teacher"]
    assert isinstance(scores, np.ndarray) and scores.shape == (len(built.tables["topic"].rows), 2)
    assert scores[0].tolist() == pytest.approx(np.log([0.25, 0.75]).tolist())
    assert "teacher" not in built.judged[0].table.rows.targets
    assert isinstance(built.objective._losses[0], Distillation)


def test_a_run_with_teachers_trains_and_its_tasks_may_share_rows(tmp_path: Path) -> None:
    recipe = project(tmp_path, "scores", "loss: {kind: distillation, share: 0.3, of: {kind: focal, gamma: 1.0}}\n")
    change(tmp_path, "score", "row_weight: trust", "row_weight: trust\nteacher: guess")
    result = trunkline.train(recipe, overrides=["train.steps=3"], in_process=True)
    assert all(row["value"] is not None for row in result.tasks)


def test_a_model_s_scores_are_its_own_and_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = write_project(tmp_path, rows(missing=0.0))
    teacher = trunkline.train(recipe, overrides=["tasks=[topic, score]", "train.steps=4"], in_process=True).model
    teacher.rename(tmp_path / "teacher")
    change(tmp_path, "topic", HEAD, f"teacher: {{model: ../../teacher}}\n{HEAD}")
    prepared(recipe, "tasks=[topic]")
    found = assemble(recipe.parent / "run").tables["topic"].rows.targets["teacher"]
    given = [json.loads(line) for line in (tmp_path / "tasks" / "topic" / "rows.jsonl").read_text().splitlines()]
    model = trunkline.load(tmp_path / "teacher")
    asked = model.scores("topic", given)
    assert isinstance(found, np.ndarray) and 0 < len(found) < len(given)
    assert {tuple(row) for row in np.round(found, 4).tolist()} <= {tuple(row) for row in np.round(asked, 4).tolist()}
    decoded = model.predict("topic", given[:1])[0]["probabilities"]
    assert list(decoded.values()) == pytest.approx((np.exp(asked[0]) / np.exp(asked[0]).sum()).tolist(), abs=1e-5)

    from trunkline.predict import Model

    monkeypatch.setattr(Model, "scores", None)  # would fail if asked again
    assert any("2 of 2 splits reused" in line for line in prepared(recipe, "tasks=[topic]"))


@pytest.mark.parametrize(
    ("teacher", "more", "code", "said"),
    [
        ("{column: scores, model: there}", "", 3, "a teacher is a column of scores, or the folder of a model"),
        ("{form: logits}", "", 3, "a teacher is a column of scores, or the folder of a model"),
        ("{column: scores, task: topic}", "", 3, "task names the task of a model. Give the model too."),
        ("{column: scores, form: logit}", "", 3, "Did you mean 'logits'?"),
        (
            "scores",
            "loss: focal\n",
            3,
            "loss 'focal' does not learn from a teacher. Write loss: {kind: distillation, of: focal}.",
        ),
        ("scores", "loss: {kind: distillation, of: mse}\n", 3, "loss 'mse' does not fit a classification task"),
        ("{model: there}", "", 3, "teacher: no model here: manifest.json is missing"),
        ("score", "", 4, "no column 'score'. Did you mean 'scores'?"),
        ("{column: guess}", "", 4, "has values that are no list of 2 scores, one for each label: 2.5"),
        ("{column: words}", "", 4, "has values that are no list of 2 scores"),
    ],
)
def test_what_is_no_teacher_is_told_with_its_place(
    teacher: str, more: str, code: int, said: str, tmp_path: Path, capsys: Captured
) -> None:
    recipe = project(tmp_path, teacher, more)
    assert main(["train", str(recipe), "--in-process", "-s", "tasks=[topic]"]) == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("scores", "said"), [([0.5, 0.6], "do not add up to 1"), ([1.5, -0.5], "no probabilities from 0 to 1")])
def test_probabilities_that_are_none_are_shown_with_their_row(
    scores: list[float], said: str, tmp_path: Path, capsys: Captured
) -> None:
    recipe = project(tmp_path, "{column: scores, form: probabilities}")
    file = tmp_path / "tasks" / "topic" / "rows.jsonl"
    file.write_text(file.read_text().replace("[0.25, 0.75]", str(scores)))
    assert main(["train", str(recipe), "--in-process", "-s", "tasks=[topic]"]) == 4
    found = capsys.readouterr().err
    assert said in found and "rows.jsonl:" in found


def test_a_kind_that_learns_from_no_teacher_and_a_teacher_of_other_labels_are_refused(tmp_path: Path, capsys: Captured) -> None:
    recipe = project(tmp_path, "scores")
    change(tmp_path, "tags", "target: tags", "target: tags\nteacher: scores")
    assert main(["train", str(recipe), "--in-process"]) == 3
    assert (
        "a tagging task learns from no teacher. Those that do: classification, multilabel, regression" in capsys.readouterr().err
    )
    (tmp_path / "tasks" / "tags" / "card.yaml").write_text(CARDS["tags"].lstrip())
    change(tmp_path, "topic", "teacher: scores\n", "")
    trunkline.train(recipe, overrides=["train.steps=1"], in_process=True).model.rename(tmp_path / "teacher")
    change(
        tmp_path, "topic", f"{HEAD}, labels: [water, land]", f"teacher: {{model: ../../teacher}}\n{HEAD}, labels: [land, water]"
    )
    assert main(["train", str(recipe), "--in-process"]) == 3
    assert "the teacher's 'topic' has labels ['water', 'land'], this task ['land', 'water']" in capsys.readouterr().err
    change(tmp_path, "topic", "../../teacher}", "../../teacher, task: topik}")
    assert main(["train", str(recipe), "--in-process"]) == 3
    assert "the model has no task 'topik'. Did you mean 'topic'?" in capsys.readouterr().err
