"""The benches of mixing: differences and intervals by hand, cells that stand, pages that say what was stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import weighting
from benchmarks.quality import mixing
from benchmarks.quality.mixed import best_of, counted, left_out, markdown, table
from benchmarks.quality.table import section

from small_project import write_project
from trunkline.build.prepare import check_recipe
from trunkline.config.recipe import load_recipe
from trunkline.document import reader, writer
from trunkline.errors import UsageError

ROOT = Path(__file__).parent.parent
SMALL = """
recipe:
  trunk: {kind: static, embeddings: {dim: 4}}
  tokenizer: {kind: words}
  catalog: [tasks]
  tasks: [topic, tags]
  train: {steps: 2, tokens_per_step: 96, max_length: 16}
  workers: {count: 0, cpus: 1}
seeds: [1, 2]
samplings: {uniform: {kind: uniform}, proportional: {kind: proportional}}
weightings: {static: {kind: static}}
alone: {all: 2, own: drawn}
best: {seeds: [1], trunk: {kind: static, embeddings: {dim: 6}}}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> mixing.Mixing:
    folder = tmp_path_factory.mktemp("mixing")
    write_project(folder)
    for card in (folder / "tasks").glob("*/card.yaml"):
        card.write_text(card.read_text().replace("test: 0}}", "test: 25}}\nmetrics: [accuracy]"))
    (folder / "small.yaml").write_text(SMALL.lstrip())
    made = mixing.Mixing(folder / "small.yaml", folder / "results")
    with pytest.raises(UsageError, match="which pair is the best is not known"):
        made.run("best-1", lambda _: None)
    for cell in made.cells():
        made.run(cell, lambda _: None)
    return made


def test_cells_stand_until_something_that_states_them_changes_and_leave_no_runs(trained: mixing.Mixing) -> None:
    assert len(trained.cells()) == 13 and not any(path.is_dir() for path in trained.outputs.iterdir())
    said: list[str] = []
    trained.run("uniform-static-1", said.append)
    assert said == ["uniform-static-1: stands"]
    text = trained.path.read_text()
    trained.path.write_text(text.replace("{all: 2,", "{all: 3,"))
    changed = mixing.Mixing(trained.path, trained.results)
    trained.path.write_text(text)
    assert changed.stored("uniform-static-1") and changed.stored("all-topic-1") is None


def test_alone_a_task_sees_as_many_of_its_tokens_as_together_and_not_before_that_is_known(trained: mixing.Mixing) -> None:
    together, alone = trained.stored("uniform-static-2"), trained.stored("own-topic-2")
    assert together and alone
    wanted, step = together["drawn"]["topic"]["tokens"], trained.shared["train"]["tokens_per_step"]
    assert alone["drawn"]["topic"]["tokens"] == pytest.approx(wanted, abs=step)
    assert trained.recipe("own-topic-2")["train"]["steps"] == round(wanted / step) == 1
    elsewhere = mixing.Mixing(trained.path, trained.results / "nothing")
    with pytest.raises(UsageError, match="cell 'own-topic-2' needs 'uniform-static-2'"):
        elsewhere.recipe("own-topic-2")


def test_cells_measure_the_same_drawn_rows_so_that_a_run_has_no_difference_to_itself(trained: mixing.Mixing) -> None:
    found = trained.whole_table()
    one = trained.stored("uniform-static-1")
    assert one and [len(row["resampled"]) for row in one["tasks"]] == [mixing.RESAMPLES] * 2
    cells = {**{cell: stored for cell in trained.cells() if (stored := trained.stored(cell))}}
    for seed in (1, 2):
        for number, task in enumerate(("topic", "tags")):
            cells[f"all-{task}-{seed}"] = {**cells[f"uniform-static-{seed}"]}
            cells[f"all-{task}-{seed}"]["tasks"] = [cells[f"uniform-static-{seed}"]["tasks"][number]]
    itself = table(cells, pairs=trained.pairs, budgets=["all"], tasks=trained.tasks, seeds=[1, 2])["pairs"][0]
    assert itself["delta_m"]["all"] == {"percent": 0, "low": 0, "high": 0}
    shown = markdown(found).splitlines()
    assert any(line.startswith("| topic | accuracy | ") and line.count("|") == 8 for line in shown)
    assert shown[0].startswith("| sampling | weighting | topic (accuracy) | tags (accuracy) | delta_m, all | delta_m, own |")
    assert shown[6].startswith(f"| {best_of(found['pairs'])['sampling']}, MiniLM | static |")


def made_up(value: float, spread: float, seed: int) -> dict[str, Any]:
    drawn = value + spread * np.random.default_rng(seed).normal(size=500)
    return {"task": "a", "metric": "accuracy", "value": value, "resampled": drawn.tolist()}


def cell(*rows: dict[str, Any]) -> dict[str, Any]:
    named = [{**row, "task": task} for row, task in zip(rows, "ab", strict=False)]
    return {"date": "d", "commit": "c", "machine": "m", "training_s": 1, "tasks": named}


