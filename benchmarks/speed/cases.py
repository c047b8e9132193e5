"""The ratios of docs/performance.md that this machine can measure, each with the losses of both sides compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.speed import processes, sentences, trainer
from benchmarks.speed.loops import Plain, TaskByTask
from benchmarks.speed.masked import AllTokens, Gathered
from benchmarks.speed.ours import TOKENS_PER_PASS, Ours
from benchmarks.speed.ratios import Clock, Pair, agreed, row, taking_turns
from benchmarks.speed.reading import Packed, Torch
from benchmarks.speed.saving import Saving
from benchmarks.speed.work import WORKS, Work, padding, short, work

ROWS = 128  # of a step, unless said otherwise
Row = dict[str, Any]


def against_trainer(name: str, *, sort: bool, rounds: int) -> tuple[Pair, Work, float]:
    """Steps in turn: transformers' Trainer, then ours on the same rows. The largest difference of their losses."""
    stated = work(WORKS[name], steps=rounds + 2, rows=ROWS)
    ours, mine, theirs, losses = Ours(stated), list[float](), list[float](), list[float]()
    clock = Clock()

    def between() -> None:
        theirs.append(clock.lap())
        losses.append(ours.step())
        mine.append(clock.lap())

    others = list(trainer.train(stated, sort=sort, between=between))
    apart = max(abs(a - b) for a, b in zip(losses, others, strict=True))
    return Pair(mine[2:], theirs[2:]), stated, agreed(apart)


def r1(rounds: int) -> list[Row]:
    found = []
    for name in ("W1", "W2"):
        pair, stated, apart = against_trainer(name, sort=False, rounds=rounds)
        bound, ratio = padding(stated, trainer.BATCH, sort=False), pair.ratio()
        share = tuple(value / bound for value in ratio)
        what = f"against Trainer's dynamic padding, {name}: share of the bound {bound:.2f}x"
        found.append(row("R1", share, 0.95, 1.05, what, speedup=round(ratio[0], 3), losses_apart=apart))
    return found


def r2(rounds: int) -> list[Row]:
    pair, _, apart = against_trainer("W1", sort=True, rounds=rounds)
    return [
        row("R2", pair.ratio(), 1.15, 1.3, "against Trainer on rows sorted by length within the step, W1", losses_apart=apart)
    ]


def r4(rounds: int) -> list[Row]:
    pair, _, apart = against_trainer("W3", sort=False, rounds=rounds)
    return [row("R4", pair.ratio(), 1.0, 1.05, "uniform lengths (W3) against Trainer", losses_apart=apart)]


def r6(rounds: int) -> list[Row]:
    stated = work(short(8), steps=rounds + 2, rows=512)
    ours, theirs = Ours(stated), TaskByTask(stated, tokens_per_pass=TOKENS_PER_PASS)
    pair, apart = in_turns(ours.step, theirs.step, rounds)
    return [row("R6", pair.ratio(), 1.03, 1.10, "one mixed pass against a pass a task, 8 tasks", losses_apart=apart)]


def r7_r8(rounds: int) -> list[Row]:
    """Tokens a second at equal tokens a step: the same rows, told to belong to as many tasks."""
    sides = {tasks: Ours(work(short(tasks), steps=rounds + 2, rows=ROWS)) for tasks in (1, 8, 32, 100)}
    stated = [("R7", 8, 1, 0.95, 0.99), ("R8", 32, 8, 0.95, 0.98), ("R8", 100, 8, 0.85, 0.95)]
    found = []
    for number, more, fewer, must, stretch in stated:
        pair = taking_turns(sides[more].step, sides[fewer].step, rounds=rounds)
        more_tokens, fewer_tokens = (sum(map(sides[side].work.tokens, range(rounds + 2))) for side in (more, fewer))
        ratio = tuple(value * more_tokens / fewer_tokens for value in pair.ratio())
        found.append(row(number, ratio, must, stretch, f"{more} tasks against {fewer}, tokens a second"))
    return found


def r9(rounds: int) -> list[Row]:
    stated = work(WORKS["W1"], steps=rounds + 2, rows=ROWS)
    ours, theirs = Ours(stated), Plain(stated, tokens_per_pass=TOKENS_PER_PASS)
    pair, apart = in_turns(ours.step, theirs.step, rounds)
    return [row("R9", pair.ratio(), 0.95, 0.99, "our step (DeepSpeed, stage 0) against a plain torch loop", losses_apart=apart)]


def r10(rounds: int) -> list[Row]:
    with processes.both() as (ours, theirs):
        mine, others = list[float](), list[float]()
        taking_turns(lambda: mine.append(ours.step()), lambda: others.append(theirs.step()), rounds=rounds)
    return [row("R10", Pair(mine[2:], others[2:]).ratio(), 0.97, 0.99, "in a Ray Train worker against a plain process")]


def r11(rounds: int) -> list[Row]:
    stated, mine, theirs, losses = sentences.pairs(rounds + 2), list[float](), list[float](), list[float]()
    ours, clock = sentences.ours(stated), Clock()

    def between() -> None:
        theirs.append(clock.lap())
        losses.append(ours.step())
        mine.append(clock.lap())

    others = list(sentences.train(stated, between=between))
    apart = agreed(max(abs(a - b) for a, b in zip(losses, others, strict=True)))
    what = "against sentence-transformers, pairs of a question and a passage"
    return [row("R11", Pair(mine[2:], theirs[2:]).ratio(), 1.3, 2.5, what, losses_apart=apart)]


def r15(rounds: int) -> list[Row]:
    pair, apart = in_turns(Gathered().step, AllTokens().step, rounds)
    return [
        row("R15", pair.ratio(), 1.35, 1.5, "masked tokens gathered before the logits, MiniLM-L6's sizes", losses_apart=apart)
    ]


def r16(rounds: int) -> list[Row]:
    stated = work(WORKS["W1"], steps=rounds + 2, rows=2048)
    pair = taking_turns(Packed(stated).step, Torch(stated).step, rounds=rounds)
    return [row("R16", pair.ratio(), 30.0, 100.0, "rows read and packed against datasets' torch format, tokens a second")]


def r17(rounds: int) -> list[Row]:
    sides = Saving()
    found = {aside: [sides.blocked(aside=aside) for _ in range(1)] for aside in (True, False)}
    for _ in range(min(rounds, 5)):
        for aside, seconds in found.items():
            seconds.append(sides.blocked(aside=aside))
    sides.close()
    what = "time training waits for a checkpoint of 100M parameters, beside training against at once"
    return [row("R17", Pair(found[True][1:], found[False][1:]).ratio(), 5.0, 20.0, what)]


def in_turns(ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> tuple[Pair, float]:
    """Both sides' times, and how far their losses were apart at most."""
    mine, others = list[float](), list[float]()
    pair = taking_turns(lambda: mine.append(ours()), lambda: others.append(theirs()), rounds=rounds)
    return pair, agreed(max(abs(a - b) for a, b in zip(mine, others, strict=True)))


CASES: dict[str, Callable[[int], list[Row]]] = {
    "R1": r1,
    "R2": r2,
    "R4": r4,
    "R6": r6,
    "R7-R8": r7_r8,
    "R9": r9,
    "R10": r10,
    "R11": r11,
    "R15": r15,
    "R16": r16,
    "R17": r17,
}
