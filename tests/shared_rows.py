"""A small project whose tasks share rows: a topic, a number and tags over the same words, two fifths of the labels missing."""

from __future__ import annotations

import json
import random
from pathlib import Path

from small_project import WORDS

CARDS = {
    "topic": """
name: topic
data: {format: jsonl, rows: rows.jsonl, split: {by: text, validation: 25, test: 0}}
inputs: [words]
target: label
head: {kind: classification, labels: [water, land], pooling: mean}
""",
    "score": """
name: score
rows_of: topic
target: value
row_weight: trust
head: {kind: regression, pooling: mean}
""",
    "tags": """
name: tags
rows_of: score
target: tags
head: {kind: tagging, labels: [short, long]}
metrics: [accuracy]
""",
}
RECIPE = """
seed: 3
trunk: {kind: transformer, hidden_size: 16, layers: 1, heads: 2, dropout: 0.0}
tokenizer: {kind: wordpiece, vocab_size: 120}
tasks: [score, topic, tags]
train: {steps: 12, tokens_per_step: 256, tokens_per_pass: 160, max_length: 16, evaluate_every: 6, save_every: 4,
        log_every: 1, log_rows: true}
optim: {lr: 5e-3}
workers: {count: 1, cpus: 1}
"""


def rows(count: int = 200, missing: float = 0.4) -> list[dict[str, object]]:
    """Each with `text`, `words` and `trust`; label, value and tags may be null, all three of them too."""
    chance = random.Random(1)
    made = []
    for number in range(count):
        words = chance.sample(WORDS, chance.randint(3, 8))
        whole: dict[str, object] = {
            "label": "water" if "river" in words or number % 3 == 0 else "land",
            "value": float(len(words)),
            "tags": ["long" if len(word) > 4 else "short" for word in words],
        }
        labels = {name: None if chance.random() < missing else value for name, value in whole.items()}
        made.append({"text": " ".join(words), "words": words, "trust": chance.choice([0.5, 1, 2]), **labels})
    return made


def write_project(folder: Path, given: list[dict[str, object]] | None = None) -> Path:
    """The project in `folder`; returns its recipe."""
    for name, card in CARDS.items():
        (folder / "tasks" / name).mkdir(parents=True)
        (folder / "tasks" / name / "card.yaml").write_text(card.lstrip())
    write_rows(folder, rows() if given is None else given)
    (folder / "recipes").mkdir()
    recipe = folder / "recipes" / "shared.yaml"
    recipe.write_text(RECIPE.lstrip())
    return recipe


def write_rows(folder: Path, given: list[dict[str, object]]) -> None:
    (folder / "tasks" / "topic" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given))


def change(folder: Path, task: str, old: str, new: str) -> None:
    """One text of a card for another."""
    card = folder / "tasks" / task / "card.yaml"
    assert old in card.read_text()
    card.write_text(card.read_text().replace(old, new))


JOINT = """
name: talk
data: {format: jsonl, rows: ../topic/rows.jsonl, split: {by: text, validation: 25, test: 0}}
inputs: [words]
head:
  kind: joint
  parts:
    intent: {kind: classification, target: label, labels: [water, land], metrics: [accuracy]}
    slots: {kind: tagging, target: tags, labels: [short, long], loss: {kind: crf}, metrics: [accuracy]}
weight: 0.5
"""


def write_joint(folder: Path, given: list[dict[str, object]] | None = None) -> Path:
    """The project with a joint task beside, which its recipe trains."""
    recipe = write_project(folder, given)
    (folder / "tasks" / "talk").mkdir()
    (folder / "tasks" / "talk" / "card.yaml").write_text(JOINT.lstrip())
    recipe.write_text(recipe.read_text().replace("[score, topic, tags]", "[score, {task: talk, weight: 0.25}]"))
    return recipe
