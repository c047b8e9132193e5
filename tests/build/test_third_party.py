"""Others add parts without touching trunkline: a head, a weighting from an installed package, a task from one YAML file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import trunkline
from small_project import write_project
from trunkline.errors import ConfigError

HEAD = '''
from torch import nn
from trunkline.models.heads.base import Head

class Deep(Head):
    """Two layers on the mean of each row."""

    def __init__(self, width: int, num_labels: int, *, hidden: int = 8) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(width, hidden), nn.Linear(hidden, num_labels)

    def forward(self, hidden, rows):
        total = hidden.new_zeros(len(rows), hidden.shape[1]).index_add(0, rows.row_of_token, hidden)
        return self.out(self.inner(total / rows.lengths.unsqueeze(1)).tanh())
'''
ENCODING = """
from trunkline.data.encoding.classification import Classification

class DeepClassification(Classification):
    pass
"""
WEIGHTING = '''
from trunkline.weighting.base import Weighting

class Behind(Weighting):
    """Twice the weight for the task whose loss was larger in the step before."""

    def __init__(self, tasks, weights, *, times: float = 2.0) -> None:
        super().__init__(tasks, weights)
        self.times, self.behind = times, None

    def coefficients(self):
        found = self.weights.clone()
        if self.behind is not None:
            found[self.behind] *= self.times
        return found

    def observe(self, losses, present):
        self.behind = int(losses.argmax())

    def state(self):
        return {"behind": self.behind}

    def load_state(self, state):
        self.behind = state["behind"]
'''
CARD = """
name: deep_topic
data: {format: jsonl, rows: ../topic/rows.jsonl, split: {by: text}}
inputs: [text]
target: label
head: {kind: deep_classification, labels: [water, land], hidden: 4}
metrics: [accuracy]
"""
YAML_ONLY = """
name: long_or_short
data: {format: csv, train: train.csv, validation: validation.csv}
inputs: [text]
target: label
head: {kind: classification, labels: [long, short]}
"""


def install(folder: Path) -> None:
    """What pip would leave of a small distribution."""
    package = folder / "acme_heads"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "head.py").write_text(HEAD)
    (package / "encoding.py").write_text(ENCODING)
    (package / "weighting.py").write_text(WEIGHTING)
    info = folder / "acme_heads-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-heads\nVersion: 1.0\n")
    points = "[trunkline.heads]\ndeep_classification = acme_heads.head:Deep\n"
    points += "[trunkline.encodings]\ndeep_classification = acme_heads.encoding:DeepClassification\n"
    points += "[trunkline.weightings]\nbehind = acme_heads.weighting:Behind\n"
    (info / "entry_points.txt").write_text(points)


def trunkline_with(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-m", "trunkline", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=200)


def test_a_head_and_a_weighting_of_another_package_are_listed_trained_saved_and_asked(tmp_path: Path) -> None:
    site = tmp_path / "site"
    install(site)
    recipe = write_project(tmp_path / "project")
    card = recipe.parent.parent / "tasks" / "deep_topic" / "card.yaml"
    card.parent.mkdir()
    card.write_text(CARD.lstrip())
    listed = json.loads(trunkline_with(site, "parts", "--json").stdout)
    sources = {part["room"]: part["source"] for part in listed if part["name"] in ("deep_classification", "behind")}
    assert sources == dict.fromkeys(("heads", "encodings", "weightings"), "acme-heads")
    settings = ("tasks=[topic, deep_topic]", "train.steps=4", "weighting={kind: behind, times: 3}")
    changes = [word for setting in settings for word in ("-s", setting)]
    trained = trunkline_with(site, "train", str(recipe), "--in-process", "--json", *changes)
    assert trained.returncode == 0, trained.stderr
    result = json.loads(trained.stdout)
    logged = [json.loads(line) for line in (Path(result["run"]) / "metrics.jsonl").read_text().splitlines()]
    steps = {line["step"]: line for line in logged if "train/topic/loss" in line}
    assert steps[1]["weight/topic"] == steps[1]["weight/deep_topic"] == 1.0
    behind = max(("topic", "deep_topic"), key=lambda task: steps[1][f"train/{task}/loss"])
    assert steps[2][f"weight/{behind}"] == 3.0 and sum(steps[2][f"weight/{task}"] for task in ("topic", "deep_topic")) == 4.0
    assert [row["task"] for row in result["tasks"]] == ["topic", "deep_topic"]
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "red river"}\n')
    answered = trunkline_with(site, "predict", result["model"], str(rows), "--task", "deep_topic")
    assert json.loads(answered.stdout)["label"] in ("water", "land")


def test_without_that_package_its_head_is_an_unknown_name(tmp_path: Path) -> None:
    recipe = write_project(tmp_path / "project")
    card = recipe.parent.parent / "tasks" / "deep_topic" / "card.yaml"
    card.parent.mkdir()
    card.write_text(CARD.lstrip())
    with pytest.raises(ConfigError, match=r"card\.yaml:5:\d+: head\.kind: no .* named 'deep_classification'"):
        trunkline.train(recipe, in_process=True, overrides=["tasks=[deep_topic]"])


def test_a_task_is_one_yaml_file_and_its_rows(tmp_path: Path) -> None:
    recipe = write_project(tmp_path / "project")
    folder = recipe.parent.parent / "tasks" / "long_or_short"
    folder.mkdir()
    (folder / "card.yaml").write_text(YAML_ONLY.lstrip())
    rows = ["text,label", *(f"{'very ' * (n % 5)}word {n},{'long' if n % 5 > 2 else 'short'}" for n in range(60))]
    (folder / "train.csv").write_text("\n".join(rows) + "\n")
    (folder / "validation.csv").write_text("text,label\nvery very very very old,long\nnew,short\n")
    result = trunkline.train(recipe, in_process=True, overrides=["tasks=[long_or_short, topic]", "train.steps=3"])
    assert [row["task"] for row in result.tasks] == ["long_or_short", "topic"]
    assert trunkline.load(result.model).predict("long_or_short", ["old"])[0]["label"] in ("long", "short")


PLUGIN_SOURCE = """
from trunkline.data.sources.base import Source
from trunkline.data.sources.chunk import chunked
from trunkline.registry import SOURCES

