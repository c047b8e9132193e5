"""A small project of five kinds of task, made anew where a test needs one."""

from __future__ import annotations

import json
import random
from pathlib import Path

LINE = "red blue green small large old new warm cold quick slow river house stone light bread train paper glass wind"
WORDS = LINE.split()
CARDS = {
    "topic": """
name: topic
data: {format: jsonl, rows: rows.jsonl, split: {by: text, validation: 25, test: 0}}
inputs: [text]
target: label
head: {kind: classification, labels: [water, land], pooling: mean, dropout: 0.0}
""",
    "score": """
name: score
data: {format: jsonl, rows: ../topic/rows.jsonl, split: {by: text, validation: 21, test: 0}}
inputs: [text]
target: value
head: {kind: regression, pooling: mean, dropout: 0.0}
weight: 0.5
""",
    "tags": """
name: tags
data: {format: jsonl, rows: ../topic/rows.jsonl, split: {by: text, validation: 25, test: 0}}
inputs: [words]
target: tags
head: {kind: tagging, labels: [short, long], dropout: 0.0}
""",
    "answer": """
name: answer
data: {format: jsonl, rows: ../topic/rows.jsonl, split: {by: text, validation: 25, test: 0}}
inputs: [text]
target: reply
head: {kind: contrastive, dropout: 0.0}
loss: {kind: infonce, group: 4}
""",
    "words": """
name: words
data: {format: tasks, tasks: [topic, answer]}
inputs: [text]
head: {kind: masked_language}
""",
}
RECIPE = """
seed: 3
trunk: {kind: transformer, hidden_size: 16, layers: 1, heads: 2, dropout: 0.0}
tokenizer: {kind: wordpiece, vocab_size: 120}
tasks: [topic, score, tags, {task: answer, weight: 0.7}, words]
sampling: {kind: temperature, temperature: 2.0}
weighting: {kind: uncertainty}
optim: {kind: adamw, lr: 5e-3, head_lr: 1e-2, schedule: cosine}
train: {steps: 20, tokens_per_step: 256, tokens_per_pass: 160, max_length: 16, evaluate_every: 10, save_every: 5,
        log_every: 1, log_rows: true}
workers: {count: 1, cpus: 1}
"""


def write_project(folder: Path) -> Path:
    """The project in `folder`; returns its recipe."""
    chance = random.Random(0)
    rows = []
    for number in range(160):
        words = chance.sample(WORDS, chance.randint(3, 8))
        wet = "river" in words or number % 3 == 0
        rows.append(
            {
                "text": " ".join(words),
                "words": words,
                "tags": ["long" if len(word) > 4 else "short" for word in words],
                "label": "water" if wet else "land",
                "value": float(len(words)),
                "reply": " ".join(reversed(words)),
            }
        )
    for name, card in CARDS.items():
        (folder / "tasks" / name).mkdir(parents=True)
        (folder / "tasks" / name / "card.yaml").write_text(card.lstrip())
    (folder / "tasks" / "topic" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "recipes").mkdir()
    recipe = folder / "recipes" / "small.yaml"
    recipe.write_text(RECIPE.lstrip())
    return recipe
