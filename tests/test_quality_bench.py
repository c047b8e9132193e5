"""The quality table's cells: equal budgets, kept results, what changes them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from benchmarks.quality import ladder
from benchmarks.quality.cells import TOGETHER, Bench
from benchmarks.quality.table import markdown, table, written
from benchmarks.quality.translation import evaluations

from small_project import write_project
from trunkline.build.prepare import check_recipe
from trunkline.config.recipe import load_recipe
from trunkline.document import writer
from trunkline.errors import UsageError

ROOT = Path(__file__).parent.parent
FLOORS = """
alone: {tokens_per_step: 64}
tasks:
  topic: {metric: accuracy, floor: 0.0, from: nothing}
  score: {metric: spearman, floor: 1.1, from: a wish}
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Two tasks, trained together and alone."""
    folder = tmp_path_factory.mktemp("bench")
    recipe = write_project(folder / "quality")
    settings = {"steps": 4, "tokens_per_step": 96, "tokens_per_pass": 96, "max_length": 16}
    text = recipe.read_text().replace("tasks: [topic, score, tags, {task: answer, weight: 0.7}, words]", "tasks: [topic, score]")
    text = "".join(line for line in text.splitlines(keepends=True) if "log_every" not in line and not line.startswith("train"))
    (folder / "quality" / "small.yaml").write_text(text + f"train: {json.dumps(settings)}\n")
    (folder / "quality" / "small.floors.yaml").write_text(FLOORS)
    for card in (folder / "quality" / "tasks").glob("*/card.yaml"):
        card.write_text(card.read_text().replace("test: 0", "test: 25"))
    made = Bench(folder / "quality", "small")
    with pytest.raises(UsageError, match="needs the cell 'together'"):
        made.run("topic", lambda _: None)
    for cell in made.cells():
        made.run(cell, lambda _: None)
    return made


def test_a_task_alone_sees_the_tokens_it_saw_together_within_a_step(bench: Bench) -> None:
    together = bench.stored(TOGETHER)
    assert together is not None and together["training_s"] >= 0
    for task in ("topic", "score"):
        alone = bench.stored(task)
        assert alone is not None and [row["task"] for row in alone["tasks"]] == [task]
        # A pending draw is counted by either side, a step is filled up to its last row.
        assert abs(alone["drawn"][task]["tokens"] - together["drawn"][task]["tokens"]) <= 64


def test_the_table_says_which_task_beats_its_floor(bench: Bench) -> None:
    found = table(bench)
    assert {row["task"]: row["beats_floor"] for row in found["tasks"]} == {"topic": True, "score": False}
    first = markdown(found).splitlines()[2].split("|")
    assert first[1].strip() == "topic" and first[4].strip() == "0.000" and first[7].strip() == "yes"
    assert all(row["alone"] is not None and row["together"] is not None for row in found["tasks"])


def test_a_result_stands_until_its_recipe_or_card_changes(bench: Bench) -> None:
    said: list[str] = []
    bench.run(TOGETHER, said.append)
    assert said == ["together: stands"]
    card = bench.folder / "tasks" / "topic" / "card.yaml"
    kept = card.read_text()
    try:
        card.write_text(kept.replace("name: topic", "name: topic\nsummary: another"))
        assert bench.stored("topic") is None and bench.stored(TOGETHER) is None
        card.write_text(f"# a comment\n{kept}")
        assert bench.stored("topic") is not None and bench.stored(TOGETHER) is not None
    finally:
        card.write_text(kept)
    assert bench.stored("topic") is not None


def test_a_run_cut_off_goes_on(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import trunkline
    from trunkline.launch import worker

    (bench.results / "topic.json").rename(tmp_path / "topic.json")
    for run in bench.outputs.glob("topic-*"):
        run.rename(tmp_path / run.name)
    whole = json.loads((tmp_path / "topic.json").read_text())
    text = bench.recipe_path.read_text()

    def stop(self: worker.Worker, *_: object) -> None:
        raise RuntimeError("cut off")

    with monkeypatch.context() as patch:
        patch.setattr(worker.Worker, "_finish", stop)
        with pytest.raises(RuntimeError, match="cut off"):
            bench.run("topic", lambda _: None)
    said: list[str] = []
    bench.run("topic", said.append)
    again = bench.stored("topic")
    assert any(line.startswith("resuming") for line in said) and again is not None
    assert [row["metrics"] for row in again["tasks"]] == [row["metrics"] for row in whole["tasks"]]
    assert text == bench.recipe_path.read_text() and trunkline.__version__


@pytest.mark.parametrize("name", ["core12", "chinese"])
def test_the_page_shows_the_stored_table_and_a_changed_figure_is_found(name: str) -> None:
    page = (ROOT / "docs" / "quality.md").read_text(encoding="utf-8")
    found = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
    assert written(page, name, found) == page
    found["tasks"][0]["together"] += 0.01
    assert written(page, name, found) != page


def test_the_page_shows_the_stored_series_of_the_translation() -> None:
    page = (ROOT / "docs" / "quality.md").read_text(encoding="utf-8")
    series = json.loads((ROOT / "benchmarks" / "results" / "translation.json").read_text())["series"]
    own = page.split("## A translation")[1].split("\n## ")[0]
    shown = [line for line in own.splitlines() if line.startswith("| ") and line[2].isdigit()]
    assert shown == [f"| {p['step']} | {p['bleu']:.1f} | {p['chrf']:.1f} | {p['perplexity']:.1f} |" for p in series]


def test_evaluations_are_read_from_the_metrics_in_order() -> None:
    lines = [{"step": 1, "train/lr": 0.1}]
    lines += [{"step": n, **{f"eval/captions_en_de/{name}": n / 2 for name in ("bleu", "chrf", "perplexity")}} for n in (2, 4)]
    found = list(evaluations("".join(json.dumps(line) + "\n" for line in lines)))
    assert [(point["step"], point["bleu"]) for point in found] == [(2, 1.0), (4, 2.0)]


LADDER = """
recipe:
  trunk: {kind: static, embeddings: {dim: 4}}
  tokenizer: {kind: words}
  catalog: [tasks]
  tasks: [topic, score]
  train: {steps: 2, tokens_per_step: 96, max_length: 16}
  workers: {count: 0, cpus: 1}
