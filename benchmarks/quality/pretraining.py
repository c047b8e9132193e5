"""`python -m benchmarks.quality.pretraining`: does a trunk that read plain text first beat itself as it starts out?

Both kinds of pretraining read the same text: Brown, WikiText-2's two small splits, Shakespeare, and the texts of the two tasks
without their labels; no test row of theirs is among it. The tasks have two hundred labels or fewer, and three seeds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from benchmarks.quality.ladder import ROOT, Ladder
from benchmarks.quality.table import write_section
from benchmarks.quality.vectors import sentences

from trunkline.build.task import open_source, task_text
from trunkline.tasks.catalog import Catalog

HERE = Path(__file__).parent
RESULTS = ROOT / "benchmarks" / "results" / "pretraining"
WAYS = {"held": "_held", "trained on": ""}  # what the tasks do with the trunk, and the rungs that do it
KINDS = {"elmo": "plain_forth_and_back", "bert": "plain_masked"}


def main(
    only: Annotated[list[str] | None, typer.Option(help="Only these rungs.")] = None,
    train: Annotated[bool, typer.Option(help="Train what is missing; else only write the tables.")] = True,
) -> None:
    """Trains what is missing, writes benchmarks/results/pretraining.json and the tables in docs/quality.md."""
    ladder = Ladder(HERE / "pretraining.yaml", RESULTS)
    if train:
        write_text(ladder)
        ladder.climb(only, lambda line: typer.echo(line, err=True))
    found = document(ladder)
    RESULTS.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    write_section(ROOT / "docs" / "quality.md", "pretraining", markdown(found))
    typer.echo(markdown(found))


def write_text(ladder: Ladder) -> None:
    """What both kinds read, a text a line, unless it is there."""
    path = ladder.outputs / "text.txt"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([*filter(None, sentences()), *task_texts(ladder)]) + "\n", encoding="utf-8")


def task_texts(ladder: Ladder) -> Iterator[str]:
    """The texts of the tasks' rows, with a label or without; never a test row's."""
    cards = Catalog([ladder.path.parent / ladder.shared["catalog"][0]])
    for task in ladder.shared["tasks"]:
        card = cards.get(task)
        texts = task_text(card, open_source(card, cards))
        for split in ("train", "validation"):
            yield from (" ".join(text.split()) for text in texts.read(split))


def document(ladder: Ladder) -> dict[str, Any]:
    """Perplexity over the evaluations of each kind, and both tasks from its trunk and from the same trunk untrained."""
    kinds: dict[str, dict[str, Any]] = {}
    for kind, text in KINDS.items():
        first = ladder.stored(f"{kind}_text")
        series = [{"step": at["step"], "perplexity": at[f"{text}/perplexity"]} for at in first["series"]] if first else []
        kinds[kind] = {"series": series}
        for way, suffix in WAYS.items():
            sides = {"unpretrained": f"{kind}_raw{suffix}", "pretrained": f"{kind}{suffix}"}
            kinds[kind][way] = {side: ladder.repeats(rung) for side, rung in sides.items()}
    return {"schema_version": 1, "command": "python -m benchmarks.quality.pretraining", "kinds": kinds}


def markdown(found: Mapping[str, Any]) -> str:
    """Two tables: the series, and the scores with those of every seed."""
    lines = ["| pretraining | step | perplexity |", "|---|---:|---:|"]
    for kind, of_kind in found["kinds"].items():
        lines += [f"| {kind} | {point['step']} | {point['perplexity']:.1f} |" for point in of_kind["series"]]
    lines += [
        "",
        "| trunk | task | unpretrained | pretrained | seeds, unpretrained | seeds, pretrained |",
        "|---|---|---:|---:|---|---|",
    ]
    for kind, of_kind in found["kinds"].items():
        for way in WAYS:
            lines += scores(f"{kind}, {way}", of_kind[way]["unpretrained"], of_kind[way]["pretrained"])
    return "\n".join(lines)


def scores(trunk: str, raw: Mapping[str, Any] | None, made: Mapping[str, Any] | None) -> Iterator[str]:
    """A line a task, once both sides were run."""
    if raw is None or made is None:
        return
    for task in raw["mean"]:
        means = " | ".join(f"{side['mean'][task]:.3f}" for side in (raw, made))
        seeds = " | ".join(", ".join(f"{value:.3f}" for value in side["of_seeds"][task]) for side in (raw, made))
        yield f"| {trunk} | {task} | {means} | {seeds} |"


if __name__ == "__main__":
    typer.run(main)
