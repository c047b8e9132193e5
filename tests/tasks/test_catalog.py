"""The catalog: cards by name, listed fast, never confused."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.document import reader
from trunkline.errors import ConfigError, TrunklineError
from trunkline.tasks.catalog import Catalog, catalog_for, nearest_folder
from trunkline.tasks.glance import at_a_glance

CARD = """\
name: {name}
summary: Is it so?
data: {{format: csv, train: a.csv}}
inputs: [text]
target: y
head: {{kind: regression}}
"""


def put(folder, name, text=CARD):
    path = folder / name / "card.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text.format(name=name), encoding="utf-8")
    return path


def test_cards_are_found_by_their_folder_name(tmp_path):
    put(tmp_path, "b")
    put(tmp_path, "a")
    (tmp_path / "notes").mkdir()
    catalog = Catalog([tmp_path])
    assert catalog.names() == ["a", "b"]
    assert catalog.get("b").name == "b"


def test_a_name_that_is_not_there_gets_the_nearest(tmp_path):
    put(tmp_path, "sentiment")
    with pytest.raises(ConfigError, match=r"r.yaml:3:9: tasks.0: no task named 'sentimant'. Did you mean 'sentiment'?"):
        Catalog([tmp_path]).get("sentimant", where="r.yaml:3:9: tasks.0")
    with pytest.raises(ConfigError, match=r"no task named '../sentiment'"):
        Catalog([tmp_path]).get("../sentiment")


def test_an_empty_catalog_says_so(tmp_path):
    with pytest.raises(ConfigError, match="is empty"):
        Catalog([tmp_path]).get("x")


def test_one_name_in_two_folders_is_refused(tmp_path):
    put(tmp_path / "one", "a")
    put(tmp_path / "two", "a")
    catalog = Catalog([tmp_path / "one", tmp_path / "two"])
    for ask in (catalog.names, catalog.list, lambda: catalog.get("a")):
        with pytest.raises(ConfigError, match="task 'a' stands in two catalogs"):
            ask()


def test_one_folder_named_twice_is_one_folder(tmp_path):
    put(tmp_path, "a")
    assert Catalog([tmp_path, tmp_path / "." / ""]).names() == ["a"]


def test_a_card_in_a_folder_of_another_name_is_refused(tmp_path):
    put(tmp_path, "a").write_text(CARD.format(name="b"))
    with pytest.raises(ConfigError, match="'b' lies in a folder named 'a'"):
        Catalog([tmp_path]).get("a")
    assert "its name is 'b' but its folder 'a'" in str(Catalog([tmp_path]).list()[0].problem)


def test_a_broken_card_is_listed_with_its_problem_beside_the_others(tmp_path):
    put(tmp_path, "good")
    put(tmp_path, "bad", "name: [\n")
    bad, good = Catalog([tmp_path]).list()
    assert bad.problem is not None and "not YAML" in bad.problem
    assert (good.kind, good.summary, good.problem) == ("regression", "Is it so?", None)


def test_listing_runs_no_plugin(tmp_path):
    (put(tmp_path, "a").parent / "plugin.py").write_text("raise RuntimeError")
    assert Catalog([tmp_path]).list()[0].problem is None


def test_a_thousand_cards_list_in_half_a_second(tmp_path):
    for number in range(1000):
        put(tmp_path, f"task_{number}")
    begin = time.process_time()
    found = Catalog([tmp_path]).list()
    assert time.process_time() - begin < 0.5
    assert len(found) == 1000
    assert all(line.kind == "regression" and line.problem is None for line in found)


def test_the_nearest_tasks_folder_above_the_recipe_is_its_catalog(tmp_path):
    put(tmp_path / "tasks", "a")
    recipe = tmp_path / "recipes" / "deep" / "r.yaml"
    recipe.parent.mkdir(parents=True)
    assert nearest_folder(recipe.parent) == tmp_path / "tasks"
    assert catalog_for(recipe, None).names() == ["a"]


def test_a_recipes_own_catalog_is_relative_to_it(tmp_path):
    put(tmp_path / "cards", "a")
    (tmp_path / "recipes").mkdir()
    assert catalog_for(tmp_path / "recipes" / "r.yaml", ["../cards"]).names() == ["a"]
    with pytest.raises(ConfigError, match=r"r.yaml:4:1: catalog: no catalog folder"):
        catalog_for(tmp_path / "r.yaml", ["nowhere"], where="r.yaml:4:1: catalog")


PIECES = [
    "name: a",
    "name: 'a'",
    "name: null",
    "summary: It is so",
    "summary: a: b",
    "summary: |",
    "  text",
    "summary: yes # no",
    "head:",
]
PIECES += [
    "  kind: tagging",
    "  kind: x # y",
    "head: {kind: contrastive}",
    "head: contrastive",
    "head: {labels: [a, b], kind: c}",
    "head: {kind: a,",
]
PIECES += [
    "  labels: [a]}",
    "head: {kind: [a]}",
    "data: {format: csv}",
    "data: [",
    "]",
    "x: 'it",
    "# c",
    "",
    "inputs: [a, b]",
    "---",
    "\tx: 1",
]
PIECES += [
    "head: &h {kind: a}",
    "head: {kind: null}",
    "head: {kind: a} x",
    "summary: true",
    "summary: 1e3",
    "head: !t {kind: a}",
    "  kind: a",
]


@given(st.lists(st.sampled_from(PIECES), max_size=7))
def test_a_glance_sees_what_the_yaml_reader_sees(lines):
    text = "\n".join(lines) + "\n"
    glance = at_a_glance(text)
    if glance is None:
        return
    try:
        data = reader.parse(text, "f").data
    except TrunklineError:
        return  # a glance may overlook what is broken elsewhere; `get` and `check` do not
    head = data["head"]
    assert glance == (data["name"], head["kind"] if isinstance(head, dict) else head, data.get("summary"))


def test_the_catalog_loads_no_torch():
    code = (
        "import sys, trunkline.tasks.catalog, trunkline.tasks.change, trunkline.config.recipe; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, check=False).returncode == 0
