"""`python -m benchmarks.quality.tokenizers`: four tokenizers of one size on one text, and a task on each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from benchmarks.quality.ladder import ROOT, Ladder
from benchmarks.quality.table import write_section

from trunkline.build.task import open_source, task_text
from trunkline.data.tokenizer import Tokenizer
from trunkline.registry import TOKENIZERS
from trunkline.tasks.catalog import Catalog

PATH = Path(__file__).parent / "tokenizers.yaml"
RESULTS = ROOT / "benchmarks" / "results" / "tokenizers"


def main(
    only: Annotated[list[str] | None, typer.Option(help="Only these rungs.")] = None,
    train: Annotated[bool, typer.Option(help="Train what is missing; else only write the table.")] = True,
) -> None:
    """Trains what is missing, writes benchmarks/results/tokenizers.json and the table in docs/quality.md."""
    ladder = Ladder(PATH, RESULTS)
    if train:
        ladder.climb(only, lambda line: typer.echo(line, err=True))
    found = document(ladder)
    RESULTS.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    write_section(ROOT / "docs" / "quality.md", "tokenizers", markdown(found))
    typer.echo(markdown(found))


def document(ladder: Ladder) -> dict[str, Any]:
    """Of each tokenizer: how it spells the test rows, and the task's score."""
    cards = Catalog([ladder.path.parent / ladder.shared["catalog"][0]])
    (task,) = ladder.shared["tasks"]
    card = cards.get(task)
    texts = task_text(card, open_source(card, cards))
    train, test = list(texts.read("train")), list(texts.read("test"))
    rows = {}
    for name, (rung, *_) in ladder.groups.items():
        part = dict(ladder.recipe(rung)["tokenizer"])
        made = TOKENIZERS.get(part.pop("kind"))(**part).build(train)
        rows[name] = {"vocab_size": made.vocab_size, **spelling(made, train, test), "score": ladder.repeats(name)}
    return {"schema_version": 1, "command": "python -m benchmarks.quality.tokenizers", "task": task, "tokenizers": rows}


def spelling(tokenizer: Tokenizer, train: list[str], test: list[str]) -> dict[str, Any]:
    """Tokens a word of the test texts; of their words that no training text has, how many are spelled without an unknown token,
    and with how many tokens. A word is what stands between spaces, in lower case."""
    seen = {word for text in train for word in text.lower().split()}
    words = [word for text in test for word in text.lower().split()]
    unseen = sorted(set(words) - seen)
    ids = tokenizer.plain(unseen)
    parts = [ids.values[start:end] for start, end in zip(ids.starts[:-1], ids.starts[1:], strict=True)]
    covered = [len(part) > 0 and tokenizer.unk_id not in part for part in parts]
    return {
        "tokens_per_word": round(len(tokenizer.plain(test).values) / len(words), 4),
        "unseen_words": len(unseen),
        "unseen_covered": round(sum(covered) / len(unseen), 4),
        "tokens_per_unseen_word": round(len(ids.values) / len(unseen), 4),
    }


def markdown(found: Mapping[str, Any]) -> str:
    """The table as people read it."""
    heads = ["tokenizer", "tokens", "tokens a word", "unseen words spelled", "tokens an unseen word", found["task"], "seeds"]
    lines = ["| " + " | ".join(heads) + " |", "|---" + "|---:" * (len(heads) - 2) + "|---|"]
    for name, row in found["tokenizers"].items():
        score, shown = row["score"], ["", ""]
        if score:
            of_seeds = ", ".join(f"{value:.3f}" for value in score["of_seeds"][found["task"]])
            shown = [f"{score['mean'][found['task']]:.3f}", of_seeds]
        cells = [f"{row['vocab_size']:,}", f"{row['tokens_per_word']:.2f}", f"{row['unseen_covered']:.1%}"]
        lines.append("| " + " | ".join([name, *cells, f"{row['tokens_per_unseen_word']:.2f}", *shown]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
