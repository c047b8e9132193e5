"""Settings are drawn from their ranges alone, halved rung by rung, and a study that was stopped ends with the same best."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from small_project import write_project
from trunkline.build.prepare import check_recipe
from trunkline.cli.app import main
from trunkline.config.recipe import load_recipe
from trunkline.errors import ConfigError, TrunklineError
from trunkline.workflows.search import Search, front, read_search, settings
from trunkline.workflows.tune import Trial, grouped, halved, skills

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
            found[number] = ({"a": self.kept[steps, number]}, f"run-{number}")
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
    trials = of_one_rung({0: {"a": 0.2}, 1: None, 2: {"a": 0.5}, 3: {"a": 0.5}})
    assert [trial.number for trial in trials] == [2, 3, 0, 1]


def test_trials_of_a_tracked_recipe_are_runs_of_one_group(tmp_path: Path) -> None:
    recipe = write_project(tmp_path)
    assert grouped(load_recipe(recipe), "0123abcd") == []
    for stated, group in (("{project: laws}", "tune-0123abcd"), ("{project: laws, group: ours}", "ours")):
        overrides = [f"track.wandb={stated}"]
        assert load_recipe(recipe, [*overrides, *grouped(load_recipe(recipe, overrides), "0123abcd")]).track.wandb.group == group


def of_one_rung(found: dict, **wanted) -> list[Trial]:
    search = Search(RANGES, trials=len(found), rungs=(10,), **wanted)
    return halved([{}] * len(found), search, lambda _, trials: {number: (found[number], "") for number, _ in trials})


def test_the_objective_is_the_mean_skill_or_that_of_some_tasks() -> None:
    rows = [{"task": "a", "skill": 0.5}, {"task": "b", "skill": 0.1}, {"task": "c", "skill": None}]
    found = skills(rows)
    assert found == {"a": 0.5, "b": 0.1} and skills(None) is None
    assert Search({}).value(found) == pytest.approx(0.3) and Search({}, objective=("b",)).value(found) == 0.1
    with pytest.raises(ConfigError, match="c has no validation rows"):
        Search({}, objective=("c",)).value(found)


def test_a_trial_that_hurts_a_protected_task_comes_after_all_that_do_not_by_how_much_it_hurts() -> None:
    found = {
        0: {"a": 0.5, "b": 0.5},
        1: {"a": 0.9, "b": 0.39},
        2: {"a": 0.6, "b": 0.48},
        3: {"a": 0.8, "b": 0.3},
        4: {"a": 0.4, "b": 0.9},
    }
    trials = of_one_rung(found, objective=("a",), protect={"b": 0.05})
    assert [trial.number for trial in trials] == [2, 0, 4, 1, 3]
    assert trials[3].broken == {"b": pytest.approx(0.06)} and not trials[0].broken
    free = of_one_rung(found, objective=("a",))
    assert [trial.number for trial in free] == [1, 3, 2, 0, 4]


def test_a_promise_is_held_against_the_recipe_as_it_is_at_the_same_rung() -> None:
    def score(steps, wanted):
        told = {0: 0.1 * steps, 1: 0.5, 2: 0.05 * steps}  # the default grows with the rung
        return {number: ({"a": 0.5, "b": told[number]}, "") for number, _ in wanted}

    search = Search(RANGES, trials=3, rungs=(1, 8), keep=2, objective=("a",), protect={"b": 0.2})
    assert {trial.number: trial.broken for trial in halved([{}] * 3, search, score)} == {
        0: {},
        1: {"b": pytest.approx(0.1)},
        2: {},
    }


def test_the_front_is_what_nothing_beats_in_every_task_and_equals_stand_together() -> None:
    found = {0: {"a": 1.0, "b": 0.0}, 1: {"a": 0.5, "b": 0.5}, 2: {"a": 0.5, "b": 0.4}, 3: {"a": 0.0, "b": 1.0}}
    assert front(found) == [0, 1, 3]
    assert front({**found, 4: {"a": 0.5, "b": 0.5}}) == [0, 1, 3, 4]
    assert front({**found, 4: {"a": 1.0, "b": 1.0}}) == [4] and front({}) == []
    rng = np.random.default_rng(0)
    many = {number: dict(zip("abc", rng.random(3), strict=True)) for number in range(60)}
    kept = front(many)
    for number, own in many.items():
        beaten = any(all(many[other][task] > own[task] for task in "abc") for other in kept)
        assert beaten != (number in kept)


def test_every_combination_of_lists_is_a_point_once() -> None:
    search = Search({"optim.lr": [1, 2], "seed": [3, 4, 5]}, every=True)
    points = search.points(0)
    assert len(points) == 7 and points[0] == {} and points == search.points(1)
    assert {(point["optim.lr"], point["seed"]) for point in points[1:]} == {(a, b) for a in (1, 2) for b in (3, 4, 5)}


@pytest.mark.parametrize(
    ("search", "code", "said"),
    [
        ("search: {optim.rl: [1, 2]}", 3, "search.yaml: with optim.rl="),
        ("search: {otpim.lr: [1, 2]}", 3, "search.yaml: with otpim.lr="),
        ("search: {trunk.embeddings.dimm: [8]}", 3, "trunk.embeddings takes no 'dimm'. Did you mean 'dim'?"),
        ("search: {trunk.embeddings.dim: [8, 0]}", 3, "trunk.embeddings.dim: a whole number from 1 up is needed, found 0"),
        ("search: {optim.lr: {from: 1.0, to: 0.1}}", 3, "from 1.0 to 0.1 is no range"),
        ("search: {optim.lr: {from: 0.0, to: 0.1, log: true}}", 3, "is no range"),
        ("search: {optim.lr: []}", 3, "a list of values or {from, to, log, whole}"),
        ("search: {}", 3, "paths of the recipe and their ranges"),
        ("serch: {optim.lr: [1, 2]}", 3, "Did you mean 'search'?"),
        ("search: {optim.lr: [1.0e-3, 2.0e-3]}\nobjective: accuracy", 3, "no task 'accuracy' in the recipe"),
        (
            "search: {optim.lr: [1.0e-3, 2.0e-3]}\nobjective: [topic, tops]",
            3,
            "no task 'tops' in the recipe. Did you mean 'topic'?",
        ),
        ("search: {optim.lr: [1.0e-3, 2.0e-3]}\nprotect: {topc: 0.1}", 3, "protect: no task 'topc' in the recipe"),
        ("search: {optim.lr: [1.0e-3, 2.0e-3]}\nprotect: 2", 3, "protect: the skill a task may lose, from 0 to 1, found 2"),
        ("search: {optim.lr: {from: 1.0e-3, to: 1.0e-2}}\nevery: true", 3, "with `every: true` a list of values"),
        ("search: {optim.lr: [1.0e-3, 2.0e-3]}\nevery: true\ntrials: 3", 3, "each combination is one. Leave it out"),
        ("search: {optim.lr: [1.0e-3, 2.0e-3]}\nrungs: [100, 10]", 3, "numbers of steps that grow"),
        ("search: {optim.lr: [1.0e-3, 2.0e-3]}\nrungs: [many]", 3, "rungs: whole numbers from 1 up are needed, found 'many'"),
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


def test_a_study_writes_a_recipe_that_loads_a_plot_and_trials_in_one_group_and_runs_nothing_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_project(tmp_path)
    (tmp_path / "tasks").rename(tmp_path / "cards")  # the recipe's own catalog, not the project's
    ranges = "{optim.lr: {from: 1.0e-3, to: 1.0e-1, log: true}, tasks.0.weight: [0.5, 2.0]}"
    (tmp_path / "search.yaml").write_text(f"trials: 3\nrungs: [1, 2]\nkeep: 3\nprotect: 0.5\nsearch: {ranges}\n")
    stated = ["-s", "tasks=[{task: topic}]", "-s", "catalog=[../cards]", "-s", "track.wandb={project: laws, mode: disabled}"]
    command = ["tune", str(recipe), "--search", str(tmp_path / "search.yaml"), *stated, "--in-process", "--json", "--draws", "20"]
    assert main([*command, "--to", str(tmp_path / "recipes" / "one.yaml")]) == 0
    first = json.loads(capsys.readouterr().out)
    runs = sorted((tmp_path / "recipes" / ".trunkline" / "tune").rglob("run.json"))
    assert len(runs) == 3 + len([trial for trial in first["trials"] if len(trial["scores"]) == 2])
    groups = {load_recipe(run.with_name("recipe.yaml")).track.wandb.group for run in runs}
    assert groups == {f"tune-{runs[0].parents[3].name}"}
    assert load_recipe(tmp_path / "recipes" / "one.yaml").train.steps == 20 and first["best"]["number"] in first["front"]
    assert first["plot"] == str(tmp_path / "recipes" / "one.svg") and "tasks.0.weight" in Path(first["plot"]).read_text()
    runs[0].with_name("result.json").unlink()  # as if it had been killed
    assert main([*command, "--to", str(tmp_path / "recipes" / "two.yaml")]) == 0
    assert json.loads(capsys.readouterr().out)["best"]["number"] == first["best"]["number"]
    assert sorted((tmp_path / "recipes" / ".trunkline" / "tune").rglob("run.json")) == runs


def test_an_objective_without_validation_rows_is_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_project(tmp_path)
    card = tmp_path / "tasks" / "topic" / "card.yaml"
    card.write_text(card.read_text().replace("validation: 25", "validation: 0"))
    (tmp_path / "search.yaml").write_text("search: {optim.lr: [1.0e-3]}\nobjective: topic\n")
    assert main(["tune", str(recipe), "--search", str(tmp_path / "search.yaml"), "--in-process"]) == 3
    assert "objective: topic has no validation rows" in capsys.readouterr().err
    assert not (tmp_path / ".trunkline" / "tune").exists()


PATHS = {
    "trunk.embeddings.dim": 8,
    "trunk.dropout": 0.2,
    "optim.head_lr": 1e-3,
    "sampling.temperature": 4.0,
    "sampling": {"kind": "annealed", "start": 1.0},
    "weighting": "static",
    "tasks.3.weight": 2.0,
    "freeze": [{"modules": "embeddings", "until": 0.3}],
    "freeze.0.until": 0.5,
}


@pytest.mark.parametrize("path", PATHS)
def test_any_path_of_a_recipe_may_be_searched(tmp_path: Path, path: str) -> None:
    recipe = write_project(tmp_path)
    recipe.write_text(recipe.read_text() + "freeze: [{modules: embeddings, until: 0.2}]\n")
    (tmp_path / "search.yaml").write_text(json.dumps({"search": {path: [PATHS[path]]}, "trials": 2}))
    search = read_search(tmp_path / "search.yaml", load_recipe(recipe))
    check_recipe(load_recipe(recipe, settings(search.points(3)[1])))
    with pytest.raises(TrunklineError):
        check_recipe(load_recipe(recipe, settings({f"{path}.nonsense": 1})))


def test_the_word_dimension_is_a_search_of_the_word_table_s_widths(tmp_path: Path) -> None:
    recipe = load_recipe(write_project(tmp_path))
    search = read_search(Path("dimension"), recipe)
    assert [point.get("trunk.embeddings.dim") for point in search.points(3)] == [None, 16, 32, 64, 128, 256]
    assert search.rungs == (20,) and search.objective == ()
