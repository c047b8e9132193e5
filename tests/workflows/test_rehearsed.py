"""`rehearse: {rows: N, by: loss}`: the run draws from the rows that were chosen, whatever attempt it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from extended import OLD, extend, model_of
from trunkline.build.assemble import Assembly, assemble
from trunkline.build.prepare import prepare
from trunkline.build.rehearsal import row_losses
from trunkline.build.task import make_loss
from trunkline.config import load_recipe
from trunkline.workflows.extend import Job, write_recipe
from trunkline.workflows.strategies import Settings, planned

ROWS = 15


@pytest.fixture(scope="module")
def run(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a replay by loss before its first step."""
    model, place = model_of(trained), tmp_path_factory.mktemp("rehearsed")
    manifest = json.loads((model / "manifest.json").read_text())
    plan = planned(["replay"], ["answer"], OLD, Settings(rehearse=ROWS, by="loss"))
    recipe = write_recipe(model, manifest, trained / "tasks", plan, Job(model, ["answer"], "replay"), place / "job")
    (place / "run").mkdir()
    prepare(load_recipe(recipe), place / "run", place / "store", lambda _: None)
    return place / "run"


def chosen_law(built: Assembly, chosen: dict[str, list[int]]) -> bool:
    """Old tasks are as long as asked for, the new one is whole."""
    lengths = {name: len(table.rows) for name, table in built.tables.items()}
    return all(lengths[name] == ROWS == len(set(rows)) for name, rows in chosen.items()) and lengths["answer"] > ROWS


def test_old_tasks_are_rehearsed_by_the_rows_that_were_chosen(run: Path) -> None:
    chosen = json.loads((run / "rehearsed.json").read_text())
    assert set(chosen) == set(OLD) and chosen_law(assemble(run), chosen)
    again = json.loads((run / "rehearsed.json").read_text())
    assert again == chosen and any(rows != list(range(ROWS)) for rows in chosen.values())
    twice = {**chosen, "topic": [*chosen["topic"][:-1], chosen["topic"][0]]}
    assert not chosen_law(assemble(run), twice)


@pytest.mark.parametrize("task", ["topic", "tags"])
def test_a_row_s_loss_is_that_of_the_row_read_alone(run: Path, task: str) -> None:
    built = assemble(run)
    table, loss = built.tables[task], make_loss(built.cards[task], built.encodings[task])
    together = row_losses(built.model, task, table, loss)
    alone = [row_losses(built.model, task, replace(table, rows=table.rows.take(np.array([row]))), loss)[0] for row in range(4)]
    assert np.allclose(together[:4], alone, atol=1e-5) and together.shape == (ROWS,)


def test_rows_by_loss_without_their_number_are_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert extend(project, "--task", "answer", "--strategy", "replay", "--by", "loss") == 2
    assert "Give --rehearse a number" in capsys.readouterr().err
