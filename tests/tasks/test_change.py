"""Adding, removing and starting cards: whole or not at all."""

from __future__ import annotations

import pytest

from trunkline.errors import ConfigError, UsageError
from trunkline.tasks.card import check_parts, load_card
from trunkline.tasks.catalog import Catalog
from trunkline.tasks.change import add_card, new_card, remove_card
from trunkline.tasks.skeleton import EXAMPLES

CARD = """\
name: mood   # kept
data: {format: csv, train: [train.csv, 'sub/more.csv'], validation: validation.csv, test: s3://bucket/t.csv}
inputs: [text]
target: score
head: {kind: regression}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "tasks").mkdir()
    source = tmp_path / "incoming" / "anything"
    source.mkdir(parents=True)
    (source / "card.yaml").write_text(CARD)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_added_card_reaches_its_data_from_its_new_place(project):
    added = add_card(project / "tasks", project / "incoming" / "anything")
    assert added.changed
    card = Catalog([project / "tasks"]).get("mood")
    assert card.text.startswith("name: mood   # kept\n")
    reached = [(card.folder / path).resolve() for split in ("train", "validation") for path in card.data.files()[split]]
    source = project / "incoming" / "anything"
    assert reached == [source / "train.csv", source / "sub" / "more.csv", source / "validation.csv"]
    assert card.data.files()["test"] == ["s3://bucket/t.csv"]
    assert added.data == reached


def test_a_card_from_outside_the_project_is_reached_by_its_full_path(project, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "card.yaml").write_text(CARD)
    add_card(project / "tasks", outside)
    assert load_card(project / "tasks" / "mood").data.files()["validation"] == [str(outside / "validation.csv")]


def test_adding_the_same_card_again_changes_nothing(project):
    source = project / "incoming" / "anything"
    add_card(project / "tasks", source)
    before = (project / "tasks" / "mood" / "card.yaml").stat()
    assert not add_card(project / "tasks", source).changed
    assert not add_card(project / "tasks", project / "tasks" / "mood").changed
    assert (project / "tasks" / "mood" / "card.yaml").stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize(("file", "text"), [("card.yaml", CARD.replace("regression", "contrastive")), ("plugin.py", "x = 1\n")])
def test_a_changed_card_of_the_same_name_is_refused_with_a_diff(project, file, text):
    source = project / "incoming" / "anything"
    add_card(project / "tasks", source)
    before = (project / "tasks" / "mood" / "card.yaml").read_text()
    (source / file).write_text(text)
    with pytest.raises(ConfigError) as caught:
        add_card(project / "tasks", source)
    message = str(caught.value)
    assert "another card named 'mood' is in the catalog" in message
    assert f"--- tasks/mood/{file}" in message
    assert "\n+" in message
    assert (project / "tasks" / "mood" / "card.yaml").read_text() == before


def test_a_wrong_card_is_not_added(project):
    (project / "incoming" / "anything" / "card.yaml").write_text(CARD.replace("regression", "regresion"))
    with pytest.raises(ConfigError, match="Did you mean 'regression'"):
        add_card(project / "tasks", project / "incoming" / "anything")
    assert list((project / "tasks").iterdir()) == []


def test_the_plugin_travels_with_its_card(project):
    (project / "incoming" / "anything" / "plugin.py").write_text("x = 1\n")
    add_card(project / "tasks", project / "incoming" / "anything")
    assert (project / "tasks" / "mood" / "plugin.py").read_text() == "x = 1\n"


def test_an_added_card_can_be_removed(project):
    path = add_card(project / "tasks", project / "incoming" / "anything").path
    remove_card(path)
    assert list((project / "tasks").iterdir()) == []


def test_data_beside_a_card_is_not_deleted_unasked(project):
    path = new_card(project / "tasks", "fresh", "regression")
    with pytest.raises(UsageError, match=r"also holds train.csv, validation.csv"):
        remove_card(path)
    assert path.is_file()
    remove_card(path, with_files=True)
    assert not path.parent.exists()


@pytest.mark.parametrize("kind", sorted(EXAMPLES))
def test_a_new_card_of_every_kind_is_sound(project, kind):
    path = new_card(project / "tasks", f"my_{kind}", kind)
    card = Catalog([project / "tasks"]).get(f"my_{kind}")
    check_parts(card)
    for files in card.data.files().values():
        assert all((path.parent / file).is_file() for file in files)


def test_a_new_card_of_an_unknown_kind_gets_the_nearest(project):
    with pytest.raises(UsageError, match="Did you mean 'tagging'"):
        new_card(project / "tasks", "x", "taging")
    assert list((project / "tasks").iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "a b", "CON", "", "x" * 300])
def test_a_new_card_needs_a_name(project, name):
    with pytest.raises(UsageError, match="is not a task name"):
        new_card(project / "tasks", name, "regression")


def test_a_new_card_replaces_nothing(project):
    new_card(project / "tasks", "x", "regression")
    with pytest.raises(UsageError, match="already there"):
        new_card(project / "tasks", "x", "regression")