def test_delta_m_is_the_mean_percentage_by_hand_and_its_interval_that_of_the_draws() -> None:
    found = {"x-s-1": cell(made_up(0.6, 0.0, 0), made_up(0.5, 0.0, 0)), "y-s-1": cell(made_up(0.5, 0.0, 0), made_up(0.5, 0.0, 0))}
    found |= {"all-a-1": cell(made_up(0.5, 0.0, 0)), "all-b-1": {**cell(made_up(0.4, 0.0, 0))}}
    found["all-b-1"]["tasks"][0]["task"] = "b"
    settings = {"pairs": [("x", "s"), ("y", "s")], "budgets": ["all"], "tasks": ["a", "b"], "seeds": [1]}
    rows = table(found, **settings)["pairs"]
    assert rows[0]["delta_m"]["all"]["percent"] == pytest.approx((100 * 0.1 / 0.5 + 100 * 0.1 / 0.4) / 2, abs=1e-3)
    assert rows[0]["delta_m"]["all"]["low"] == rows[0]["delta_m"]["all"]["high"] == rows[0]["delta_m"]["all"]["percent"]
    assert rows[0]["against_alone"]["all"]["b"] == {"difference": 0.1, "low": 0.1, "high": 0.1}
    assert rows[1]["against_first"]["percent"] == pytest.approx(-10, abs=1e-3) and rows[0]["against_first"] is None
    # Of what is 0 alone there is no percentage.
    none = {**found, "all-b-1": {**found["all-b-1"], "tasks": [{**made_up(0.0, 0.0, 0), "task": "b"}]}}
    left = table(none, **settings)
    assert left["pairs"][0]["delta_m"]["all"]["percent"] == pytest.approx(20)
    assert "delta_m, all leaves out b: 0 alone." in left_out(left)
    # Draws that go together on both sides leave no interval; draws of their own do.
    found["x-s-1"] = cell(made_up(0.6, 0.03, 5), made_up(0.5, 0.0, 0))
    found["y-s-1"] = cell(made_up(0.6, 0.03, 5), made_up(0.5, 0.0, 0))
    paired = table(found, **settings)["pairs"][1]["against_first"]
    assert paired == {"percent": 0, "low": 0, "high": 0}
    found["y-s-1"] = cell(made_up(0.6, 0.03, 6), made_up(0.5, 0.0, 0))
    apart = table(found, **settings)["pairs"][1]["against_first"]
    assert apart["high"] - apart["low"] == pytest.approx(2 * 1.96 * 100 * 0.03 * 2**0.5 / 0.5 / 2, rel=0.15)
    del found["y-s-1"]
    assert table(found, **settings)["pairs"][1] == {
        "sampling": "y",
        "weighting": "s",
        "scores": {"a": None, "b": None},
        "delta_m": None,
        "against_first": None,
        "against_alone": None,
    }


def test_every_cell_of_the_bench_is_a_sound_recipe(tmp_path: Path) -> None:
    made = mixing.Mixing(ROOT / "benchmarks" / "quality" / "mixing.yaml", tmp_path)
    assert len([name for name in made.cells() if not name.startswith("best")]) == 27 + 18 + 18
    for name in (*made.cells()[:9], "all-atis-18"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(writer.render(made.recipe(name)), encoding="utf-8")
        check_recipe(load_recipe(path))


def test_a_bench_over_a_base_is_the_base_but_for_what_it_states(tmp_path: Path) -> None:
    folder = ROOT / "benchmarks" / "quality"
    made = mixing.Mixing(folder / "core12_seeds.yaml", tmp_path)
    assert made.cells()[0] == "explicit-static-17" and len(made.cells()) == 2 * 13
    base, own = reader.read(folder / "core12.yaml").data, made.recipe("explicit-static-17")
    changed = {key for key in own if own[key] != base.get(key)}
    assert changed == {"catalog", "train", "workers"} and own["train"] == {**base["train"], "steps": 440, "save_every": 110}


@pytest.mark.parametrize("name", ["mixing", "core12_seeds"])
def test_the_page_shows_the_stored_table_of_mixing_and_a_changed_figure_is_found(name: str) -> None:
    page = (ROOT / "docs" / "quality.md").read_text(encoding="utf-8")
    found = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
    assert section(page, name, markdown(found)) == page
    if len(found["pairs"]) > 1:
        assert counted(found) in page
    found["pairs"][0]["scores"]["sst2"] = 0.123
    assert section(page, name, markdown(found)) != page


def test_the_page_shows_the_stored_costs_of_weightings_and_a_changed_figure_is_found() -> None:
    page = (ROOT / "docs" / "mixing.md").read_text(encoding="utf-8")
    path = ROOT / "benchmarks" / "results" / "weighting.json"
    found = json.loads(path.read_text()) if path.is_file() else {"ratios": []}
    assert weighting.written(page, found) == page
    assert {row["cell"] for row in found["ratios"]} == ({*weighting.CELLS, weighting.NAIVE} if found["ratios"] else set())
    found["ratios"] = [{"cell": "uncertainty", "figure": "R12", "ratio": 9.0, "low": 9.0, "high": 9.0, "own": 9.0}]
    assert weighting.written(page, found) != page
