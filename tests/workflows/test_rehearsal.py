"""Rows that are rehearsed by loss: drawn at rates in proportion to it, from what the model itself answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from extended import OLD, model_of
from trunkline.build import rehearsal
from trunkline.build.assemble import assemble
from trunkline.build.evaluation import judged_task
from trunkline.build.model import load_model
from trunkline.build.prepare import prepare
from trunkline.config.recipe import load_recipe
from trunkline.errors import ConfigError
from trunkline.evaluate import Judged
from trunkline.metrics.tables import wrongness
from trunkline.tasks.catalog import Catalog
from trunkline.workflows.extend import Job, write_recipe
from trunkline.workflows.judging import records_of
from trunkline.workflows.strategies import Settings, planned


def test_a_row_of_three_times_the_loss_is_drawn_first_three_times_as_often() -> None:
    chance = np.random.default_rng(0)
    first = np.array([rehearsal.drawn(np.array([3.0, 1.0]), chance)[0] for _ in range(4000)])
    assert (first == 0).mean() == pytest.approx(3 / 4, abs=0.02)
    # Two of three, of losses 2, 1, 1: the last is left out with rate (2/4)(1/2) + (1/4)(2/3) = 5/12.
    out = np.array([rehearsal.drawn(np.array([2.0, 1.0, 1.0]), chance)[2] for _ in range(4000)])
    assert (out == 2).mean() == pytest.approx(5 / 12, abs=0.02)
    assert sorted(rehearsal.drawn(np.zeros(5), chance)) == [0, 1, 2, 3, 4]


def started(project: Path, name: str, by: str, told: list[str]) -> Path:
    model = model_of(project)
    plan = planned(["replay"], ["answer"], OLD, Settings(rehearse=3, by=by))
    manifest = json.loads((model / "manifest.json").read_text())
    job = Job(model, ["answer"], "replay")
    recipe = write_recipe(model, manifest, project / "tasks", plan, job, project / ".trunkline" / "extend" / name)
    run = project / name
    run.mkdir()
    prepare(load_recipe(recipe), run, project / ".trunkline" / "store", told.append)
    return run


def test_which_rows_without_how_many_is_a_sentence(project: Path) -> None:
    asked = [f"start={{model: {model_of(project)}, by: loss}}"]
    with pytest.raises(ConfigError, match=r"start.by: says which rows are rehearsed. Give start.rehearse"):
        load_recipe(project / "recipes" / "small.yaml", asked)


def losses(project: Path) -> np.ndarray:
    """Of every training row of `topic` under the model."""
    catalog = Catalog([project / "tasks"])
    model = load_model(model_of(project), catalog)
    judged, train = judged_task(model, "topic", catalog, project / "tasks", "validation", lambda _: None)
    ids, records = records_of(model, Judged("topic", train, judged.encoding, judged.metrics))
    found = wrongness(records)
    assert found is not None
    return found[np.argsort(ids)]


def kept(run: Path) -> dict[str, int]:
    return {name: len(table.rows) for name, table in assemble(run).tables.items()}


def test_by_loss_a_run_rehearses_rows_the_model_answers_badly(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(rehearsal, "drawn", lambda given, _: np.argsort(-given))  # at the limit: the worst come first
    monkeypatch.setattr(rehearsal, "CANDIDATES", 10**6)
    run = started(project, "hard", "loss", told)
    chosen = json.loads((run / "rehearsed.json").read_text())
    assert chosen["topic"] == sorted(np.argsort(-losses(project), kind="stable")[:3].tolist())
    assert set(chosen) == set(OLD) and not any("by chance" in line for line in told)
    rows = assemble(run).tables["topic"].rows
    easy = started(project, "any", "chance", told)
    assert kept(run)["topic"] == kept(easy)["topic"] == 3 and kept(run)["answer"] > 3
    assert not np.array_equal(rows.tokens.values, assemble(easy).tables["topic"].rows.tokens.values)
    assert not (easy / "rehearsed.json").exists()
    # A model that can not tell a loss is told, and its rows are drawn by chance.
    monkeypatch.setattr(rehearsal, "wrongness", lambda _: None)
    blind = started(project, "blind", "loss", told)
    assert json.loads((blind / "rehearsed.json").read_text()) == {} and sum("by chance" in line for line in told) == 3
    assert np.array_equal(assemble(blind).tables["topic"].rows.tokens.values, assemble(easy).tables["topic"].rows.tokens.values)
