"""What a run is doing, for people: read from its folder, shown on stderr while another process writes there."""

from __future__ import annotations

import math
import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from trunkline.monitor.records import news, tails_of, until


def follow(
    folder: str | Path,
    total_steps: int,
    stop: threading.Event,
    console: Console | None = None,
    *,
    evaluate_every: int | None = None,
    skip_existing: bool = False,
) -> None:
    """Show the run in `folder` until `stop` is set, and then whatever it wrote last. Blocks: give it a thread.

    On a terminal: a live bar with tokens/s, the time left, each task's loss and the step of the next evaluation. Elsewhere
    (a pipe, TERM=dumb): one plain line per record. console: default stderr. evaluate_every: as in the recipe, for the next
    evaluation. skip_existing: records already there when it starts count as shown (a resumed run's past).
    """
    console = console or Console(stderr=True)
    live = console.is_terminal and not console.is_dumb_terminal
    state = Progress(total_steps, evaluate_every)
    tails = tails_of(Path(folder))
    if skip_existing:
        for record in news(tails):
            state.take(record)
        state.first = None  # the pace is this attempt's
    if not live:
        for record in until(stop, tails):
            state.take(record)
            _print_plain(console, state.line(record))
        return
    with Live(state, console=console, refresh_per_second=4, redirect_stdout=False, transient=True) as view:
        for record in until(stop, tails):
            state.take(record)
            if "event" in record or any(name.startswith("eval/") for name in record):
                view.console.print(Text(state.line(record)), soft_wrap=False)
        view.refresh()
    console.print(state)


def result_table(rows: Sequence[Mapping[str, object]]) -> Table:
    """The table a training ends with, a line per task.

    rows: mappings with `task`, `kind`, `rows` (count), `metric` (headline), `baseline`, `value` (figures), `learned` (bool);
    maybe `alone` (figure) and `difference` (text), what the task reaches alone and how far the run is from it; maybe further
    columns of text, the value's `interval`, what bag of words gets (`linear`), and `other`, another model's value.
    """
    table = Table(header_style="bold", box=None, padding=(0, 1, 0, 0))
    compared = any(name in row for row in rows for name in _COMPARED)
    columns = {**{name: side for name, side in _COLUMNS.items() if name not in _LEFT_OUT}, **_COMPARED} if compared else _COLUMNS
    columns = {**columns, **{name: side for name, side in _MAYBE.items() if any(name in row for row in rows)}}
    for name, justify in columns.items():
        table.add_column(name, justify=justify, no_wrap=True, overflow="crop")
    for row in rows:
        table.add_row(*(_cell(name, row.get(name)) for name in columns))
    return table


_COLUMNS: dict[str, Any] = {
    "task": "left",
    "kind": "left",
    "rows": "right",
    "metric": "left",
    "baseline": "right",
    "value": "right",
    "learned": "left",
}


_COMPARED = {"alone": "right", "difference": "right"}  # where each task was trained alone too
_MAYBE = {"interval": "left", "linear": "right", "other": "right", "verdict": "left"}
_LEFT_OUT = ("kind", "learned")  # then, or the line would be too long


def _cell(name: str, value: object) -> Text:
    if value is None:
        return Text("-")
    if isinstance(value, bool):
        return Text("yes", style="green") if value else Text("no", style="red")
    if isinstance(value, float):
        return Text(_number(value), style="bold" if name == "value" else "")
    return Text(f"{value:,}" if isinstance(value, int) else str(value))


def _number(value: float | None) -> str:
    """Four significant digits, so that columns of losses and perplexities can be compared at a glance."""
    if value is None or not math.isfinite(value):
        return "not a number" if value is None else str(value)
    size = abs(value)
    if size >= 1e6 or 0 < size < 1e-3:
        return f"{value:.3g}"
    return f"{value:,.{0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 10 else 3}f}"


