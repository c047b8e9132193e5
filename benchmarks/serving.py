"""What serving all tasks by one model gives, beside one model for each of them, under the same load (Show 3 of handing over).

    python -m benchmarks.serving --to benchmarks/results/serving.json

Six tasks read one text: a Transformer of MiniLM's shape (6 layers of 384), served whole by two replicas of one thread, and cut
into six models of one task each (`trunkline remove`), each with a replica of one thread. All are up in one Ray Serve on loopback,
and are asked in turn, round after round. Every client waits for its answer and asks again:

every task   a client wants all six tasks of some texts: one request to the whole model, or six at once to the models of one task
one task     a client wants one task, in turn: one request to the whole model or to that task's

A row counts once all tasks asked about it have answered. Answers of both sides are compared before the clock runs. Clients, proxy
and replicas share the machine's cores.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import socket
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
from benchmarks.quality.cells import circumstances

import trunkline
from trunkline.serve.running import serving
from trunkline.serve.settings import Settings
from trunkline.workflows.surgery import without

WORDS = [
    f"{a}{b}{c}"
    for a in ("ba", "de", "ki", "lo", "mu")
    for b in ("ra", "sen", "tor", "vil", "x")
    for c in ("a", "en", "i", "os", "um")
]
KINDS = {
    "topic": ("label", "head: {kind: classification, labels: [a, b, c]}"),
    "urgent": ("flag", "head: {kind: classification, labels: [yes, no]}"),
    "intent": ("intent", f"head: {{kind: classification, labels: [{', '.join(f'i{n}' for n in range(20))}]}}"),
    "score": ("value", "head: {kind: regression}"),
    "length": ("length", "head: {kind: regression}"),
    "flags": ("flags", "head: {kind: multilabel, labels: [x, y, z]}"),
}
RECIPE = """
seed: 1
trunk: {{kind: transformer, hidden_size: 384, layers: 6, heads: 12}}
tokenizer: {{kind: wordpiece, vocab_size: 800}}
tasks: [{tasks}]
optim: {{kind: adamw, lr: 1e-3}}
train: {{steps: 2, tokens_per_step: 512, max_length: 64, evaluate_every: null}}
workers: {{count: 1, cpus: 1}}
"""
CLIENTS, WORDS_PER_TEXT = 8, (8, 24)
WHOLE = "whole"


def model_in(folder: Path) -> Path:
    """A model of all tasks, hardly trained: what it costs does not depend on what it knows."""
    chance = random.Random(0)
    rows = []
    for _ in range(300):
        words = chance.choices(WORDS, k=chance.randint(*WORDS_PER_TEXT))
        own = {"text": " ".join(words), "label": chance.choice("abc"), "flag": chance.choice(["yes", "no"])}
        own |= {"intent": f"i{chance.randrange(20)}", "value": chance.random(), "length": float(len(words))}
        rows.append({**own, "flags": chance.sample("xyz", chance.randint(1, 2))})
    (folder / "recipes").mkdir(parents=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, (target, head) in KINDS.items():
        (folder / "tasks" / name).mkdir(parents=True)
        card = f"name: {name}\ndata: {{format: jsonl, rows: ../../rows.jsonl, split: {{by: text, validation: 10, test: 0}}}}\n"
        (folder / "tasks" / name / "card.yaml").write_text(f"{card}inputs: [text]\ntarget: {target}\n{head}\n")
    (folder / "recipes" / "all.yaml").write_text(RECIPE.format(tasks=", ".join(KINDS)).lstrip())
    return trunkline.train(folder / "recipes" / "all.yaml", in_process=True).model


def models_of_one(whole: Path, folder: Path) -> dict[str, Path]:
    return {name: without(whole, [other for other in KINDS if other != name], folder / name) for name in KINDS}


class Load:
    """Clients that ask without pause. rows: texts of a request."""

    def __init__(self, address: str, rows: int) -> None:
        self.address, self.rows = address, rows
        chance = random.Random(1)
        self.texts = [" ".join(chance.choices(WORDS, k=chance.randint(*WORDS_PER_TEXT))) for _ in range(512)]

    async def ask(self, session: aiohttp.ClientSession, where: str, tasks: list[str], texts: list[str]) -> dict[str, Any]:
        async with session.post(f"{self.address}/{where}/predict", json={"tasks": tasks, "rows": texts}) as answer:
            found: dict[str, Any] = await answer.json()
            assert answer.status == 200, found
            return dict(found["answers"])

    async def every(self, session: aiohttp.ClientSession, side: str, number: int) -> None:
        """All tasks of the number-th texts."""
        texts = self.some(number)
        if side == WHOLE:
            await self.ask(session, WHOLE, list(KINDS), texts)
        else:
            await asyncio.gather(*(self.ask(session, name, [name], texts) for name in KINDS))

    async def one(self, session: aiohttp.ClientSession, side: str, number: int) -> None:
        name = list(KINDS)[number % len(KINDS)]
        await self.ask(session, WHOLE if side == WHOLE else name, [name], self.some(number))

    def some(self, number: int) -> list[str]:
        first = number * self.rows % (len(self.texts) - self.rows)
        return self.texts[first : first + self.rows]

    async def same(self) -> float:
        """How far the two sides' answers are apart at most, over numbers of six tasks and 32 texts."""
        async with aiohttp.ClientSession() as session:
            texts = self.texts[:32]
            ours = await self.ask(session, WHOLE, list(KINDS), texts)
            apart = 0.0
            for name in KINDS:
                other = await self.ask(session, name, [name], texts)
                for a, b in zip(numbers(ours[name]), numbers(other[name]), strict=True):
                    apart = max(apart, abs(a - b))
        return apart

    async def run(
        self, ask: Callable[[aiohttp.ClientSession, str, int], Awaitable[None]], side: str, seconds: float
    ) -> list[float]:
        """The seconds that each answer took."""
        took: list[float] = []
        numbers_of = itertools.count()
        end = time.perf_counter() + seconds

        async def client(session: aiohttp.ClientSession) -> None:
            while (began := time.perf_counter()) < end:
                await ask(session, side, next(numbers_of))
                took.append(time.perf_counter() - began)

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await asyncio.gather(*(client(session) for _ in range(CLIENTS)))
        return took


