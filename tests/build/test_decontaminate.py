"""`decontaminate: true` in a recipe, seen through the preparation of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trunkline.build.prepare import prepare
from trunkline.config.recipe import load_recipe

RECIPE = """
decontaminate: {decontaminate}
trunk: {{kind: transformer, hidden_size: 16, layers: 1, heads: 2}}
tokenizer: {{kind: wordpiece, vocab_size: 60}}
tasks: [one, two]
train: {{steps: 2, tokens_per_step: 64, max_length: 16}}
"""
CARD = """
name: {name}
data: {{format: fields, names: [label, text], train: train.txt, validation: validation.txt, test: test.txt}}
inputs: [text]
target: label
head: {{kind: classification, labels: [0, 1]}}
"""
SPLITS = {
    "one": {
        "train": "0 red house\n1 blue river\n0 stone bread\n",
        "validation": "1 cold wind\n",
        "test": "0 warm light\n1 paper\n",
    },
    "two": {
        "train": "1 Warm light !\n0 glass\n1 quick train\n1 slow\n",
        "validation": "0 old\n",
        "test": "0 slow\n1 blue  River\n",
    },
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, splits in SPLITS.items():
        folder = tmp_path / "tasks" / name
        folder.mkdir(parents=True)
        (folder / "card.yaml").write_text(CARD.format(name=name).lstrip())
        for split, text in splits.items():
            (folder / f"{split}.txt").write_text(text)
    return tmp_path


def prepared(project: Path, decontaminate: bool) -> tuple[dict[str, int], list[str]]:
    """Stored rows of each task's training split, and what was said."""
    (project / "recipes").mkdir(exist_ok=True)
    path = project / "recipes" / "small.yaml"
    path.write_text(RECIPE.format(decontaminate=str(decontaminate).lower()).lstrip())
    run, said = project / f"run-{decontaminate}", list[str]()
    run.mkdir(exist_ok=True)
    prepare(load_recipe(path), run, project / "store", said.append)
    splits = json.loads((run / "prepared.json").read_text())["splits"]
    index = {name: json.loads(Path(own["train"]).with_suffix(".json").read_text()) for name, own in splits.items()}
    return {name: own["rows"] for name, own in index.items()}, said


def test_planted_leaks_are_left_out_and_told_pair_by_pair(project: Path) -> None:
    assert prepared(project, False)[0] == {"one": 3, "two": 4}
    rows, said = prepared(project, True)
    assert rows == {"one": 2, "two": 2}
    wanted = [
        "decontaminated one: 1 training rows left out, they stand in the test of two",
        "decontaminated two: 1 training rows left out, they stand in the test of one",
        "decontaminated two: 1 training rows left out, they stand in the test of two",
    ]
    assert [line for line in said if line.startswith("decontaminated")] == wanted
    again, said = prepared(project, True)  # from the store
    assert again == rows and [line for line in said if line.startswith("decontaminated")] == wanted
    assert prepared(project, False)[0] == {"one": 3, "two": 4}