rungs:
  bag: {}
  before: {tasks: [topic], trunk: {kind: gru, hidden_size: 8}, train: {steps: 1}}
  after: {from: before, trunk: {kind: gru}}
  never: {trunk: {kind: rnn}}
"""


@pytest.fixture(scope="module")
def climbed(tmp_path_factory: pytest.TempPathFactory) -> ladder.Ladder:
    folder = tmp_path_factory.mktemp("ladder")
    write_project(folder)
    for card in (folder / "tasks").glob("*/card.yaml"):
        card.write_text(card.read_text().replace("test: 0", "test: 25"))
    (folder / "steps.yaml").write_text(LADDER.lstrip())
    made = ladder.Ladder(folder / "steps.yaml", folder / "results")
    with pytest.raises(UsageError, match="goes on from 'before', whose model is not here"):
        made.run("after", lambda _: None)
    for rung in ("bag", "before", "after"):
        made.run(rung, lambda _: None)
    return made


def test_a_rung_is_the_shared_recipe_with_its_own_sections_over_it(climbed: ladder.Ladder) -> None:
    recipe = climbed.recipe("before")
    assert recipe["train"] == {"steps": 1, "tokens_per_step": 96, "max_length": 16} and recipe["tasks"] == ["topic"]
    assert recipe["trunk"] == {"kind": "gru", "hidden_size": 8} and recipe["tokenizer"] == {"kind": "words"}


def test_a_rung_stands_until_something_that_states_it_changes(climbed: ladder.Ladder) -> None:
    said: list[str] = []
    climbed.run("bag", said.append)
    assert said == ["bag: stands"]
    text = climbed.path.read_text()
    climbed.path.write_text(text.replace("hidden_size: 8", "hidden_size: 10"))
    changed = ladder.Ladder(climbed.path, climbed.results)
    climbed.path.write_text(text)
    assert changed.stored("bag") and changed.stored("before") is None and changed.stored("after") is None


def test_a_rung_goes_on_with_another_s_trunk_and_tokenizer(climbed: ladder.Ladder) -> None:
    after = climbed.stored("after")
    assert after is not None
    trunk = climbed.outputs / after["model"] / "trunk"
    assert json.loads((trunk / "trunk.json").read_text())["sizes"]["hidden_size"] == 8


def test_the_ladder_s_table_and_plot_show_what_was_climbed(climbed: ladder.Ladder) -> None:
    found = climbed.table()
    assert [row["rung"] for row in found["rungs"]] == ["bag", "after", "never"]
    shown = ladder.markdown(found).splitlines()
    assert shown[0].startswith("| trunk | topic (accuracy) | score (spearman) |") and shown[-1] == "| never |  |  |  |  |"
    drawn = ladder.plot(found)
    assert drawn.count("<polyline") == 2 and all(f">{rung}</text>" in drawn for rung in ("bag", "after", "never"))
    assert all(len(points.split()) == 2 for points in re.findall(r'points="([^"]+)"', drawn))


def test_every_rung_of_the_ladder_is_a_sound_recipe(tmp_path: Path) -> None:
    made = ladder.Ladder(ROOT / "benchmarks" / "quality" / "ladder.yaml", tmp_path)
    for rung in made.rungs:
        path = tmp_path / f"{rung}.yaml"
        path.write_text(writer.render(made.recipe(rung)), encoding="utf-8")
        check_recipe(load_recipe(path))
