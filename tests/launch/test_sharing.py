"""Tasks that share rows, from cards to a finished run, its evaluation and its predictions; bad input is a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gram
import laws
import shared_rows
import trunkline
from ranks import Ranks
from shared_rows import change, rows, write_project, write_rows
from trunkline.build.assemble import Assembly, assemble
from trunkline.build.prepare import prepare
from trunkline.cli.app import main
from trunkline.config.recipe import load_recipe
from trunkline.registry import WEIGHTINGS

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a finished run. Only to be read."""
    return trunkline.train(write_project(tmp_path_factory.mktemp("shared")), in_process=True).run


@pytest.fixture(scope="module")
def built(shared: Path) -> Assembly:
    return assemble(shared)


def test_rows_stay_if_any_task_has_a_label_and_all_tasks_read_the_same_tokens(built: Assembly) -> None:
    given = [row for row in rows() if any(row[name] is not None for name in ("label", "value", "tags"))]
    tables = built.tables
    judged = {one.name: one.table for one in built.judged}
    assert len(given) < len(rows())
    assert {len(tables[name].rows) + len(judged[name].rows) for name in tables} == {len(given)}
    for name, column in (("topic", "label"), ("score", "value"), ("tags", "tags")):
        wanted = sum(row[column] is not None for row in given)
        assert len(tables[name].learned) + len(judged[name].learned) == wanted
        assert np.array_equal(tables[name].rows.tokens.values, tables["topic"].rows.tokens.values)
    assert [tables[name].host for name in ("score", "topic", "tags")] == ["topic", None, "topic"]
    assert built.stream.names == ("topic",)


def test_the_results_count_the_rows_with_a_label_and_every_task_has_its_figures(shared: Path, built: Assembly) -> None:
    tasks = {row["task"]: row for row in json.loads((shared / "result.json").read_text())["tasks"]}
    assert {name: row["rows"] for name, row in tasks.items()} == {n: len(t.learned) for n, t in built.tables.items()}
    assert all(row["value"] is not None for row in tasks.values())
    logged = [json.loads(line) for line in (shared / "metrics.jsonl").read_text().splitlines()]
    shares = next(line for line in logged if line.get("step") == 1)
    assert shares["share/topic"] == 1.0 and 0.3 < shares["share/score"] < 0.9


def test_two_ranks_measure_what_one_does(shared: Path) -> None:
    one, two = Ranks(1), Ranks(2)
    try:
        (alone,) = one(laws.evaluate_run, str(shared))
        for found in two(laws.evaluate_run, str(shared)):
            for task, metrics in alone.items():
                assert found[task] == pytest.approx(metrics, abs=1e-6), task
    finally:
        one.close()
        two.close()


def test_the_model_is_measured_and_answers_task_by_task(shared: Path, capsys: Captured) -> None:
    assert main(["evaluate", str(shared / "model"), "--json"]) == 0
    measured = {row["task"]: row for row in json.loads(capsys.readouterr().out)}
    for row in json.loads((shared / "result.json").read_text())["tasks"]:
        assert measured[row["task"]]["value"] == pytest.approx(row["value"], abs=1e-5)
        assert measured[row["task"]]["baseline"] == pytest.approx(row["baseline"])
    model = trunkline.load(shared / "model")
    asked: list[dict[str, Any]] = [{"words": ["red", "river"]}]
    assert model.predict("topic", asked)[0]["label"] in ("water", "land")
    assert len(model.predict("tags", asked)[0]["tags"]) == 2


def test_without_its_host_the_first_guest_stands_in(tmp_path: Path) -> None:
    built = assemble(prepared(write_project(tmp_path), "tasks=[tags, score]"))
    assert [table.host for table in built.tables.values()] == [None, "tags"] and built.stream.names == ("tags",)
    assert all(len(table.rows) > len(table.learned) for table in built.tables.values())


def test_row_weights_are_stored_for_the_rows_with_a_label(built: Assembly) -> None:
    weights = built.tables["score"].rows.targets["row_weight"]
    assert isinstance(weights, np.ndarray) and set(weights.tolist()) == {0.0, 0.5, 1.0, 2.0}
    assert (weights[built.tables["score"].learned] > 0).all()


def prepared(recipe: Path, *overrides: str) -> Path:
    run = recipe.parent / "run"
    run.mkdir(exist_ok=True)
    prepare(load_recipe(recipe, overrides), run, recipe.parent / "store", lambda _: None)
    return run


def refused(recipe: Path, code: int, capsys: Captured, *overrides: str) -> str:
    settings = [word for override in overrides for word in ("-s", override)]
    assert main(["train", str(recipe), "--in-process", *settings]) == code
    return capsys.readouterr().err


def test_a_task_alone_with_null_labels_is_refused_or_drops_them(tmp_path: Path, capsys: Captured) -> None:
    recipe = write_project(tmp_path)
    assert "have no value in 'words' or 'label'" in refused(recipe, 4, capsys, "tasks=[topic]")
    change(tmp_path, "topic", "{format: jsonl,", "{format: jsonl, on_null: drop,")
    built = assemble(prepared(recipe, "tasks=[topic]"))
    assert built.tables["topic"].rows.counts.all()


