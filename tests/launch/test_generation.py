"""A task of generation from rows to predictions: it learns a toy, is measured, saved, loaded, and answers."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

import trunkline
from trunkline.errors import DataError

LETTERS = "abcdefgh"
CARD = """
name: mirror
data: {format: jsonl, rows: rows.jsonl, split: {by: text, validation: 10, test: 0}}
inputs: [text]
target: mirrored
head: {kind: generation, HEAD}
metrics: [text_match, bleu, chrf, perplexity]
"""
RECIPE = """
seed: 1
trunk: {kind: transformer, hidden_size: 32, layers: 1, heads: 2, dropout: 0.0}
tokenizer: {kind: words, vocab_size: 60}
tasks: [mirror]
optim: {kind: adamw, lr: 5e-3, head_lr: 5e-3, schedule: cosine, warmup: 0.1}
train: {steps: 250, tokens_per_step: 768, max_length: 16, evaluate_every: 250, save_every: 250, log_every: 50}
workers: {count: 1, cpus: 1}
"""


def project(folder: Path, head: str) -> Path:
    """Rows of three to five letters, to be written backwards."""
    chance = random.Random(0)
    texts = sorted({" ".join(chance.choices(LETTERS, k=chance.randint(3, 5))) for _ in range(1500)})
    rows = [{"text": text, "mirrored": text[::-1]} for text in texts]
    task = folder / "tasks" / "mirror"
    task.mkdir(parents=True)
    (task / "card.yaml").write_text(CARD.lstrip().replace("HEAD", head))
    (task / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.lstrip())
    return recipe


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> trunkline.Result:
    recipe = project(
        tmp_path_factory.mktemp("mirror"),
        "layers: 1, heads: 2, max_target: 6, beams: 2, vocabulary: {kind: byte_bpe, vocab_size: 280}",
    )
    return trunkline.train(recipe, in_process=True)


def test_letters_are_written_backwards_after_seconds(learned: trunkline.Result) -> None:
    (task,) = learned.tasks
    assert task["metric"] == "text_match" and task["baseline"] < 0.2 and task["value"] > 0.8
    metrics = task["metrics"]
    assert metrics["bleu"] > 80 and metrics["chrf"] > 80 and 1 <= metrics["perplexity"] < 1.3


def test_a_loaded_model_writes_texts_as_it_was_measured(learned: trunkline.Result) -> None:
    model = trunkline.load(learned.model)
    texts = ["a b c", "h g a b c", "d d e f"]
    answers = model.predict("mirror", texts)
    assert [set(answer) for answer in answers] == [{"text", "score"}] * 3 and all(answer["score"] <= 0 for answer in answers)
    assert sum(answer["text"] == text[::-1] for text, answer in zip(texts, answers, strict=True)) >= 2
    again = [model.predict("mirror", [text])[0] for text in texts]
    assert [answer["text"] for answer in again] == [answer["text"] for answer in answers]
    assert [answer["score"] for answer in again] == pytest.approx([answer["score"] for answer in answers], abs=1e-5)


def test_rows_that_are_no_text_are_refused(learned: trunkline.Result) -> None:
    with pytest.raises(DataError, match="column 'text' is no text"):
        trunkline.load(learned.model).predict("mirror", [{"text": 3}])


def test_the_targets_own_tokenizer_lies_beside_the_card_in_run_and_model(learned: trunkline.Result) -> None:
    kept = [place / "vocabulary" / "tokenizer.json" for place in (learned.run / "cards/mirror", learned.model / "heads/mirror")]
    assert kept[0].read_bytes() == kept[1].read_bytes()
