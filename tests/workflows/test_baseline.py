"""Tasks alone, compared with a run: trained once, paired row by row; and rates found by proxy runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from small_project import write_project
from trunkline.cli.app import main
from trunkline.config.recipe import load_recipe
from trunkline.metrics.bootstrap import Measured
from trunkline.metrics.regression import Mse
from trunkline.metrics.retrieval import RetrievalRecall
from trunkline.plan import Planned
from trunkline.workflows.baseline import drawn_percents
from trunkline.workflows.mix import points

SHORT = [word for key in ("tasks=[topic, tags]", "train.steps=2", "train.save_every=null") for word in ("-s", key)]
Captured = pytest.CaptureFixture[str]


def test_a_run_with_single_task_tells_each_task_s_difference_and_baselines_are_trained_once(
    tmp_path: Path, capsys: Captured
) -> None:
    recipe = str(write_project(tmp_path))
    assert main(["train", recipe, *SHORT, "-s", "single_task=true", "--in-process", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    result = json.loads((Path(done["run"]) / "result.json").read_text())
    assert (
        result["delta_m"] == done["delta_m"] and done["delta_m"]["low"] <= done["delta_m"]["percent"] <= done["delta_m"]["high"]
    )
    assert all(row["alone"] is not None and "%" in row["difference"] for row in result["tasks"])
    kept = sorted((tmp_path / ".trunkline" / "baselines").glob("*/*/result.json"))
    assert len(kept) == 2
    assert main(["baseline", recipe, *SHORT, "--against", done["run"], "--in-process", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["delta_m"] == done["delta_m"] and all(own["reused"] for own in again["alone"])
    # Against itself a task has no difference, whatever rows are drawn.
    alone = next(own for own in again["alone"] if own["task"] == "topic")
    assert main(["baseline", recipe, *SHORT, "-s", "tasks=[topic]", "--against", alone["run"], "--in-process", "--json"]) == 0
    itself = json.loads(capsys.readouterr().out)["delta_m"]
    assert (itself["percent"], itself["low"], itself["high"]) == (0, 0, 0)
    # Another card is another baseline.
    card = tmp_path / "tasks" / "topic" / "card.yaml"
    card.write_text(card.read_text().replace("pooling: mean", "pooling: first"))
    assert main(["baseline", recipe, *SHORT, "--in-process"]) == 0
    assert len(sorted((tmp_path / ".trunkline" / "baselines").glob("*/*/result.json"))) == 3


def test_a_difference_is_drawn_with_the_same_rows_of_both_models_and_retrieval_against_the_whole_split() -> None:
    rng = np.random.default_rng(0)
    metric, rows = RetrievalRecall(num_candidates=40), 60
    candidate = rng.normal(size=(rows, 8))
    models = []
    for noise in (0.8, 1.5):
        unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (candidate + noise * rng.normal(size=(rows, 8)), candidate)]
        keys = {"key": np.arange(rows), "query_key": np.arange(rows) + 1000}
        models.append(Measured(np.arange(rows), {"query": unit[0], "candidate": unit[1], **keys}))
    found = drawn_percents(metric, *models, seed=3)
    chance = np.random.default_rng(3)
    taken = [chance.integers(0, rows, rows) for _ in range(5)]
    right = [metric.gains(**model.records) for model in models]
    whole = [[own[rows].mean() for own in right] for rows in taken]
    assert found[:5].tolist() == pytest.approx([100 * (together - alone) / alone for together, alone in whole])
    shrunk = [[metric.value(**{name: record[rows] for name, record in own.records.items()}) for own in models] for rows in taken]
    assert found[:5].tolist() != pytest.approx([100 * (together - alone) / alone for together, alone in shrunk], rel=0.05)
    assert len(found) == 1000


def test_where_lower_is_better_a_lower_loss_is_a_positive_difference_and_0_alone_is_none() -> None:
    zeros = np.zeros(8, np.float32)
    near, far, exact = (Measured(np.arange(8), {"prediction": zeros + gap, "target": zeros}) for gap in (1.0, 2.0, 0.0))
    assert np.all(drawn_percents(Mse(), near, far) == 75)
    assert np.isnan(drawn_percents(Mse(), near, exact)).all()


def test_the_first_of_many_trials_are_those_of_fewer_and_weights_differ_from_trial_to_trial() -> None:
    planned = [Planned(task, rows, 4.0, 0.0, 0.0, 0.0, 0.0, 0.0) for task, rows in (("a", 100), ("b", 300), ("c", 50))]
    few, many = (points(planned, np.ones(3), trials, 3) for trials in (6, 12))
    assert np.array_equal(few, many[:6])
    assert len(np.unique(many[2:].reshape(10, -1), axis=0)) == 10
    assert not np.array_equal(points(planned, np.ones(3), 6, 4)[2:], few[2:])


def test_a_proxy_is_kept_by_its_rates_weights_cards_and_data(tmp_path: Path, capsys: Captured) -> None:
    recipe = write_project(tmp_path)
    recipe.write_text(recipe.read_text().replace("log_every: 1,", "log_every: 1, patience: 3,"))
    words = ["mix", str(recipe), "-s", "tasks=[topic, {task: tags, patience: 2}]", "--steps", "2", "--in-process", "--json"]

    def mixed(trials: int, name: str) -> tuple[list[Any], int]:
        assert main([*words, "--trials", str(trials), "--to", str(tmp_path / name)]) == 0
        kept = (tmp_path / ".trunkline" / "mix").glob("*/*/result.json")
        return json.loads(capsys.readouterr().out)["trials"], len(list(kept))

    first, count = mixed(4, "one.yaml")
    assert count == 3  # with as many rows of each task, even rates are proportional ones
    more, count = mixed(5, "two.yaml")
    assert more[:4] == first and count == 4
    rows = tmp_path / "tasks" / "topic" / "rows.jsonl"
    rows.write_text("\n".join(rows.read_text().splitlines()[:-3]) + "\n")
    assert mixed(4, "three.yaml")[1] == 7


def test_mix_runs_proxies_once_and_writes_a_recipe_that_loads(tmp_path: Path, capsys: Captured) -> None:
    recipe = write_project(tmp_path)
    words = [str(recipe), *SHORT[:2], "--trials", "4", "--steps", "2", "--in-process"]
    assert main(["mix", *words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    written = load_recipe(found["recipe"])
    assert written.sampling.kind == "explicit" and written.sampling.arguments["rates"] == found["rates"]
    assert found["low"] <= found["high"] and len(found["trials"]) == 4
    assert {use.task: use.weight for use in written.tasks} == found["weights"]
    assert sum(found["weights"].values()) == pytest.approx(2) and found["trials"][0][1] == {"topic": 1.0, "tags": 1.0}
    runs = sorted((tmp_path / ".trunkline" / "mix").glob("*/*/result.json"))
    tried = [{use.task: use.weight for use in load_recipe(run.parent / "recipe.yaml").tasks} for run in runs]
    assert found["trials"][3][1] in tried and found["trials"][3][1] != found["trials"][0][1]
    assert main(["mix", *words]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["mix", *words, "--to", str(tmp_path / "other.yaml")]) == 0
    assert sorted((tmp_path / ".trunkline" / "mix").glob("*/*/result.json")) == runs and len(runs) == 3
    assert main(["mix", str(recipe), "--trials", "2", "--to", str(tmp_path / "third.yaml")]) == 2
    assert main(["mix", str(recipe), "-s", "tasks=[topic]", "--to", str(tmp_path / "third.yaml")]) == 3
    assert "there is one task that is drawn" in capsys.readouterr().err and not (tmp_path / "third.yaml").exists()
