"""What commands cost: L1 help, L2 cards validated, L3 a catalog, L13 a report. CPU seconds of their processes."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.load.measures import told

HEAVY = ("torch", "ray", "deepspeed", "transformers")
ROUNDS = 5
CARD = """name: {name}
summary: Topics of short texts
data: {{format: jsonl, rows: rows.jsonl, split: {{by: text, validation: 25, test: 0}}}}
inputs: [text]
target: label
head: {{kind: classification, labels: [water, land], pooling: mean, dropout: 0.1}}
metrics: [accuracy, macro_f1]
weight: 0.5
"""
Row = dict[str, Any]


def spent(*arguments: str) -> float:
    """CPU seconds, of program and system, of a Python process."""
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, arguments
    return usage.ru_utime + usage.ru_stime


def l1() -> Row:
    command = [sys.executable, "-X", "importtime", "-m", "trunkline", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    heavy = sorted(loaded & set(HEAVY))
    pairs = [(spent("-m", "trunkline", "--help"), spent("-c", "import typer, rich")) for _ in range(ROUNDS + 1)][1:]
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    got = f"{len(heavy)} heavy imports; {ratio:.2f}x in CPU time"
    return told(got, not heavy and ratio <= 3, heavy=heavy, ratio=round(ratio, 3), cpu_s=[round(ours, 3) for ours, _ in pairs])


def write_cards(folder: Path, count: int) -> Path:
    for number in range(count):
        own = folder / f"task_{number:04d}"
        own.mkdir(parents=True)
        (own / "card.yaml").write_text(CARD.format(name=own.name))
    return folder


def l2() -> Row:
    with tempfile.TemporaryDirectory() as folder:
        write_cards(Path(folder), 500)
        sides = {}
        for side in ("read", "parts"):
            command = [sys.executable, "-m", "benchmarks.load.commands", side, folder]
            sides[side] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    read, parts = sides["read"], sides["parts"]
    got = f"{read['cpu_s']:.1f} CPU s and {read['mb']:.0f} MB for keys, types, bounds and places"
    got += f"; {parts['cpu_s']:.1f} CPU s and {parts['mb']:.0f} MB with every part's arguments, which imports torch"
    met = parts["cpu_s"] <= 3 and parts["mb"] <= 200
    note = "" if met else f"Importing the parts alone takes {parts['import_s']:.1f} CPU s and {parts['import_mb']:.0f} MB"
    return told(got, met, note, **sides)


def validate(side: str, folder: Path) -> Row:
    """In a process of its own. `parts`: names and arguments of parts too."""
    from trunkline.tasks.card import check_parts
    from trunkline.tasks.catalog import Catalog

    if side == "parts":
        from trunkline.registry import HEADS, LOSSES, METRICS, SOURCES

        for registry in (HEADS, LOSSES, METRICS, SOURCES):
            registry.names()
        one = Catalog([folder])
        check_parts(one.get(one.names()[0]))
    imported = {"import_s": round(time.process_time(), 2), "import_mb": round(most_mb())}
    catalog = Catalog([folder])
    for name in catalog.names():
        card = catalog.get(name)
        if side == "parts":
            check_parts(card)
    return {**imported, "cpu_s": round(time.process_time(), 2), "mb": round(most_mb())}


def most_mb() -> float:
    """The most resident memory this process ever had."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def l3() -> Row:
    with tempfile.TemporaryDirectory() as folder:
        write_cards(Path(folder), 1000)
        commands = {"list": ["task", "list"], "show": ["task", "show", "task_0500"]}
        times = {
            name: statistics.median(spent("-m", "trunkline", *words, "--catalog", folder) for _ in range(ROUNDS))
            for name, words in commands.items()
        }
    got = ", ".join(f"{name} {seconds:.2f} CPU s" for name, seconds in times.items())
    bare = statistics.median(spent("-m", "trunkline", "--help") for _ in range(ROUNDS))
    met = max(times.values()) <= 0.5
    note = "" if met else f"`trunkline --help` alone takes {bare:.2f} CPU s"
    return told(got + ", the commands' start included", met, note, **times, help=bare)


def l13() -> Row:
    from report_runs import run

    with tempfile.TemporaryDirectory() as folder:
        made, page = Path(folder) / "run", Path(folder) / "report.html"
        run(made, [f"task{number}" for number in range(20)], steps=2000, resumes=3)
        seconds = statistics.median(spent("-m", "trunkline", "report", str(made), "-o", str(page)) for _ in range(3))
        size = page.stat().st_size / 1e6
    return told(f"{seconds:.1f} CPU s, {size:.2f} MB", seconds <= 3 and size <= 6, cpu_s=round(seconds, 2), mb=round(size, 3))


if __name__ == "__main__":
    print(json.dumps(validate(sys.argv[1], Path(sys.argv[2]))))