@pytest.mark.parametrize(
    ("task", "old", "new", "code", "said"),
    [
        ("tags", "rows_of: score", "rows_of: topics", 3, "rows_of: no task named 'topics'. Did you mean 'topic'?"),
        ("score", "rows_of: topic", "rows_of: tags", 3, "asked for in a circle: score -> tags -> score"),
        ("tags", "rows_of: score", "rows_of: score\ndata: {format: csv}", 3, "rows_of: stands beside data"),
        (
            "tags",
            "rows_of: score",
            "rows_of: score\ninputs: [text]",
            3,
            "inputs: rows of 'score' have the inputs words, found",
        ),
        ("tags", "rows_of: score\n", "", 3, "data: is missing: where the rows are"),
        ("tags", "target: tags", "target: words", 3, "target: 'words' is also an input"),
        ("tags", "target: tags", "target: tag", 4, "no column 'tag'. Did you mean 'tags'?"),
        (
            "score",
            "row_weight: trust",
            "row_weight: label",
            4,
            "column 'label' has row weights that are no finite number",
        ),
        ("topic", "inputs: [words]", "inputs: [text]", 0, ""),
    ],
)
def test_what_can_not_be_shared_is_told_with_its_place(
    task: str, old: str, new: str, code: int, said: str, tmp_path: Path, capsys: Captured
) -> None:
    recipe = write_project(tmp_path)
    change(tmp_path, task, old, new)
    if code:
        assert said in refused(recipe, code, capsys)
    else:
        prepared(recipe)  # text that reads as its words do


def test_an_all_null_column_is_refused_by_its_name(tmp_path: Path, capsys: Captured) -> None:
    recipe = write_project(tmp_path, [{**row, "tags": None} for row in rows()])
    assert "column 'tags' has no value in any of" in refused(recipe, 4, capsys)


@pytest.mark.parametrize("weight", [-1, float("inf"), "much", None])
def test_a_weight_that_is_no_number_from_zero_up_is_refused(weight: object, tmp_path: Path, capsys: Captured) -> None:
    given = rows()
    first = next(number for number, row in enumerate(given) if row["value"] is not None)
    given[first]["trust"] = weight
    said = refused(write_project(tmp_path, given), 4, capsys)
    assert "row weights that are no finite number from 0 up" in said and f"rows.jsonl:{first + 1}" in said


def test_kinds_that_change_tokens_and_losses_that_couple_rows_can_not_share(tmp_path: Path, capsys: Captured) -> None:
    recipe = write_project(tmp_path, [{**row, "reply": "a word"} for row in rows()])
    change(tmp_path, "topic", "inputs: [words]", "inputs: [text]")
    change(tmp_path, "tags", "target: tags\nhead: {kind: tagging, labels: [short, long]}", "head: {kind: masked_language}")
    change(tmp_path, "tags", "[accuracy]", "[perplexity]")
    said = refused(recipe, 3, capsys)
    assert "rows_of: a masked_language task changes the tokens it reads, so it can not share rows with 'score', 'topic'" in said
    change(tmp_path, "tags", "head: {kind: masked_language}", "target: reply\nhead: {kind: contrastive}")
    change(tmp_path, "tags", "[perplexity]", "[retrieval_mrr]")
    assert "the loss of 'tags' wants 16 rows together" in refused(recipe, 3, capsys)


def test_a_weighting_that_tells_gradients_apart_by_rows_refuses_shared_ones(tmp_path: Path, capsys: Captured) -> None:
    recipe = write_project(tmp_path)
    recipe.write_text(recipe.read_text() + "weighting: {kind: pcgrad}\n")
    said = refused(recipe, 3, capsys)
    assert "weighting: weighting 'pcgrad' tells the tasks' gradients apart by their rows, and 'score' and" in said
    assert "Take a weighting that reads losses only" in said
    recipe.write_text(
        recipe.read_text().replace("weighting: {kind: pcgrad}\n", "").replace("log_every", "watch_gradients: 2, log_every")
    )
    said = refused(recipe, 3, capsys)
    assert "train.watch_gradients: it tells the tasks' gradients apart by their rows, and 'score' and" in said