@dataclass
class Progress:
    """What is known of a run so far; rich draws it."""

    total_steps: int
    evaluate_every: int | None = None
    step: int = 0
    first: tuple[int, float] | None = None
    last_time: float = 0.0
    losses: dict[str, float | None] = field(default_factory=dict)
    figures: dict[str, float | None] = field(default_factory=dict)
    tokens_per_s: float | None = None
    workers: int = 1
    restarts: int = 0

    def take(self, record: Mapping[str, Any]) -> None:
        if "event" in record:
            self._happened(record)
        if "step" not in record or "event" in record:
            return
        self.step = int(record["step"])
        self.last_time = float(record.get("time", 0.0))
        if self.first is None or self.step < self.first[0]:
            self.first = (self.step, self.last_time)
        self.tokens_per_s = record.get("system/tokens_per_s", self.tokens_per_s)
        for name, value in record.items():
            room, _, rest = name.partition("/")
            if room == "train" and rest.endswith("/loss"):
                self.losses[rest.removesuffix("/loss")] = value
            elif room == "eval":
                self.figures[rest] = value

    def _happened(self, record: Mapping[str, Any]) -> None:
        if record["event"] == "training":
            self.workers = int(record.get("workers", self.workers))
        elif record["event"] == "attempt_failed":
            self.workers, self.restarts = 0, self.restarts + 1

    @property
    def next_evaluation(self) -> int | None:
        if not self.evaluate_every or self.step >= self.total_steps:
            return None
        return min((self.step // self.evaluate_every + 1) * self.evaluate_every, self.total_steps)

    @property
    def seconds_left(self) -> float | None:
        """From the pace so far; None before there is one, or if the clock went backwards."""
        if self.first is None or self.step <= self.first[0] or self.last_time <= self.first[1]:
            return None
        return (self.last_time - self.first[1]) / (self.step - self.first[0]) * (self.total_steps - self.step)

    def line(self, record: Mapping[str, Any]) -> str:
        """A record in one plain line."""
        if "event" in record:
            short = {key: value for key, value in record.items() if not isinstance(value, Mapping)}  # rows of a step fill screens
            details = [f"{key}={value}" for key, value in short.items() if key not in ("event", "time")]
            return _one_line(" ".join([f"event {record['event']}", *details]))
        step = f"step {int(record.get('step', 0))}/{self.total_steps}"
        figures = {name.removeprefix("eval/"): value for name, value in record.items() if name.startswith("eval/")}
        if figures:
            return _one_line("  ".join([step, "eval", *(f"{name} {_number(value)}" for name, value in figures.items())]))
        return _one_line("  ".join([step, *self._facts(), *(f"{task} {_number(loss)}" for task, loss in self.losses.items())]))

    def _facts(self) -> list[str]:
        facts = [] if self.tokens_per_s is None else [f"{self.tokens_per_s:,.0f} tokens/s"]
        if self.seconds_left is not None:
            facts.append(f"{_duration(self.seconds_left)} left")
        facts += [] if self.workers == 1 else [f"{self.workers} workers"]
        facts += [f"{self.restarts} restart{'s' if self.restarts > 1 else ''}"] if self.restarts else []
        return facts + ([] if self.next_evaluation is None else [f"next evaluation {self.next_evaluation}"])

    def __rich__(self) -> RenderableType:
        bar = Table.grid(padding=(0, 2))
        bar.add_row(
            Text(f"step {self.step}/{self.total_steps}"),
            ProgressBar(total=max(self.total_steps, 1), completed=self.step, width=30),
            Text("  ".join(self._facts()), overflow="crop", no_wrap=True),
        )
        losses, figures = dict(self.losses), dict(self.figures)  # drawn by rich's thread while records come in
        if not losses:
            return bar
        tasks = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("task", "loss", "last evaluation"):
            tasks.add_column(name, justify="right" if name == "loss" else "left", no_wrap=True, overflow="crop")
        for task, loss in losses.items():
            own = [
                f"{name.removeprefix(f'{task}/')} {_number(value)}"
                for name, value in figures.items()
                if name.startswith(f"{task}/")
            ]
            tasks.add_row(Text(task), Text(_number(loss)), Text("  ".join(own)))
        return Group(bar, tasks)


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _print_plain(console: Console, line: str) -> None:
    """Whole into a file or pipe; on a terminal cut to its width rather than wrapped."""
    if console.is_terminal:
        width = min(console.width, shutil.get_terminal_size().columns)  # rich takes any dumb terminal for 80 columns wide
        console.print(Text(line), no_wrap=True, overflow="crop", width=width)
    else:
        console.print(Text(line), soft_wrap=True)
