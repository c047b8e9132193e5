"""A run that ends when evaluations bring no new best, and a model that is the best one's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import phased
import trunkline
from trunkline import checkpoint
from trunkline.config.recipe import load_recipe
from trunkline.errors import ConfigError
from trunkline.launch.local import Result
from trunkline.launch.runs import RunFolder

# So high a rate that the first evaluations are the best.
GETS_WORSE = ["tasks=[topic, score]", "optim.lr=0.3", "optim.head_lr=0.3", "optim.schedule=constant", "optim.warmup=0"]
WATCHED = [*GETS_WORSE, "train.steps=30", "train.evaluate_every=2", "train.patience=3", "train.keep_last=1", "train.save_every=1"]


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Result:
    from small_project import write_project

    recipe = write_project(tmp_path_factory.mktemp("patience"))
    return trunkline.train(recipe, in_process=True, overrides=[*WATCHED, "train.restore_best=true"])


def evaluations(run: Path) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["eval/skill"]) for line in lines if "eval/skill" in line]


def best_law(result: Result) -> bool:
    """The model's parameters are those of the step whose evaluation was best, bit for bit, and its table is that evaluation."""
    step, score = max(evaluations(result.run), key=lambda found: found[1])
    kept = phased.state(result.run, step) if checkpoint.name_of(step) in _kept(result.run) else {}
    model = dict(trunkline.load(result.model).network.named_parameters())
    same = bool(kept) and all(torch.equal(kept[name]["param"], parameter) for name, parameter in model.items())
    skills = [row["skill"] for row in result.tasks]
    return same and sum(skills) / len(skills) == pytest.approx(score)


def _kept(run: Path) -> list[str]:
    return [path.name for path in checkpoint.committed(run / "checkpoints")]


def test_a_run_ends_after_as_many_evaluations_without_a_new_best_and_its_model_is_the_best_one(patient: Result) -> None:
    found = evaluations(patient.run)
    best = max(range(len(found)), key=lambda number: found[number][1])
    assert len(found) == best + 1 + 3 and found[-1][0] < 30
    assert json.loads((patient.run / "result.json").read_text())["steps"] == found[-1][0]
    assert best_law(patient)


def test_the_last_step_s_model_is_not_taken_for_the_best(patient: Result) -> None:
    again = trunkline.train(patient.run.parent.parent / "recipes" / "small.yaml", in_process=True, overrides=WATCHED)
    assert evaluations(again.run) == evaluations(patient.run) and not best_law(again)


def test_stopped_after_its_last_evaluation_it_trains_no_further(patient: Result, tmp_path: Path) -> None:
    last = evaluations(patient.run)[-1][0]
    run = phased.cut_back(patient.run, patient.run.parent / "small-cut", last)
    result = trunkline.train(
        patient.run.parent.parent / "recipes" / "small.yaml", in_process=True, resume=run.name, keep_recipe=True
    )
    assert RunFolder(run).finished and evaluations(run) == evaluations(patient.run) and best_law(result)


@pytest.mark.parametrize("asked", ["patience=2", "restore_best=true"])
def test_without_evaluations_there_is_nothing_to_wait_for(patient: Result, asked: str) -> None:
    path = patient.run.parent.parent / "recipes" / "small.yaml"
    with pytest.raises(ConfigError, match=r"asks for evaluations during training. Give train.evaluate_every"):
        load_recipe(path, [f"train.{asked}", "train.evaluate_every=null"])
