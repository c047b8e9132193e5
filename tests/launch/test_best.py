"""The best checkpoint of each task and of all together: kept, named, and made a model of."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import phased
import trunkline
from small_project import write_project
from trunkline import checkpoint, durable
from trunkline.build.evaluation import evaluate_model
from trunkline.cli.app import main
from trunkline.errors import ConfigError
from trunkline.launch.judge import Judge
from trunkline.launch.local import Result
from trunkline.launch.runs import RunFolder
from trunkline.workflows.stages import alone

TASKS = ("topic", "score")
# So high a rate that tasks are best at steps of their own, none of which is the last.
ASKED = [
    "tasks=[topic, score]",
    "optim={kind: adamw, lr: 0.1, head_lr: 0.1, schedule: constant, warmup: 0}",
    "train={steps: 16, tokens_per_step: 256, max_length: 16, evaluate_every: 1, keep_last: 1, keep_best: tasks}",
]


def trained(recipe: Path, *more: str, **options: str) -> Result:
    return trunkline.train(recipe, in_process=True, overrides=[] if options else [*ASKED, *more], **options)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("best"))


@pytest.fixture(scope="module")
def done(recipe: Path) -> Result:
    """A run that saves at its bests and at its end alone, and whose model is to be the best for `score`."""
    return trained(recipe, "train.restore_best=score")


def bests(run: Path) -> dict[str, int]:
    """By what was logged: the first step at which each task's headline, and the mean skill, was best."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    names = {"topic": ("eval/topic/accuracy", 1), "score": ("eval/score/pearson", 1), "aggregate": ("eval/skill", 1)}
    found = {}
    for task, (name, sign) in names.items():
        values = [(sign * line[name], -line["step"]) for line in lines if name in line]
        found[task] = -max(values)[1]
    return found


def kept(run: Path) -> set[int]:
    return {int(path.name.removeprefix("step-")) for path in checkpoint.committed(run / "checkpoints")}


def kept_law(run: Path) -> bool:
    """On disk are the best of each task, the best of all, and the last one; the newest names them, and no more than these."""
    last = max(kept(run))
    state = json.loads((run / "checkpoints" / checkpoint.name_of(last) / "state.json").read_text())
    named = {task: own["step"] for task, own in {**state["best_tasks"], "aggregate": state["best"]}.items()}
    return named == bests(run) and kept(run) == {last, *bests(run).values()}


def same_as(model: Path, run: Path, step: int) -> bool:
    state = phased.state(run, step)
    return all(torch.equal(state[name]["param"], own) for name, own in trunkline.load(model).network.named_parameters())


def test_the_best_of_each_task_and_of_all_stay_and_are_named(done: Result) -> None:
    assert kept_law(done.run)
    assert len(set(bests(done.run).values())) > 1 and 16 not in (bests(done.run)["score"], bests(done.run)["topic"])


