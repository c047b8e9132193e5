"""The commands that make, list, show and check files, as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trunkline.cli.app import main
from trunkline.config.recipe import load_recipe
from trunkline.tasks.card import check_parts
from trunkline.tasks.catalog import Catalog, catalog_for


@pytest.fixture
def project(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["init", "shop"]) == 0
    monkeypatch.chdir(tmp_path / "shop")
    capsys.readouterr()
    return tmp_path / "shop"


def test_init_writes_a_project_whose_files_are_all_sound(project):
    recipe = load_recipe(project / "recipes" / "first.yaml")
    catalog = catalog_for(project / "recipes" / "first.yaml", recipe.catalog)
    assert [use.task for use in recipe.tasks] == catalog.names() == ["topic", "urgency"]
    for name in catalog.names():
        card = catalog.get(name)
        check_parts(card)
        for files in card.data.files().values():
            rows = [line for file in files for line in (card.folder / file).read_text().splitlines()]
            assert len(rows) > 10


def test_init_gives_no_text_to_both_splits(project):
    for task in ("topic", "urgency"):
        train, validation = (
            set((project / "tasks" / task / f"{split}.csv").read_text().splitlines()[1:]) for split in ("train", "validation")
        )
        assert not train & validation
        assert len(train) + len(validation) == 60


def test_init_writes_into_an_empty_folder_but_never_over_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["init", "."]) == 0
    assert Path("recipes/first.yaml").is_file()
    capsys.readouterr()
    assert main(["init", "."]) == 2
    assert "is not empty" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["with space", "émoji 🌱", "; touch x", "$(id)"])
def test_init_takes_the_name_as_it_is(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert main(["init", name]) == 0
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_list_shows_every_card_as_text_and_as_json(project, capsys):
    assert main(["task", "list"]) == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["topic", "classification"],
        ["urgency", "regression"],
    ]
    assert main(["task", "list", "--json"]) == 0
    assert [line["path"] for line in json.loads(capsys.readouterr().out)] == ["tasks/topic/card.yaml", "tasks/urgency/card.yaml"]


def test_list_warns_of_a_broken_card_and_shows_the_rest(project, capsys):
    Path("tasks/topic/card.yaml").write_text("name: [")
    assert main(["task", "list"]) == 0
    out, err = capsys.readouterr()
    assert "urgency" in out
    assert "warning: tasks/topic/card.yaml:1:" in err


def test_show_prints_the_card_as_it_stands(project, capsys):
    assert main(["task", "show", "topic"]) == 0
    assert capsys.readouterr().out == Path("tasks/topic/card.yaml").read_text()
    assert main(["task", "show", "tasks/topic", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["head"]["labels"] == ["billing", "delivery", "technical"]


def test_a_task_is_made_added_elsewhere_and_removed(project, capsys):
    assert main(["task", "new", "mood", "--kind", "regression"]) == 0
    Path("other").mkdir()
    assert main(["task", "add", "tasks/mood", "--catalog", "other"]) == 0
    assert "data files stay where they are" in capsys.readouterr().err
    assert main(["task", "add", "tasks/mood", "--catalog", "other"]) == 0
    assert "nothing changed" in capsys.readouterr().err
    assert Catalog(["other"]).get("mood").data.files()["train"] == ["../../tasks/mood/train.csv"]
    assert main(["task", "remove", "mood", "--catalog", "other"]) == 0
    assert main(["task", "remove", "mood"]) == 2
    assert main(["task", "remove", "mood", "--with-files"]) == 0
    assert Catalog(["tasks"]).names() == ["topic", "urgency"]


def test_outside_a_project_the_remedy_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["task", "list"]) == 2
    assert "pass --catalog FOLDER" in capsys.readouterr().err


def test_check_refuses_a_wrong_card_before_it_reads_rows(project, capsys):
    card = Path("tasks/topic/card.yaml")
    card.write_text(card.read_text().replace("classification", "clasification"))
    assert main(["task", "check", "topic"]) == 3
    assert "Did you mean 'classification'?" in capsys.readouterr().err


@pytest.mark.parametrize("task", ["topic", "urgency"])
def test_check_reports_on_a_sound_card(project, capsys, task):
    assert main(["task", "check", task]) == 0
    out, err = capsys.readouterr()
    assert out.strip()
    assert f"task '{task}' is sound." in err


def test_render_prints_a_recipe_that_loads_again(project, capsys):
    assert main(["config", "render", "recipes/first.yaml", "-s", "train.steps=5"]) == 0
    Path("again.yaml").write_text(capsys.readouterr().out)
    assert load_recipe("again.yaml").train.steps == 5
    assert main(["config", "render", "recipes/first.yaml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["train"]["steps"] == 100


@pytest.mark.parametrize(("override", "code"), [("train.steps", 2), ("=1", 2), ("tasks[9].w=1", 2), ("train.stpes=1", 3)])
def test_a_broken_override_ends_with_its_code(project, capsys, override, code):
    assert main(["config", "render", "recipes/first.yaml", "-s", override]) == code
    assert f"error: -s {override}: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "said"),
    [("nowhere.yaml", "no such file"), ("recipes", "is a folder"), ("recipes/frist.yaml", "Did you mean 'recipes/first.yaml'?")],
)
def test_a_recipe_that_can_not_be_read_ends_with_3(project, capsys, path, said):
    assert main(["config", "render", path]) == 3
    err = capsys.readouterr().err
    assert err.startswith(f"error: {path}: ")
    assert said in err


@pytest.mark.parametrize("file", ["recipe", "card"])
def test_schemas_are_printed_as_json(capsys, file):
    assert main(["config", "schema", file]) == 0
    assert json.loads(capsys.readouterr().out)["type"] == "object"


def test_parts_are_listed_by_room(capsys):
    assert main(["parts", "weightings", "--json"]) == 0
    (found,) = [line for line in json.loads(capsys.readouterr().out) if line["name"] == "uncertainty"]
    assert found["summary"].startswith("Learn a log-variance") and {**found, "summary": ""} == {
        "room": "weightings",
        "name": "uncertainty",
        "kind": "weighting",
        "source": "trunkline",
        "file": "trunkline/weighting/uncertainty.py",
        "summary": "",
    }
