"""How wrong `trunkline plan --calibrate` is about itself, on three recipes, each in a process of its own.

    python -m benchmarks.planning

A Transformer from scratch with three tasks, a GRU with two, and a Transformer of MiniLM's shape that starts from a folder,
whose weights are generated. Each trains 20 steps on this machine: the rate is set from the first ten, the prediction is
compared with the others, and the peak of memory with what was predicted before any step. Kept in
benchmarks/results/planning.json; the table goes into docs/performance.md.
"""

from __future__ import annotations

import dataclasses
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import typer
from benchmarks.circumstances import circumstances

ROOT = Path(__file__).parent.parent
STORED = ROOT / "benchmarks" / "results" / "planning.json"
PAGE = ROOT / "docs" / "performance.md"
START, END = "<!-- planning:start -->\n", "\n<!-- planning:end -->"
COMMAND = "python -m benchmarks.planning"
MUST_S, MUST_BYTES = 0.20, 0.10
MIB = 2**20
WORDS = [f"{a}{b}{c}" for a in ("ba", "de", "ki", "lo", "mu") for b in ("ra", "sen", "tor", "vil", "x") for c in "aeiou"]
KINDS = {
    "topic": "inputs: [text]\ntarget: label\nhead: {kind: classification, labels: [a, b, c], pooling: mean}\n",
    "score": "inputs: [text]\ntarget: value\nhead: {kind: regression, pooling: mean}\n",
    "words": "inputs: [text]\nhead: {kind: masked_language}\n",
}
# Name -> trunk, tokenizer, tasks, tokens of a step. PLACE: a folder with generated weights.
RECIPES: dict[str, tuple[str, str, str, int]] = {
    "transformer from scratch, 4 x 256": (
        "{kind: transformer, hidden_size: 256, layers: 4, heads: 4}",
        "{kind: wordpiece, vocab_size: 800}",
        "topic, score, words",
        2048,
    ),
    "gru, 2 x 384": ("{kind: gru, hidden_size: 384, layers: 2}", "{kind: wordpiece, vocab_size: 800}", "topic, score", 2048),
    "MiniLM's shape from a folder, 6 x 384": (
        "{kind: transformer, pretrained: PLACE}",
        "{kind: pretrained, source: PLACE}",
        "topic, score",
        768,
    ),
}
RECIPE = """
seed: 1
trunk: {trunk}
tokenizer: {tokenizer}
tasks: [{tasks}]
optim: {{kind: adamw, lr: 1e-4}}
train: {{steps: 100, tokens_per_step: {tokens}, max_length: 64}}
workers: {{count: 1, cpus: 1}}
"""
Row = dict[str, Any]


def project(folder: Path, name: str) -> Path:
    """A project with 2,000 generated rows; returns its recipe of that name."""
    chance = random.Random(0)
    rows = [
        {
            "text": " ".join(chance.choices(WORDS, k=chance.randint(8, 24))),
            "label": chance.choice("abc"),
            "value": chance.random(),
        }
        for _ in range(2000)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = "data: {format: jsonl, rows: ../../rows.jsonl, split: {by: text, validation: 5, test: 0}}\n"
    for task, rest in KINDS.items():
        (folder / "tasks" / task).mkdir(parents=True)
        (folder / "tasks" / task / "card.yaml").write_text(f"name: {task}\n{data}{rest}")
    trunk, tokenizer, tasks, tokens = RECIPES[name]
    if "PLACE" in trunk:
        generated(folder / "minilm")
    (folder / "recipes").mkdir()
    path = folder / "recipes" / "plan.yaml"
    text = RECIPE.format(trunk=trunk, tokenizer=tokenizer, tasks=tasks, tokens=tokens)
    path.write_text(text.replace("PLACE", str(folder / "minilm")).lstrip())
    return path


def generated(folder: Path) -> None:
    """A BERT of MiniLM-L6's sizes with weights as they are drawn, and a vocabulary as large as its own."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = [*special, *WORDS, *(f"unused{number}" for number in range(30_522 - len(special) - len(WORDS)))]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    sizes = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    BertModel(BertConfig(vocab_size=len(vocabulary), **sizes)).save_pretrained(folder)


def measure(name: str) -> Row:
    """In this process."""
    from trunkline.config.recipe import load_recipe
    from trunkline.planning.forecast import forecast

    with tempfile.TemporaryDirectory() as folder:
        found = forecast(load_recipe(project(Path(folder), name)), lambda _: None, calibrated=True)
    told = found.calibration
    assert told is not None
    kept = {key: value for key, value in dataclasses.asdict(told).items() if key != "device"}
    kept |= {"parameters": found.job.parameters, "tokens": found.job.tokens, "memory": dataclasses.asdict(found.memory)}
    return {"recipe": name, **kept, "met": abs(told.error_s) <= MUST_S and abs(told.error_bytes) <= MUST_BYTES}


def markdown(rows: list[Row]) -> str:
    lines = [
        "| recipe | parameters | ms a step, predicted | measured | apart | MiB at the peak, predicted | measured | apart | met |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        step = f"{1000 * row['predicted_s']:.0f} | {1000 * row['measured_s']:.0f} | {row['error_s']:+.1%}"
        held = f"{row['predicted_bytes'] / MIB:.0f} | {row['measured_bytes'] / MIB:.0f} | {row['error_bytes']:+.1%}"
        lines.append(f"| {row['recipe']} | {row['parameters']:,} | {step} | {held} | {'yes' if row['met'] else 'no'} |")
    return "\n".join(lines)


def written(page: str, rows: list[Row]) -> str:
    before, rest = page.split(START)
    return before + START + markdown(rows) + END + rest.split(END)[1]


def main(here: str = typer.Option("", help="Only this recipe, in this process; prints its row.", hidden=True)) -> None:
    """Measures and writes the table."""
    if here:
        sys.stdout.write(json.dumps(measure(here)) + "\n")
        return
    rows = []
    for name in RECIPES:
        command = [sys.executable, "-m", "benchmarks.planning", "--here", name]
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]))
        typer.echo(f"{name}: step {rows[-1]['error_s']:+.1%}, memory {rows[-1]['error_bytes']:+.1%}")
    setting = {"threads": 1, "time": "CPU time of the process", "must_s": MUST_S, "must_bytes": MUST_BYTES}
    whole = {"schema_version": 1, "command": COMMAND, **circumstances(), "setting": setting, "rows": rows}
    STORED.write_text(json.dumps(whole, indent=1) + "\n")
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