def test_a_prune_that_looks_at_age_alone_is_seen(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prune = checkpoint.prune
    monkeypatch.setattr(checkpoint, "prune", lambda root, keep_last, keep: prune(root, keep_last))
    assert not kept_law(trained(recipe).run)


def test_the_model_is_that_of_the_task_that_was_named(done: Result) -> None:
    found = bests(done.run)
    assert same_as(done.model, done.run, found["score"]) and not same_as(done.model, done.run, found["topic"])
    result = json.loads((done.run / "result.json").read_text())
    assert result["model_step"] == found["score"] == result["best_tasks"]["score"]["step"]
    assert next(row["value"] for row in result["tasks"] if row["task"] == "score") > 0


def test_killed_between_an_evaluation_and_what_points_to_its_best_it_points_there_after_all(
    recipe: Path, done: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """Nothing of ours catches it."""

    left = [3]

    def die(point: str) -> None:
        left[0] -= point == "checkpoint.before_manifest"
        if not left[0]:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(durable, "crash_point", die)
        trained(recipe, "train.restore_best=score")
    run = max(recipe.parent.parent.glob("outputs/*"), key=lambda path: path.stat().st_mtime)
    assert not RunFolder(run).finished and max(kept(run)) < 16
    again = trained(recipe, resume=run.name)
    assert kept_law(run) and bests(run) == bests(done.run)
    assert same_as(again.model, done.run, bests(done.run)["score"])


def test_a_best_whose_checkpoint_is_damaged_is_forgotten_when_the_run_goes_on(recipe: Path, done: Result) -> None:
    run = done.run.parent / "small-damaged"
    shutil.copytree(done.run, run)
    RunFolder(run).result.unlink()
    step = bests(run)["score"]
    next((run / "checkpoints" / checkpoint.name_of(step)).glob("*.safetensors")).write_bytes(b"")
    assert trained(recipe, resume=run.name).model.is_dir()
    result = json.loads((run / "result.json").read_text())
    assert result["model_step"] == 16 and "score" not in result["best_tasks"] and "topic" in result["best_tasks"]
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert checkpoint.name_of(step) in [event["path"] for event in events if event["event"] == "best_checkpoint_lost"]


def test_the_list_says_what_each_is_the_best_of_and_any_becomes_a_model(
    done: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["checkpoint", "list", str(done.run), "--json"]) == 0
    listed = {row["step"]: row["best_of"] for row in json.loads(capsys.readouterr().out)}
    found = bests(done.run)
    assert {name: step for step, names in listed.items() for name in names} == found
    assert main(["checkpoint", "model", str(done.run), "--best", "topic", "--to", str(tmp_path / "topic")]) == 0
    assert same_as(tmp_path / "topic", done.run, found["topic"])
    assert f"model of step {found['topic']}" in capsys.readouterr().out
    table = json.loads((tmp_path / "topic" / "manifest.json").read_text())["results"]
    assert next(row["skill"] for row in table if row["task"] == "topic") == best_skill(done.run, "topic")


def best_skill(run: Path, task: str) -> float:
    return json.loads((run / "result.json").read_text())["best_tasks"][task]["score"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--best", "topics"], "no best of 'topics' in this run. Did you mean 'topic'?"),
        (["--step", "999"], "step 999 has no checkpoint any more"),
    ],
)
def test_what_is_not_there_can_not_become_a_model(
    done: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: list[str], said: str
) -> None:
    assert main(["checkpoint", "model", str(done.run), *asked, "--to", str(tmp_path / "none")]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "none").exists()
    assert main(["checkpoint", "model", str(done.run), "--to", str(tmp_path)]) == 2


def test_the_best_for_a_task_that_is_not_judged_is_refused_before_anything_is_written(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(recipe.parent.parent.glob("outputs/*"))
    with pytest.raises(ConfigError, match=r"train.restore_best: no task 'scores' with validation rows .* Did you mean 'score'"):
        trained(recipe, "train.restore_best=scores")
    assert sorted(recipe.parent.parent.glob("outputs/*")) == before


def test_alone_a_task_is_not_asked_to_be_best_for_another() -> None:
    assert alone({"steps": 3, "restore_best": "topic"}, ["score"]) == {"steps": 3, "restore_best": True}
    assert alone({"steps": 3, "restore_best": "score"}, ["score"])["restore_best"] == "score"
    assert alone({"steps": 3}, ["score"]) == {"steps": 3}


def whole_law(result: Result) -> bool:
    """The table a run ends with is what its model scores on every validation row."""
    found = evaluate_model(result.model, tasks=None, split="validation", catalog=result.run.parent.parent / "tasks", say=str)
    table = {row["task"]: (row["value"], row["baseline"]) for row in result.tasks}
    return {row["task"]: pytest.approx((row["value"], row["baseline"]), abs=1e-5) for row in found} == table


@pytest.mark.parametrize("asked", ["train.restore_best=score", "train.restore_best=false", "train.ema=0.5"])
def test_the_table_at_the_end_is_of_all_rows_where_evaluations_on_the_way_read_the_first(recipe: Path, asked: str) -> None:
    result = trained(recipe, "train.evaluate_rows=5", asked)
    assert whole_law(result)
    lines = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text().splitlines()]
    seen = {line["eval/topic/accuracy"] for line in lines if "eval/topic/accuracy" in line}
    assert seen <= {0.0, 0.2, 0.4, 0.6, 0.8, 1.0}


def test_a_table_of_the_first_rows_alone_is_rejected(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Judge, "longer", [])
    assert not whole_law(trained(recipe, "train.evaluate_rows=5"))
