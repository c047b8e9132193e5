"""A store of 100 million rows on disk: what a worker's start, memory and draws cost beside stores of fewer.

    python -m benchmarks.scale FOLDER

FOLDER gets four tasks of 25 million rows each, some 7 GB, which are removed in the end. They are laid out as the store lays
them out, from a few thousand rows that were prepared as for any run, again and again. Each size is measured in a process of its
own, as a worker begins: `assemble` opens stores, model and stream, then the first step is drawn and packed; imports are not
counted, no store changes them. Kept in benchmarks/results/scale.json; the table goes into docs/performance.md.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow
import pyarrow.ipc
import typer
from benchmarks.circumstances import circumstances

ROOT = Path(__file__).parent.parent
STORED = ROOT / "benchmarks" / "results" / "scale.json"
PAGE = ROOT / "docs" / "performance.md"
START, END = "<!-- scale:start -->\n", "\n<!-- scale:end -->"
ROWS, TASKS, STEPS = 100_000_000, 4, 200
MUST_S, MUST_BYTES = 3.0, 200e6
WORDS = [f"{a}{b}" for a in ("ba", "de", "ki", "lo", "mu") for b in "abcdefghijklmnopqrst"]
CARD = """
name: task_{number}
data: {{format: jsonl, rows: ../../rows.jsonl, split: {{by: text, validation: 5, test: 0}}}}
inputs: [text]
target: label
head: {{kind: classification, labels: [a, b, c], pooling: mean}}
"""
RECIPE = """
trunk: {{kind: transformer, hidden_size: 32, layers: 1, heads: 2}}
tokenizer: {{kind: words}}
tasks: [{tasks}]
sampling: uniform
train: {{steps: 1000, tokens_per_step: 8192, max_length: 16}}
workers: {{count: 1, cpus: 1}}
"""
Row = dict[str, Any]


def prepared(folder: Path) -> Path:
    """A run folder that a worker can start from, over a few thousand rows."""
    from trunkline.build.prepare import prepare
    from trunkline.config.recipe import load_recipe

    chance = random.Random(0)
    rows = [
        {"text": " ".join(chance.choices(WORDS, k=3)) + f" {number}", "label": chance.choice("abc")} for number in range(5000)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for number in range(TASKS):
        (folder / "tasks" / f"task_{number}").mkdir(parents=True)
        (folder / "tasks" / f"task_{number}" / "card.yaml").write_text(CARD.format(number=number).lstrip())
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.format(tasks=", ".join(f"task_{number}" for number in range(TASKS))).lstrip())
    run = folder / "run"
    run.mkdir()
    prepare(load_recipe(recipe), run, folder / "store", lambda _: None)
    return run


def grown(run: Path, folder: Path, rows: int) -> None:
    """Puts training splits of `rows` rows in all in place of the run's own."""
    from trunkline.data.store import StoredSplit

    stated = json.loads((run / "prepared.json").read_text())
    for task, splits in stated["splits"].items():
        small = StoredSplit.open(splits["train"])
        times = -(-rows // TASKS // len(small))
        path = folder / f"{task}-{rows}.arrow"
        tiled(small.path, path, times)
        index = {**small.index, "rows": times * len(small), "tokens": times * small.index["tokens"]}
        path.with_suffix(".json").write_text(json.dumps({**index, "size_bytes": path.stat().st_size}))
        splits["train"] = str(path)
    (run / "prepared.json").write_text(json.dumps(stated))


def tiled(source: Path, path: Path, times: int) -> None:
    """The rows of a stored split, so many times one after the other, laid out in the same columns."""
    batch = pyarrow.ipc.open_file(pyarrow.memory_map(str(source))).get_batch(0)
    columns = []
    for column in batch.columns:
        if not isinstance(column, pyarrow.LargeListArray):
            columns.append(pyarrow.array(np.tile(column.to_numpy(), times)))
            continue
        starts, values = column.offsets.to_numpy(), column.values.to_numpy()
        shifts = np.arange(times, dtype=np.int64)[:, None] * starts[-1]
        ends = np.append((starts[:-1] + shifts).ravel(), times * starts[-1])
        columns.append(pyarrow.LargeListArray.from_arrays(pyarrow.array(ends), pyarrow.array(np.tile(values, times))))
    whole = pyarrow.record_batch(columns, names=batch.schema.names)
    with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_file(sink, whole.schema) as writer:
        writer.write_batch(whole)


def measure(run: Path) -> Row:
    """In this process, as a worker begins; then draws alone, then packs of what is drawn."""
    from trunkline.build.assemble import assemble
    from trunkline.data.dealing import build_step
    from trunkline.registry import TRUNKS

    TRUNKS.get("transformer")(50, 0, 16, hidden_size=32, layers=1, heads=2)  # imports what a trunk needs
    before, since, wall = resident(), time.process_time(), time.perf_counter()
    built = assemble(run)
    opened = resident()
    settings = {"seed": 0, "rank": 0, "world": 1, "tokens_per_pass": built.recipe.train.tokens_per_pass}
    build_step(1, built.stream.next_step(1), built.tables, **settings)
    started, elapsed, first = time.process_time() - since, time.perf_counter() - wall, resident()
    since, drawn = time.process_time(), 0
    for step in range(2, STEPS):
        drawn += len(built.stream.next_step(step))
    seconds = time.process_time() - since
    since = time.process_time()
    packed = [build_step(step, built.stream.next_step(step), built.tables, **settings).drawn for step in range(STEPS, STEPS + 20)]
    return {
        "rows": sum(len(table.rows) for table in built.tables.values()),
        "start_s": round(started, 3),
        "start_wall_s": round(elapsed, 3),
        "resident_bytes": opened["VmRSS"] - before["VmRSS"],
        "first_step_bytes": first["VmRSS"] - before["VmRSS"],
        "own_bytes": resident()["RssAnon"] - before["RssAnon"],
        "draws_per_s": round(drawn / seconds),
        "packed_rows_per_s": round(sum(packed) / (time.process_time() - since)),
    }


def resident() -> dict[str, int]:
    """Linux's account of this process's memory, bytes. VmRSS: all; RssAnon: without pages of files, which are given up when
    needed."""
    lines = [line.split() for line in Path("/proc/self/status").read_text().splitlines()]
    return {words[0].rstrip(":"): 1024 * int(words[1]) for words in lines if words[0] in ("VmRSS:", "RssAnon:")}


def met(row: Row) -> bool:
    """Of the largest store."""
    return bool(row["start_s"] < MUST_S and max(row["resident_bytes"], row["own_bytes"]) < MUST_BYTES)


def markdown(rows: list[Row]) -> str:
    lines = [
        "| rows | start, CPU s | memory to start, MB | with the first step | after 220 steps, no file pages | draws a CPU s |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        sizes = (f"{row[name] / 1e6:.1f}" for name in ("resident_bytes", "first_step_bytes", "own_bytes"))
        cells = [f"{row['rows']:,}", f"{row['start_s']:.2f}", *sizes, f"{row['draws_per_s']:,}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def written(page: str, rows: list[Row]) -> str:
    before, rest = page.split(START)
    return before + START + markdown(rows) + END + rest.split(END)[1]


def main(
    folder: Annotated[Path, typer.Argument(help="Where the large store lies meanwhile.")],
    rows: int = ROWS,
    here: Annotated[bool, typer.Option(help="Measure the run in this folder, in this process.", hidden=True)] = False,
) -> None:
    """Makes the stores, measures, writes the table."""
    if here:
        sys.stdout.write(json.dumps(measure(folder)) + "\n")
        return
    found = []
    with tempfile.TemporaryDirectory(dir=folder) as place:
        run = prepared(Path(place))
        for count in (rows // 1000, rows // 10, rows):
            grown(run, Path(place), count)
            command = [sys.executable, "-m", "benchmarks.scale", str(run), "--here"]
            found.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]))
            typer.echo(json.dumps(found[-1]))
    setting = {"threads": 1, "tasks": TASKS, "must_s": MUST_S, "must_bytes": MUST_BYTES}
    command = "python -m benchmarks.scale FOLDER"
    whole = {"schema_version": 1, "command": command, **circumstances(), "setting": setting, "met": met(found[-1]), "rows": found}
    STORED.write_text(json.dumps(whole, indent=1) + "\n")
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
