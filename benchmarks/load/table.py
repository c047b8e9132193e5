"""The figures L1 to L18, what was kept of each, and the page docs/figures.md."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "load"
FAULTS = ROOT / "benchmarks" / "results" / "faults.json"
PAGE = ROOT / "docs" / "figures.md"
START, END = "<!-- load:start -->\n", "\n<!-- load:end -->"
SAVE_EVERY = 5  # steps, in the runs of `make faults`
ASKED = ("F8", "F9")  # by SIGTERM
Row = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """What is measured, what it must reach, and the command that measures it."""

    what: str
    target: str
    command: str


def _here(number: str, what: str, target: str) -> Figure:
    return Figure(what, target, f"python -m benchmarks.load {number}")


FIGURES = {
    "L1": _here("L1", "`trunkline --help`, cold", "0 heavy imports; at most 3x `python -c 'import typer, rich'`"),
    "L2": _here("L2", "500 task cards validated", "at most 3 s and 200 MB"),
    "L3": _here("L3", "list and show in a catalog of 1,000 tasks", "at most 0.5 s"),
    "L4": _here("L4", "32 tasks trained together on 2 gloo ranks, 2,000 steps", "RSS grows < 1 MB/1,000 steps; losses finite"),
    "L5": _here("L5", "stream over 100 M rows of 64 tasks, 10,000 steps", "shares within 1 % of planned; >= 200,000 rows/s"),
    "L6": _here("L6", "stream restored at step 1,000,000", "at most 1 s, the same at any step"),
    "L7": _here("L7", "Parquet read with page checksums against without", "at least 0.8x the speed"),
    "L8": _here("L8", "checkpoint of 500 MB: write, hash, fsync", "at most 2.0x `torch.save`; aside blocks <= 20 % of at once"),
    "L9": _here("L9", "1,000 checkpoints rotated, the last 3 kept", "0 lost, 0 extra, one deleted at a time"),
    "L10": _here("L10", "W&B offline, 100,000 rows of 50 keys", "at most 2 % of a step; every row readable"),
    "L11": Figure("20 jobs submitted at once to one local cluster", "all end, ids unique, none lost", "none yet"),
    "L12": Figure("16 Tune trials, 2 at a time, 3 killed", "the study ends with the clean one's best", "none yet"),
    "L13": _here("L13", "report of 20 tasks x 2,000 points x 3 resumes", "at most 3 s and 6 MB"),
    "L14": Figure(
        "2 h of training, a random fault every 5 minutes", "weights bit-equal; 80 % effective time", "make soak MINUTES=120"
    ),
    "L15": Figure("recovery from a killed Ray worker", "p95 at most 45 s", "make faults"),
    "L16": Figure("steps lost per fault", "at most the checkpoint interval; 0 for SIGTERM", "make faults"),
    "L17": Figure(
        "examples of recipes, cards, streams, manifests", ">= 10,000; no crash without a coded error", "make properties"
    ),
    "L18": _here("L18", "100 steps trained 5 times from one seed", "losses equal bit for bit, and to those kept"),
}
MEASURED = tuple(name for name, figure in FIGURES.items() if "benchmarks.load" in figure.command)


def rows(results: Path = RESULTS, faults: Path = FAULTS) -> list[Row]:
    """Every figure in order: as it was kept, as another command's result tells it, or as not run."""
    found = _of_faults(json.loads(faults.read_text())) if faults.is_file() else {}
    found |= {path.stem: json.loads(path.read_text()) for path in results.glob("L*.json")}
    return [{**_not_run(name), **found.get(name, {})} for name in FIGURES]


def _not_run(name: str) -> Row:
    figure = FIGURES[name]
    return {"id": name, "figure": figure.what, "target": figure.target, "command": figure.command, "got": "not run", "met": None}


def _of_faults(kept: Mapping[str, Any]) -> dict[str, Row]:
    """L15 and L16, of `make faults`: of the faults whose runs ended as they must."""
    fine = {name: own for name, own in kept["rows"].items() if own.get("wrong") is None and "steps_lost" in own}
    when = {"date": max((own["date"][:10] for own in fine.values()), default=""), "machine": kept["machine"]}
    found = {}
    killed = [own["seconds_to_recover"] for name, own in fine.items() if name in ("F1", "F2")]
    if killed:
        found["L15"] = {"got": f"{max(killed):.0f} s, the longest of {len(killed)}", "met": max(killed) <= 45, **when}
    lost = {name: own["steps_lost"] for name, own in fine.items() if name.startswith("F")}
    if lost:
        kills = f"at most {max(lost.values())} of an interval of {SAVE_EVERY} ({', '.join(lost)})"
        asked = {name: steps for name, steps in lost.items() if name in ASKED}
        told = f"SIGTERM: {max(asked.values())}" if asked else "SIGTERM: not run"
        within = max(lost.values()) <= SAVE_EVERY and not any(asked.values())
        found["L16"] = {"got": f"{kills}; {told}", "met": within if asked or not within else None, **when}
    return found


def markdown(found: Sequence[Row]) -> str:
    lines = ["| id | figure | target | got | met | date | machine | command |", "|---|---|---|---|---|---|---|---|"]
    for own in found:
        met = {True: "yes", False: "no", None: "not run" if own["got"] == "not run" else "in part"}[own["met"]]
        got = own["got"] + (f". {own['note']}" if own.get("note") else "")
        cells = (own["id"], own["figure"], own["target"], got, met, own.get("date", ""), own.get("machine", ""))
        lines.append(f"| {' | '.join(cells)} | `{own['command']}` |")
    return "\n".join(lines)


def write_page() -> None:
    before, rest = PAGE.read_text(encoding="utf-8").split(START)
    PAGE.write_text(before + START + markdown(rows()) + END + rest.split(END)[1], encoding="utf-8")
