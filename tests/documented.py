"""The project that the pages talk of, small: their recipe, their tasks, two runs that ended and two that were stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trunkline import api
from trunkline.cli.starter import MESSAGES
from trunkline.launch.runs import all_runs

ROOT = Path(__file__).parent.parent
RECIPE = """\
seed: 3
trunk: {kind: transformer, hidden_size: 16, layers: 1, heads: 2, dropout: 0.0}
tokenizer: {kind: wordpiece, vocab_size: 200}
tasks: [topic, urgency, answer, mrpc]
sampling: {kind: temperature, temperature: 2.0}
train: {steps: 6, tokens_per_step: 256, max_length: 24, evaluate_every: 2, save_every: 2, keep_last: 9, keep_best: tasks}
workers: {count: 1, cpus: 1}
track: {wandb: {project: trunkline, mode: offline}}
"""
PAIR = "inputs: [text]\ntarget: label\nhead: {kind: classification, labels: [negative, positive], pooling: first}\n"
SORTS = "inputs: [text]\ntarget: label\nhead: {kind: classification, labels: [billing, delivery, technical]}\n"
SCORED = "inputs: [a, b]\ntarget: score\nhead: {kind: regression}\n"
TEXTS = [text for text, _, _ in MESSAGES]
PAIRS = [(one, other, number % 5) for number, (one, other) in enumerate(pairwise(TEXTS))]
WORDS = ["parcel", "order", "card", "app", "invoice", "courier", "refund", "password"]
CARDS: Mapping[str, tuple[str, Sequence[Mapping[str, object]]]] = {
    "answer": (
        "inputs: [text]\ntarget: reply\nhead: {kind: contrastive}\nloss: {kind: infonce, group: 4}\n",
        [{"text": text, "reply": f"{topic}: {text.lower()}"} for text, topic, _ in MESSAGES],
    ),
    "mrpc": (PAIR, [{"text": text, "label": "positive" if float(score) > 5 else "negative"} for text, _, score in MESSAGES]),
    "banking": (PAIR, [{"text": text, "label": "positive" if topic == "billing" else "negative"} for text, topic, _ in MESSAGES]),
    "next": (PAIR, [{"text": text, "label": "positive" if topic == "delivery" else "negative"} for text, topic, _ in MESSAGES]),
    "trec6": (SORTS, [{"text": text, "label": topic} for text, topic, _ in MESSAGES]),
    "wordsim": (SCORED, [{"a": a, "b": b, "score": n % 7} for n, (a, b) in enumerate(pairwise(WORDS))]),
    "stsb": (SCORED, [{"a": one, "b": other, "score": score} for one, other, score in PAIRS]),
    "cranfield": (
        "inputs: [q]\ntarget: d\nhead: {kind: contrastive}\n",
        [{"q": text.lower(), "d": text} for text in TEXTS[:9]],
    ),
    "google": (
        "inputs: [c]\ntarget: d\nhead: {kind: contrastive}\n",
        [dict(zip("abcd", WORDS[start:], strict=False)) for start in range(4)],
    ),
}


def _lines(rows: Sequence[Mapping[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def write_project(folder: Path) -> Path:
    """What `init` writes, and beside it what the pages name; the recipe."""
    api.init(folder)
    for name, (card, rows) in CARDS.items():
        place = folder / "tasks" / name
        place.mkdir()
        whole, column = len(rows) < 20, next(iter(rows[0]))
        split = f"rows: rows.jsonl, split: {{by: {column}, validation: 25, test: 25}}"
        data = "train: rows.jsonl, test: rows.jsonl" if whole else split
        (place / "card.yaml").write_text(f"name: {name}\ndata: {{format: jsonl, {data}}}\n{card}")
        (place / "rows.jsonl").write_text(_lines(rows))
    topic = folder / "tasks" / "topic" / "card.yaml"  # with test rows, and a head that reads the first token
    topic.write_text(
        topic.read_text().replace("validation.csv}", "validation.csv, test: validation.csv}").replace("mean", "first")
    )
    shutil.copytree(ROOT / "tasks" / "review_sentiment", folder / "tasks" / "review_sentiment")
    shutil.copytree(ROOT / "clusters", folder / "clusters", dirs_exist_ok=True)
    _write_rows(folder)
    recipe = folder / "recipes" / "quickstart.yaml"
    recipe.write_text(RECIPE)
    return recipe


def _write_rows(folder: Path) -> None:
    """Rows to be answered, to be learned, and vectors, by the names that pages give them."""
    rows = [{"id": number, "text": text} for number, text in enumerate(TEXTS[:4])]
    (folder / "rows.csv").write_text("id,text\n" + "".join(f'{row["id"]},"{row["text"]}"\n' for row in rows))
    for name in ("rows.jsonl", "ROWS.jsonl"):
        (folder / name).write_text(_lines(rows))
    (folder / "rows").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows" / "one.parquet")
    new = [{**row, "text": f"Please: {str(row['text']).lower()}"} for row in CARDS["banking"][1][::3]]
    (folder / "new.jsonl").write_text(_lines(new))
    for name in ("text.txt", "more.txt"):
        (folder / name).write_text("".join(f"{text.lower()}\n" for text in TEXTS) * 5)
    vectors = [f"{word} " + " ".join(f"{(own * 7 + n * 3) % 11 - 5}" for n in range(8)) for own, word in enumerate(WORDS, 1)]
    (folder / "search.yaml").write_text("trials: 2\nrungs: [2, 4]\nsearch: {optim.lr: [1.0e-3, 1.0e-2]}\n")
    (folder / "vectors.txt").write_text("\n".join(vectors) + "\n")


def train_project(folder: Path) -> None:
    """The project with two runs of the quickstart that ended, and two that were stopped before their last checkpoint."""
    import trunkline

    recipe = write_project(folder)
    done = trunkline.train(recipe, in_process=True, outputs=folder / "outputs")
    for name in ("quickstart-261101000000-0a0a", "quickstart-261101000001-0b0b"):
        stopped = done.run.with_name(name)
        shutil.copytree(done.run, stopped)
        shutil.rmtree(stopped / "model")
        shutil.rmtree(max((stopped / "checkpoints").iterdir()))
        (stopped / "result.json").unlink()
    shutil.copytree(done.run, done.run.with_name("quickstart-261101000002-0c0c"))
    shutil.copytree(done.model, folder / "other" / "model")


def copy_project(folder: Path, to: Path) -> None:
    """The same elsewhere, but for what is there already: run folders name the recipe that they are of by its place."""

    def laid(source: str, target: str) -> None:
        if not Path(target).exists():
            shutil.copy2(source, target)

    shutil.copytree(folder, to, dirs_exist_ok=True, copy_function=laid)
    for run in all_runs(to / "outputs"):
        place = run.path / "run.json"
        place.write_text(place.read_text().replace(str(folder), str(to)))