def numbers(value: Any) -> list[float]:
    """All of an answer's, in order."""
    if isinstance(value, float):
        return [value]
    if isinstance(value, list | dict):
        return [number for own in (value.values() if isinstance(value, dict) else value) for number in numbers(own)]
    return []


def figures(took: list[float], rows: int, seconds: float) -> dict[str, float]:
    ordered = sorted(took)
    at = {f"p{share}_ms": round(1000 * ordered[min(len(ordered) - 1, len(ordered) * share // 100)], 1) for share in (50, 99)}
    return {"rows_per_s": round(len(took) * rows / seconds, 1), **at, "answers": len(took)}


def measured(load: Load, seconds: float, rounds: int) -> list[dict[str, Any]]:
    """A line for each kind of load and side: medians over the rounds, the range of rows a second."""
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for number in range(rounds + 1):
        for name, ask in (("every task", load.every), ("one task", load.one)):
            for side in (WHOLE, "one model a task"):
                took = asyncio.run(load.run(ask, side, seconds if number else min(seconds, 5.0)))
                if number:  # the first round warms up
                    found.setdefault((name, side), []).append(figures(took, load.rows, seconds))
    lines = []
    for (name, side), own in found.items():
        middle = {key: statistics.median(line[key] for line in own) for key in own[0]}
        span = [min(line["rows_per_s"] for line in own), max(line["rows_per_s"] for line in own)]
        lines.append({"load": name, "side": side, **middle, "rows_per_s_range": span})
    return lines


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=8)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        whole = model_in(Path(folder) / "project")
        models = {WHOLE: whole, **models_of_one(whole, Path(folder))}
        sides = {name: Settings(str(path), replicas=2 if name == WHOLE else 1) for name, path in models.items()}
        with serving(sides, "127.0.0.1", port) as address:
            load = Load(address, given.rows)
            apart = asyncio.run(load.same())
            lines = measured(load, given.seconds, given.rounds)
    setting = {
        "clients": CLIENTS,
        "rows_per_request": given.rows,
        "tasks": len(KINDS),
        "seconds": given.seconds,
        "rounds": given.rounds,
    }
    command = (
        f"python -m benchmarks.serving --seconds {given.seconds:g} --rounds {given.rounds} --rows {given.rows} --to {given.to}"
    )
    kept = {"schema_version": 1, "command": command, **circumstances(), "setting": setting, "answers_apart": apart, "rows": lines}
    given.to.write_text(json.dumps(kept, indent=1) + "\n")
    for line in lines:
        print(line)


if __name__ == "__main__":
    main()
