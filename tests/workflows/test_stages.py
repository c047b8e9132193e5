"""`stages:` of a recipe: language, then together, then each task alone, as one run that goes on where it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import phased
import trunkline
from small_project import write_project
from trunkline import durable
from trunkline.build import start as starts
from trunkline.errors import ConfigError
from trunkline.launch.runs import RunFolder, all_runs
from trunkline.workflows.stages import Staged, train_stages

STAGES = """
stages:
  - {name: language, tasks: [words], train: {steps: 3}}
  - {name: together, optim: {lr: 2e-3}}
  - {name: alone, each: true, finetune: heads, train: {steps: 2}}
"""
SMALL = [
    ("tasks: [topic, score, tags, {task: answer, weight: 0.7}, words]", "tasks: [topic, {task: score, weight: 0.7}]"),
    ("steps: 20", "steps: 4"),
    ("count: 1", "count: 0"),
]


def staged(folder: Path, stages: str = STAGES) -> Path:
    recipe = write_project(folder)
    text = recipe.read_text()
    for old, new in SMALL:
        assert old in text
        text = text.replace(old, new)
    recipe.write_text(text + stages)
    return recipe


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Staged:
    return train_stages(staged(tmp_path_factory.mktemp("stages")), lambda _: None, in_process=True)


def chained_law(done: Staged) -> bool:
    """Every stage begins with the trunk and the tokenizer the one before ended with, bit for bit."""
    ends = {name: dict(trunkline.load(result.model).network.named_parameters()) for name, result in done.results.items()}
    for before, after in [("1-language", "2-together"), ("2-together", "3-alone-topic"), ("2-together", "3-alone-score")]:
        begun, run = phased.state(done.results[after].run, 0), done.results[after].run
        trunk = [name for name in begun if name.startswith("trunk.")]
        if not trunk or not all(torch.equal(begun[name]["param"], ends[before][name]) for name in trunk):
            return False
        texts = [(place / "tokenizer.json").read_text() for place in (run / "tokenizer", done.results[before].model / "trunk")]
        if texts[0] != texts[1]:
            return False
    return True


def test_each_stage_goes_on_from_the_model_of_the_one_before(whole: Staged) -> None:
    assert list(whole.results) == ["1-language", "2-together", "3-alone-topic", "3-alone-score"]
    assert chained_law(whole)
    tasks = {name: list(trunkline.load(result.model).tasks) for name, result in whole.results.items()}
    assert tasks == {
        "1-language": ["words"],
        "2-together": ["topic", "score"],
        "3-alone-topic": ["topic"],
        "3-alone-score": ["score"],
    }
    told = json.loads((whole.run / "result.json").read_text())["stages"]
    assert [own["tasks"][0]["task"] for own in told.values()] == ["words", "topic", "topic", "score"]


def test_a_stage_lays_its_own_sections_over_the_recipe_s(whole: Staged) -> None:
    from trunkline.config.recipe import load_recipe

    recipes = {name: load_recipe(result.run / "recipe.yaml") for name, result in whole.results.items()}
    assert [recipe.train.steps for recipe in recipes.values()] == [3, 4, 2, 2]
    assert [recipe.optim.lr for recipe in recipes.values()] == [5e-3, 2e-3, 5e-3, 5e-3]
    assert recipes["3-alone-score"].tasks[0].weight == 0.7 and recipes["3-alone-score"].finetune.kind == "heads"


def test_a_stage_that_starts_with_another_trunk_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = starts.expanded

    def forgetful(model: torch.nn.Module, trained: dict[str, torch.Tensor], *rest: object) -> object:
        return right(model, {name: value * 1.01 for name, value in trained.items()}, *rest)

    monkeypatch.setattr(starts, "expanded", forgetful)
    assert not chained_law(train_stages(staged(tmp_path), lambda _: None, in_process=True))


class Killed(BaseException):
    """As a process that is killed: nothing catches it."""


def test_killed_in_any_stage_it_goes_on_there_and_ends_bit_for_bit_as_if_it_had_not_been(whole: Staged, tmp_path: Path) -> None:
    recipe = staged(tmp_path)
    seen = 0

    def killed(name: str) -> None:
        nonlocal seen
        seen += name == "worker.in_step"
        if seen in (2, 6, 10):
            seen += 1
            raise Killed

    done = None
    for attempt in range(4):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(durable, "crash_point", killed)
            try:
                done = train_stages(recipe, lambda _: None, resume=attempt > 0, in_process=True)
            except Killed:
                assert attempt < 3
    assert done is not None and len(list((tmp_path / "outputs").iterdir())) == 1
    assert len(all_runs(done.run / "stages" / "runs")) == 4 and RunFolder(done.run).finished
    for name, result in done.results.items():
        first, second = (dict(trunkline.load(own.model).network.named_parameters()) for own in (result, whole.results[name]))
        assert all(torch.equal(value, second[key]) for key, value in first.items()), name


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ("stages: [{name: a, trian: {steps: 2}}]", "stage 'a'"),
        ("stages: [{name: a}, {name: a}]", "two stages are called 'a'"),
        ("stages: [{name: a, train: {steps: 0}}]", "stage 'a'"),
        ("stages: [{tasks: [topic]}]", "name"),
    ],
)
def test_a_stage_that_is_no_recipe_is_told_before_the_first_one_starts(tmp_path: Path, stages: str, said: str) -> None:
    recipe = staged(tmp_path, stages + "\n")
    with pytest.raises(ConfigError, match=said):
        trunkline.train(recipe, in_process=True)
    assert not list((tmp_path / "outputs").glob("*")) if (tmp_path / "outputs").is_dir() else True
    shutil.rmtree(tmp_path)


def test_a_recipe_without_stages_takes_whatever_one_run_takes() -> None:
    import inspect

    from trunkline.launch import local
    from trunkline.workflows import stages

    assert inspect.signature(stages.train).parameters.keys() == inspect.signature(local.train).parameters.keys()
