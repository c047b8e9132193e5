"""Schedules that look at rows or learn from evaluations, in whole runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import shared_rows
from small_project import write_project
from trunkline import checkpoint
from trunkline.data.store import StoredSplit
from trunkline.launch.local import Result, train
from trunkline.launch.runs import RunFolder

SHORT = (
    "train.steps=8",
    "train.evaluate_every=1",
    "train.save_every=8",
    "train.tokens_per_step=128",
    "train.tokens_per_pass=128",
)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("schedules"))


def run(recipe: Path, tasks: str, sampling: str, *more: str) -> Result:
    return train(recipe, overrides=[f"tasks={tasks}", f"sampling={sampling}", *SHORT, *more], in_process=True)


def drawn(result: Result) -> list[dict[str, list[int]]]:
    return [json.loads(line)["rows"] for line in (result.run / "rows.jsonl").read_text().splitlines()]


def logged(result: Result, name: str) -> list[float]:
    lines = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]


def test_a_curriculum_by_a_column_draws_the_easy_rows_first(recipe: Path) -> None:
    done = run(recipe, "[topic, score]", "{kind: curriculum, by: value, start: 0.2, end: 1.0}")
    splits = json.loads((done.run / "prepared.json").read_text())["splits"]
    hard = {name: np.asarray(StoredSplit.open(splits[name]["train"]).rows.targets["difficulty"]) for name in ("topic", "score")}
    for name, values in hard.items():
        first = values[[row for step in drawn(done)[:2] for row in step.get(name, [])]]
        assert first.max() <= np.quantile(values, 0.35, method="higher") < values.max()
    assert any(values[step.get(name, [])].max(initial=0) == values.max() for step in drawn(done) for name, values in hard.items())


def test_evaluations_move_the_rates_of_gap_and_a_task_with_patience_pauses(recipe: Path) -> None:
    tasks = "[topic, {task: score, patience: 1, returns: 1}, tags]"
    done = run(
        recipe, tasks, "{kind: gap, scores: {topic: 0.99, score: 5, tags: 0.99}, floor: 0}", "optim.lr=1e-9", "optim.head_lr=1e-9"
    )
    # With weights that stand still nothing improves: after the second evaluation the task has stalled for one.
    assert all("score" in step for step in drawn(done)[:1])
    assert not any("score" in step for step in drawn(done)[2:])
    state = json.loads(next((done.run / "checkpoints").glob("*/state.json")).read_text())
    assert set(state["stream"]["sampler"]["of"]["distance"]) == {"topic", "score", "tags"}


def test_the_best_checkpoint_of_each_task_stays_where_it_is_asked_for_and_shares_are_logged(recipe: Path) -> None:
    done = run(recipe, "[topic, score, tags]", "uniform", "train.save_every=1", "train.keep_last=1", "train.keep_best=tasks")
    result = json.loads((done.run / "result.json").read_text())
    kept = {int(path.name.removeprefix("step-")) for path in (done.run / "checkpoints").glob("step-*")}
    steps = {own["step"] for own in result["best_tasks"].values()}
    assert set(result["best_tasks"]) == {"topic", "score", "tags"}
    assert kept == {8, result["best"]["step"], *steps}
    lines = [json.loads(line) for line in (done.run / "metrics.jsonl").read_text().splitlines()]
    for name, best in result["best_tasks"].items():
        metric = next(own["metric"] for own in result["tasks"] if own["task"] == name)
        values = {line["step"]: line[f"eval/{name}/{metric}"] for line in lines if f"eval/{name}/{metric}" in line}
        assert values[best["step"]] == max(values.values())
    assert sum(line for line in (logged(done, f"drawn/rows/{name}")[-1] for name in ("topic", "score", "tags"))) == pytest.approx(
        1
    )


def test_tasks_that_share_rows_are_weighed_by_their_gradients_where_they_are_looked_at_one_by_one(tmp_path: Path) -> None:
    recipe = shared_rows.write_project(tmp_path)
    done = train(recipe, overrides=["weighting={kind: upgrad, exact: true}", "train.steps=2"], in_process=True)
    cosines = [f"grad/cosine/{pair}" for pair in ("score/topic", "score/tags", "topic/tags")]
    assert all(-1 <= logged(done, name)[-1] <= 1 and logged(done, name)[-1] != 0 for name in cosines)
    assert {logged(done, f"weight/{name}")[-1] for name in ("score", "topic", "tags")} != {1.0}


def test_gradients_are_compared_under_any_weighting_where_it_is_asked_for(recipe: Path) -> None:
    settings = ("weighting=static", "train.log_every=1", "train.steps=4", "train.save_every=null")
    off = run(recipe, "[topic, tags]", "uniform", *settings)
    on = run(recipe, "[topic, tags]", "uniform", *settings, "train.watch_gradients=2")
    cosines = logged(on, "grad/cosine/topic/tags")
    assert len(cosines) == 3 and cosines[0] == cosines[1] != cosines[2]  # after steps 2, 3 and 4
    assert logged(off, "grad/conflict") == []
    assert logged(on, "train/topic/loss") == logged(off, "train/topic/loss")


def test_gradients_are_compared_from_the_step_in_which_the_watched_layers_are_trained(recipe: Path) -> None:
    settings = ("train.log_every=1", "train.steps=4", "train.save_every=null", "freeze=[{modules: trunk, until: 0.5}]")
    done = run(recipe, "[topic, tags]", "uniform", "weighting=mgda", *settings)
    assert len(logged(done, "grad/cosine/topic/tags")) == 2
    assert [weight == 1 for weight in logged(done, "weight/topic")] == [True, True, True, False]


def test_a_resumed_run_logs_the_cosines_of_one_that_never_stopped_bit_for_bit(recipe: Path) -> None:
    done = run(recipe, "[topic, tags]", "uniform", "weighting=upgrad", "train.log_every=4", "train.save_every=3")
    folder = RunFolder(done.run)
    before = {name: logged(done, name) for name in ("grad/cosine/topic/tags", "grad/conflict", "grad/norm_share/topic")}
    assert all(len(values) == 3 for values in before.values())  # steps 1, 4 and 8
    shutil.rmtree(checkpoint.committed(folder.checkpoints)[0])
    folder.result.unlink()
    train(recipe, resume=folder.run_id, in_process=True)
    assert {name: logged(done, name) for name in before} == before