def test_exact_weights_of_tasks_that_share_rows_are_those_of_a_backward_per_task(
    tmp_path: Path, one_rank: Ranks, two_ranks: Ranks
) -> None:
    recipe = write_project(tmp_path)
    recipe.write_text(recipe.read_text() + "weighting: {kind: aligned_mtl, exact: true}\n")
    for card in (tmp_path / "tasks").glob("*/card.yaml"):
        card.write_text(
            card.read_text().replace("pooling: mean}", "pooling: mean, dropout: 0.0}").replace("long]}", "long], dropout: 0.0}")
        )
    run = trunkline.train(recipe, in_process=True, overrides=["train.steps=2", "train.tokens_per_pass=256"]).run
    (stack, losses) = one_rank(gram.stacked_of_run, str(run))[0]
    tasks, ones = ["score", "topic", "tags"], torch.ones(3)

    def weights(products: torch.Tensor) -> list[float]:
        made = WEIGHTINGS.get("aligned_mtl")(tasks, ones)
        made.see(products)
        made.observe(losses, ones > 0)
        return made.coefficients().tolist()

    wanted = weights(stack @ stack.T)
    logged = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    assert [logged[f"weight/{task}"] for task in tasks] == pytest.approx(wanted, rel=1e-3)
    for ranks, stage, tokens, batches in ((one_rank, 0, 100, 3), (two_ranks, 2, 256, 1), (two_ranks, 2, 80, 2)):
        for used, micro_batches in ranks(gram.weights_of_run, str(run), stage, tokens):
            assert used == pytest.approx(wanted, rel=1e-3) and micro_batches == batches
    # What flows back to a row's tokens is of all its tasks: given to each of them, it is told apart from the truth.
    mixed = torch.stack([stack.sum(0)] * 3) + 0.1 * stack
    assert weights(mixed @ mixed.T) != pytest.approx(wanted, rel=1e-2)


def test_rows_set_aside_task_by_task_can_not_be_shared(tmp_path: Path, capsys: Captured) -> None:
    recipe = write_project(tmp_path)
    change(tmp_path, "topic", "{format: jsonl,", "{format: jsonl, on_bad: quarantine,")
    assert "data.on_bad: quarantine sets rows aside task by task, so 'score' can not share rows" in refused(recipe, 3, capsys)


def test_other_tokens_are_refused_with_the_first_row_that_differs(tmp_path: Path, capsys: Captured) -> None:
    given = rows(missing=0.0)
    for row in given:
        row["text"], row["tags"] = f"{row['text']} \x07", [*row["tags"], "short"]  # a word of its own that makes no token
    recipe = write_project(tmp_path, given)
    change(tmp_path, "topic", "inputs: [words]", "inputs: [text]")
    said = refused(recipe, 3, capsys)
    assert "rows_of: 'tags' does not read the rows of 'topic' as the same tokens: train row 0 is the first" in said
    change(tmp_path, "topic", "{format: jsonl,", "{format: jsonl, lists: {text: ' '},")
    prepared(recipe)


def test_check_tells_of_a_guest_what_it_tells_of_others(tmp_path: Path, capsys: Captured) -> None:
    write_project(tmp_path)
    assert main(["task", "check", "tags", "--catalog", str(tmp_path / "tasks")]) == 0
    assert " rows encode, " in capsys.readouterr().out
    assert shared_rows.CARDS["tags"].count("\n") < 10
    write_rows(tmp_path, rows(4, missing=0.0))
    assert main(["task", "check", str(tmp_path / "tasks" / "tags" / "card.yaml")]) == 0


def test_a_shared_head_is_saved_once_and_loaded_for_both(tmp_path: Path, capsys: Captured) -> None:
    recipe = with_twin(tmp_path)
    model = trunkline.train(recipe, overrides=["tasks=[twin, topic]", "train.steps=2"], in_process=True).model
    assert [path.parent.name for path in model.glob("heads/*/head.safetensors")] == ["twin"]
    opened = trunkline.load(model)
    assert opened.network.head("topic") is opened.network.head("twin")
    asked: list[dict[str, Any]] = [{"words": ["red", "river"]}]
    assert opened.predict("topic", asked) == opened.predict("twin", asked)
    assert main(["evaluate", str(model), "--json"]) == 0
    assert [row["task"] for row in json.loads(capsys.readouterr().out)] == ["twin", "topic"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("labels: [water, land]", "labels: [land, water]", "head_of: 'twin' can not use the head of 'topic': labels is"),
        ("pooling: mean", "pooling: first", "pooling is 'first' here, 'mean' there"),
        ("head_of: topic", "head_of: topics", "head_of: no task named 'topics'. Did you mean 'topic'?"),
        ("head_of: topic", "head_of: score", "kind is 'classification' here, 'regression' there"),
        ("head_of: topic", "head_of: twin", "head_of: goes in a circle: twin -> twin. Break it."),
    ],
)
def test_a_head_of_another_shape_is_refused(old: str, new: str, said: str, tmp_path: Path, capsys: Captured) -> None:
    recipe = with_twin(tmp_path)
    change(tmp_path, "twin", old, new)
    assert said in refused(recipe, 3, capsys, "tasks=[twin, topic, score]")


def with_twin(folder: Path) -> Path:
    """The project with a second task of other rows that uses the head of `topic`."""
    recipe = write_project(folder, rows(missing=0.0))
    (folder / "tasks" / "twin").mkdir()
    card = shared_rows.CARDS["topic"].lstrip().replace("name: topic", "name: twin\nhead_of: topic")
    (folder / "tasks" / "twin" / "card.yaml").write_text(card.replace("rows.jsonl", "../topic/rows.jsonl"))
    return recipe
