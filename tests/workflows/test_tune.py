"""Settings are drawn from their ranges alone, halved rung by rung, and a study that was stopped ends with the same best."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from small_project import write_project
from trunkline.cli.app import main
from trunkline.config.recipe import load_recipe
from trunkline.workflows.tune import Search, grouped, halved, objective, settings

RANGES = {
    "optim.lr": {"from": 1e-4, "to": 1e-1, "log": True},
    "trunk.layers": {"from": 1, "to": 3, "whole": True},
    "seed": [1, 5],
}


def lead(number: int, steps: int) -> float:
    """Trial 7 is the best in the long run, 3 in the short one."""
    return -abs(number - (3 if steps < 50 else 7)) / 10


class Counted:
    """A score that counts what it was asked, and can stop a study half-way."""

    def __init__(self, kept: dict, most: int = 10**9) -> None:
        self.kept, self.most, self.asked = kept, most, 0

    def __call__(self, steps, wanted):
        found = {}
        for number, _ in wanted:
            if (steps, number) not in self.kept:
                self.asked += 1
                if self.asked > self.most:
                    raise KeyboardInterrupt
                self.kept[steps, number] = lead(number, steps)
            found[number] = (self.kept[steps, number], f"run-{number}")
        return found


def test_points_are_a_function_of_the_seed_the_first_is_the_recipe_as_it_is_and_all_lie_in_their_ranges() -> None:
    search = Search(RANGES, trials=40)
    points = search.points(3)
    assert points == search.points(3) != search.points(4) and points[0] == {}
    rates = [point["optim.lr"] for point in points[1:]]
    assert all(1e-4 <= rate <= 1e-1 for rate in rates) and 0.3 < sum(rate < 3e-3 for rate in rates) / 39 < 0.7
    assert {point["trunk.layers"] for point in points[1:]} == {1, 2, 3} and {point["seed"] for point in points[1:]} == {1, 5}
    assert settings({"optim.lr": 0.01, "sampling": {"kind": "uniform"}}) == ["optim.lr=0.01", "sampling={kind: uniform}"]


def test_the_best_of_each_rung_go_on_and_the_recipe_as_it_is_always_does() -> None:
    score = Counted({})
    trials = halved([{}] * 16, Search(RANGES, trials=16, rungs=(10, 100), keep=4), score)
    reached = {trial.number for trial in trials if len(trial.scores) == 2}
    assert reached == {0, 2, 3, 4, 1} or reached == {0, 2, 3, 4, 5}
    assert score.asked == 16 + len(reached) and trials[0].scores[-1] == max(t.scores[-1] for t in trials if len(t.scores) == 2)


def test_a_study_that_was_stopped_ends_with_the_same_best_and_repeats_nothing() -> None:
    search = Search(RANGES, trials=12, rungs=(10, 60, 100), keep=2)
    whole = halved([{}] * 12, search, Counted({}))
    kept: dict = {}
    with pytest.raises(KeyboardInterrupt):
        halved([{}] * 12, search, Counted(kept, most=15))
    again = Counted(kept)
    assert halved([{}] * 12, search, again) == whole
    assert again.asked + 15 == sum(len(trial.scores) for trial in whole)


def test_a_trial_that_diverged_comes_last_and_a_tie_goes_to_the_first() -> None:
    scores = {0: 0.2, 1: None, 2: 0.5, 3: 0.5}
    trials = halved([{}] * 4, Search(RANGES, trials=4, rungs=(10,)), lambda _, wanted: {n: (scores[n], "") for n, _ in wanted})
    assert [trial.number for trial in trials] == [2, 3, 0, 1]


def test_trials_of_a_tracked_recipe_are_runs_of_one_group(tmp_path: Path) -> None:
    recipe = write_project(tmp_path)
    assert grouped(load_recipe(recipe), "0123abcd") == []
    for stated, group in (("{project: laws}", "tune-0123abcd"), ("{project: laws, group: ours}", "ours")):
        overrides = [f"track.wandb={stated}"]
        assert load_recipe(recipe, [*overrides, *grouped(load_recipe(recipe, overrides), "0123abcd")]).track.wandb.group == group


def test_the_objective_is_the_mean_skill_or_that_of_a_task() -> None:
    rows = [{"task": "a", "skill": 0.5}, {"task": "b", "skill": 0.1}, {"task": "c", "skill": None}]
    assert objective(rows, "skill") == pytest.approx(0.3) and objective(rows, "b") == 0.1 and objective(None, "skill") is None


@pytest.mark.parametrize(
    ("search", "code", "said"),
    [
        ("search: {optim.rl: [1, 2]}", 3, "search.yaml: with optim.rl="),
        ("search: {otpim.lr: [1, 2]}", 3, "search.yaml: with otpim.lr="),
        ("search: {optim.lr: {from: 1.0, to: 0.1}}", 3, "from 1.0 to 0.1 is no range"),
        ("search: {optim.lr: {from: 0.0, to: 0.1, log: true}}", 3, "is no range"),
        ("search: {optim.lr: []}", 3, "a list of values or {from, to, log, whole}"),
        ("search: {}", 3, "paths of the recipe and their ranges"),
        ("serch: {optim.lr: [1, 2]}", 3, "Did you mean 'search'?"),
        ("search: {optim.lr: [1.0e-3, 2.0e-3]}\nobjective: accuracy", 3, "no task 'accuracy' in the recipe"),
        ("search: {optim.lr: [1.0e-3, 2.0e-3]}\nrungs: [100, 10]", 3, "numbers of steps that grow"),
        ("search: {optim.lr: [1.0e-3, 2.0e-3]}\ntrials: 1", 3, "trials: whole numbers from 2 up"),
    ],
)
def test_a_wrong_search_is_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], search: str, code: int, said: str
) -> None:
    recipe = write_project(tmp_path)
    (tmp_path / "search.yaml").write_text(search + "\n")
    assert main(["tune", str(recipe), "--search", str(tmp_path / "search.yaml"), "--in-process"]) == code
    assert said in capsys.readouterr().err
    assert not (tmp_path / ".trunkline" / "tune").exists()


@pytest.mark.slow
def test_a_study_on_a_small_project_writes_a_recipe_that_loads_and_runs_nothing_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from trunkline.config.recipe import load_recipe

    recipe = write_project(tmp_path)
    (tmp_path / "search.yaml").write_text(
        "trials: 3\nrungs: [2, 4]\nkeep: 3\nsearch: {optim.lr: {from: 1.0e-3, to: 1.0e-1, log: true}}\n"
    )
    command = ["tune", str(recipe), "--search", str(tmp_path / "search.yaml"), "-s", "tasks=[topic]", "--in-process", "--json"]
    assert main([*command, "--draws", "20", "--to", str(tmp_path / "recipes" / "one.yaml")]) == 0
    first = json.loads(capsys.readouterr().out)
    runs = sorted((tmp_path / ".trunkline" / "tune").rglob("run.json"))
    assert len(runs) == 3 + len([trial for trial in first["trials"] if len(trial["scores"]) == 2])
    assert load_recipe(tmp_path / "recipes" / "one.yaml").train.steps == 20
    runs[0].with_name("result.json").unlink()  # as if it had been killed
    assert main([*command, "--draws", "20", "--to", str(tmp_path / "recipes" / "two.yaml")]) == 0
    assert json.loads(capsys.readouterr().out)["best"]["number"] == first["best"]["number"]
    assert sorted((tmp_path / ".trunkline" / "tune").rglob("run.json")) == runs
