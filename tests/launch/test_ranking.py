"""Flat rows of queries, candidates and grades, trained as lists from end to end."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import pytest

import laws
import trunkline
from ranks import Ranks
from small_project import WORDS
from trunkline.cli.app import main

CARD = """
name: rank
data:
  format: csv
  train: train.csv
  validation: validation.csv
  gather: {by: [topic], lists: [passage, grade]}
  columns: {query: topic, candidates: passage, grades: grade}
inputs: [query, candidates]
target: grades
head: {kind: ranking, pooling: mean, dropout: 0.0, max_candidates: 4}
loss: {kind: lambdarank}
metrics: [ndcg, map, mrr, {kind: recall_at_k, k: 2}]
"""
RECIPE = """
seed: 3
trunk: {kind: transformer, hidden_size: 16, layers: 1, heads: 2, dropout: 0.0}
tokenizer: {kind: wordpiece, vocab_size: 120}
tasks: [rank]
optim: {kind: adamw, lr: 5e-3, head_lr: 1e-2, schedule: cosine}
train: {steps: 40, tokens_per_step: 512, tokens_per_pass: 160, max_length: 16, evaluate_every: 20, save_every: 20, log_every: 1}
workers: {count: 1, cpus: 1}
"""
WET = {"river": 2, "glass": 1}


def write(path: Path, queries: int, seed: int, *, flat: bool = False) -> None:
    """A line for each of two to six candidates a query, in any order. Wet words make a passage relevant."""
    chance, lines = random.Random(seed), []
    for number in range(queries):
        passages = [chance.sample(WORDS, 3) for _ in range(chance.randint(2, 6))]
        passages[0] = [*chance.sample(sorted(set(WORDS) - set(WET)), 2), "river"]
        grades = [0 if flat else max(WET.get(word, 0) for word in words) for words in passages]
        lines += [(f"water {number} {seed}", " ".join(words), grade) for words, grade in zip(passages, grades, strict=True)]
    chance.shuffle(lines)
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([("topic", "passage", "grade"), *lines])


def project(folder: Path, *, flat: bool = False) -> Path:
    (folder / "tasks" / "rank").mkdir(parents=True)
    (folder / "recipes").mkdir()
    (folder / "tasks" / "rank" / "card.yaml").write_text(CARD.lstrip())
    write(folder / "tasks" / "rank" / "train.csv", 120, 0, flat=flat)
    write(folder / "tasks" / "rank" / "validation.csv", 40, 1)
    recipe = folder / "recipes" / "ranked.yaml"
    recipe.write_text(RECIPE.lstrip())
    return recipe


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a finished run."""
    return trunkline.train(project(tmp_path_factory.mktemp("project")), in_process=True).run


def test_what_is_easy_is_learned_far_beyond_chance(ranked: Path) -> None:
    (row,) = json.loads((ranked / "result.json").read_text())["tasks"]
    assert row["kind"] == "ranking" and row["metric"] == "ndcg" and set(row["metrics"]) == {"ndcg", "map", "mrr", "recall_at_k"}
    assert 0.3 < row["baseline"] < 0.9
    assert row["value"] > row["baseline"] + (1 - row["baseline"]) / 2


def test_lists_are_cut_for_training_and_whole_for_evaluation(ranked: Path) -> None:
    splits = json.loads((ranked / "prepared.json").read_text())["splits"]["rank"]
    notes = {name: json.loads(Path(path).with_suffix(".json").read_text())["notes"] for name, path in splits.items()}
    assert notes["train"]["candidates_cut"] > 0 and "candidates_cut" not in notes["validation"]


def test_a_query_and_candidates_without_grades_are_put_in_order(ranked: Path) -> None:
    model = trunkline.load(ranked / "model")
    passages = ["old house stone", "bread cold river", "quick wind light"]
    first, second = model.predict("rank", [{"query": "water 7", "candidates": own} for own in (passages, passages[:1])])
    assert first["order"][0] == 1 and len(first["scores"]) == 3 and sorted(first["order"]) == [0, 1, 2]
    assert second["order"] == [0] and len(second["scores"]) == 1
    swapped = model.predict("rank", [{"query": "water 7", "candidates": passages[1:] + passages[:1]}])[0]
    assert swapped["scores"] == pytest.approx(first["scores"][1:] + first["scores"][:1], abs=1e-5)


def test_two_ranks_measure_lists_as_one_does_and_an_average_of_ranks_is_rejected(ranked: Path) -> None:
    ranks = {number: Ranks(number) for number in (1, 2)}
    try:
        (alone,) = ranks[1](laws.evaluate_run, str(ranked))
        together = ranks[2](laws.evaluate_run, str(ranked))
        apart = ranks[2](laws.evaluate_run, str(ranked), fault="each rank its own")
    finally:
        for held in ranks.values():
            held.close()
    assert all(found["rank"] == pytest.approx(alone["rank"], abs=1e-9) for found in together)
    averaged = {name: (apart[0]["rank"][name] + apart[1]["rank"][name]) / 2 for name in alone["rank"]}
    assert averaged != pytest.approx(alone["rank"], abs=1e-6)


def test_a_training_split_of_queries_without_a_relevant_candidate_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(project(tmp_path, flat=True)), "--in-process"]) == 4
    told = capsys.readouterr().err
    assert "split 'train' has no rows left of 120 read" in told and "'queries_without_relevant': 120" in told


def test_a_grade_that_is_no_number_is_refused_with_its_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = project(tmp_path)
    path = tmp_path / "tasks" / "rank" / "validation.csv"
    path.write_text(path.read_text().replace(",2\n", ",high\n", 1))
    assert main(["train", str(recipe), "--in-process"]) == 4
    told = capsys.readouterr().err
    assert "validation.csv:" in told and "grades that are not a number from 0 to 1e6" in told and "'high'" in told


def test_a_list_that_does_not_fit_in_a_pass_is_refused_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = project(tmp_path)
    recipe.write_text(recipe.read_text().replace("tokens_per_pass: 160", "tokens_per_pass: 20"))
    assert main(["train", str(recipe), "--in-process"]) == 3
    assert "head.max_candidates" in capsys.readouterr().err
