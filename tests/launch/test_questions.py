"""A task of kind span from card to answers: trained on contexts of several windows, some questions without answer."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

import trunkline
from trunkline.cli.app import main
from trunkline.errors import ConfigError, DataError

COLORS, SIZES = ["red", "blue", "green", "white"], ["small", "large", "tiny", "huge"]
FILLER = ["river", "house", "stone", "light", "bread", "train", "paper", "glass", "wind", "the", "of", "and"]
CARD = """
name: finds
data: {format: jsonl, train: train.jsonl, validation: validation.jsonl}
inputs: [question, context]
target: answers
head: {kind: span, starts: starts, overlap: 4, unanswerable: true}
"""
RECIPE = """
seed: 3
trunk: {kind: transformer, hidden_size: 32, layers: 1, heads: 2, dropout: 0.0}
tokenizer: {kind: wordpiece, vocab_size: 150}
tasks: [finds]
optim: {kind: adamw, lr: 1e-2, head_lr: 1e-2, schedule: cosine}
train: {steps: 200, tokens_per_step: 1024, tokens_per_pass: 512, max_length: 18, evaluate_every: 200, save_every: 200}
workers: {count: 1, cpus: 1}
"""


def rows(count: int, seed: int) -> list[dict[str, object]]:
    """A colour, a size, or neither among 5 to 30 other words; the question asks for one of them."""
    chance = random.Random(seed)
    made: list[dict[str, object]] = []
    for _ in range(count):
        words = [chance.choice(FILLER) for _ in range(chance.randint(5, 30))]
        asked, other = chance.sample([("which color", COLORS), ("which size", SIZES)], 2)
        words.insert(chance.randrange(len(words)), chance.choice(other[1]))
        answer = chance.choice(asked[1]) if chance.random() < 0.8 else ""
        if answer:
            words.insert(chance.randrange(len(words)), answer)
        context = " ".join(words)
        starts = [context.index(answer)] if answer else []
        made.append({"question": asked[0], "context": context, "answers": [answer] if answer else [], "starts": starts})
    return made


def write(folder: Path) -> Path:
    place = folder / "tasks" / "finds"
    place.mkdir(parents=True)
    (place / "card.yaml").write_text(CARD.lstrip())
    for split, count, seed in (("train", 400, 1), ("validation", 61, 2)):
        (place / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(count, seed)))
    (folder / "recipes").mkdir()
    recipe = folder / "recipes" / "one.yaml"
    recipe.write_text(RECIPE.lstrip())
    return recipe


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trunkline.train(write(tmp_path_factory.mktemp("questions")), in_process=True).run


def test_it_learns_to_find_answers_and_to_tell_that_there_is_none(run: Path) -> None:
    (found,) = json.loads((run / "result.json").read_text())["tasks"]
    assert found["metric"] == "exact_match" and found["rows"] == 400
    assert found["baseline"] < 0.3 and found["value"] > 0.8
    assert found["metrics"]["answer_f1"] >= found["value"]


def test_a_trained_model_answers_with_pieces_of_the_context_in_order(run: Path, tmp_path: Path, capsys) -> None:
    model, asked = trunkline.load(run / "model"), rows(40, 7)
    given = model.predict("finds", [{"question": row["question"], "context": row["context"]} for row in asked])
    right = 0
    for row, answer in zip(asked, given, strict=True):
        assert 0 < answer["probability"] <= 1
        context, text, start = str(row["context"]), answer["answer"], answer["start"]
        assert (text is None) == (start is None)
        assert text is None or context[start : start + len(text)] == text
        right += row["answers"] == ([] if text is None else [text])
    assert right > 30
    alone = model.predict("finds", [asked[5]])[0]
    assert (alone["answer"], alone["start"]) == (given[5]["answer"], given[5]["start"])
    (tmp_path / "rows.jsonl").write_text(json.dumps(asked[0]) + "\n")
    assert main(["predict", str(run / "model"), str(tmp_path / "rows.jsonl"), "--task", "finds"]) == 0
    assert json.loads(capsys.readouterr().out)["answer"] == given[0]["answer"]
    with pytest.raises(DataError, match="row 0: has no 'context'"):
        model.predict("finds", [{"question": "which color"}])


def test_a_row_too_long_for_a_pass_is_refused_with_what_to_do(tmp_path: Path) -> None:
    recipe = write(tmp_path)
    with pytest.raises(ConfigError, match=r"task 'finds': .* can hold \d+ tokens, above train\.tokens_per_pass 40\. Raise"):
        trunkline.train(recipe, overrides=["train.tokens_per_pass=40"], in_process=True)


def test_a_span_outside_its_context_stops_the_run_with_the_row_s_place(tmp_path: Path, capsys) -> None:
    recipe = write(tmp_path)
    path = tmp_path / "tasks" / "finds" / "train.jsonl"
    lines = path.read_text().splitlines()
    lines[2] = json.dumps({**json.loads(lines[2]), "answers": ["red"], "starts": [4000]})
    path.write_text("\n".join(lines) + "\n")
    assert main(["train", str(recipe), "--in-process"]) == 4
    said = capsys.readouterr().err
    assert "train.jsonl:3" in said and "('red', 4000)" in said and "misplaced: mend" in said


def test_the_example_of_task_new_is_sound(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tasks").mkdir()
    assert main(["task", "new", "finds", "--kind", "span"]) == 0
    assert main(["task", "check", "finds"]) == 0
    assert "finds: span, metrics exact_match, answer_f1" in capsys.readouterr().out