@SOURCES.register("counted_words")
class CountedWords(Source):
    def files(self):
        return []

    def read(self, split):
        yield from chunked(("text", "label"), ((f"word {n} " * (1 + n % 4), "long" if n % 4 > 1 else "short") for n in range(80)))
"""
PLUGIN_CARD = """
name: counted
data: {format: counted_words, split: {by: text}}
inputs: [text]
target: label
head: {kind: classification, labels: [long, short]}
"""


def test_a_model_trained_on_a_plugin_s_rows_opens_in_a_fresh_process_without_it(tmp_path: Path) -> None:
    recipe = write_project(tmp_path / "project")
    folder = recipe.parent.parent / "tasks" / "counted"
    folder.mkdir()
    (folder / "card.yaml").write_text(PLUGIN_CARD.lstrip())
    (folder / "plugin.py").write_text(PLUGIN_SOURCE)
    result = trunkline.train(recipe, in_process=True, overrides=["tasks=[counted]", "train.steps=2"])
    moved = tmp_path / "elsewhere"
    result.model.rename(moved)
    rows = tmp_path / "rows.txt"
    rows.write_text("word 1\n")
    answered = trunkline_with(tmp_path, "predict", str(moved), str(rows), "--task", "counted")
    assert answered.returncode == 0, answered.stderr
    assert json.loads(answered.stdout)["label"] in ("long", "short")
    assert answered.stderr == ""


PLUGIN_HEAD = (
    HEAD.replace("from torch import nn", "from torch import nn\nfrom trunkline.registry import ENCODINGS, HEADS")
    + """
HEADS.register("deep_topic")(Deep)
from trunkline.data.encoding.classification import Classification
ENCODINGS.register("deep_topic")(Classification)
"""
)


def test_a_head_of_the_project_s_own_plugin_is_found_again_by_evaluate_and_predict(tmp_path: Path) -> None:
    recipe = write_project(tmp_path / "project")
    folder = recipe.parent.parent / "tasks" / "deep_topic"
    folder.mkdir()
    (folder / "card.yaml").write_text(CARD.lstrip().replace("deep_classification", "deep_topic"))
    (folder / "plugin.py").write_text(PLUGIN_HEAD)
    trained = trunkline_with(
        tmp_path, "train", str(recipe), "--in-process", "--json", "-s", "tasks=[deep_topic]", "-s", "train.steps=2"
    )
    model = json.loads(trained.stdout)["model"]
    measured = trunkline_with(tmp_path, "evaluate", model, "--json")
    assert measured.returncode == 0, measured.stderr
    rows = tmp_path / "rows.txt"
    rows.write_text("red river\n")
    assert trunkline_with(tmp_path, "predict", model, str(rows), "--task", "deep_topic").returncode == 0


@pytest.mark.parametrize(("loss", "known"), [("mse", "binary_cross_entropy, cross_entropy"), ("infonce", "cross_entropy")])
def test_a_loss_that_does_not_fit_the_kind_is_refused_with_those_that_do(tmp_path: Path, loss: str, known: str) -> None:
    recipe = write_project(tmp_path / "project")
    card = recipe.parent.parent / "tasks" / "topic" / "card.yaml"
    card.write_text(card.read_text() + f"loss: {loss}\n")
    with pytest.raises(ConfigError, match=rf"card\.yaml:6:7: loss: loss '{loss}' does not fit .*{known}"):
        trunkline.train(recipe, in_process=True, overrides=["tasks=[topic]"])
    assert not list((recipe.parent.parent / "outputs").iterdir())


def test_a_wrong_pooling_is_told_with_its_place_by_task_check(tmp_path: Path) -> None:
    recipe = write_project(tmp_path / "project")
    card = recipe.parent.parent / "tasks" / "topic" / "card.yaml"
    card.write_text(card.read_text().replace("pooling: mean", "pooling: men"))
    said = trunkline_with(tmp_path, "task", "check", str(card))
    assert said.returncode == 3
    assert "card.yaml:5:" in said.stderr and "Did you mean 'mean'" in said.stderr
