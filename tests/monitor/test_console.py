"""What people see of a run."""

from __future__ import annotations

import io
import json
import re
import threading
from pathlib import Path

import pytest
from rich.console import Console

from trunkline.monitor.console import Progress, follow, result_table
from trunkline.monitor.jsonl import Jsonl


def stopped() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


def write(folder: Path, steps: range = range(10, 41, 10), resume_step: int | None = None) -> None:
    jsonl = Jsonl(folder, resume_step=resume_step)
    for step in steps:
        jsonl.log(step, {"train/tone/loss": 20.0 / step, "train/valence/loss": 1234.5, "system/tokens_per_s": 5432.1})
        if step % 20 == 0:
            jsonl.log(step, {"eval/tone/accuracy": step / 100, "eval/valence/spearman": 0.5})
            jsonl.event("saved", step=step)
    jsonl.close()


def plain(**options: object) -> Console:
    return Console(file=io.StringIO(), **options)


def text(console: Console) -> str:
    return console.file.getvalue()


def test_without_a_terminal_every_record_is_one_plain_whole_line(tmp_path: Path) -> None:
    write(tmp_path)
    console = plain(width=20)
    follow(tmp_path, 40, stopped(), console, evaluate_every=20)
    lines = text(console).splitlines()
    assert len(lines) == 4 + 2 + 2
    assert lines[0] == "step 10/40  5,432 tokens/s  next evaluation 20  tone 2.000  valence 1,234"
    assert "step 20/40  eval  tone/accuracy 0.200  valence/spearman 0.500" in lines
    assert "event saved step=20" in lines
    assert "\x1b" not in text(console)


def test_workers_and_restarts_are_told_where_there_are_several_or_any() -> None:
    view = Progress(4)
    line = view.line({"step": 1, "train/tone/loss": 1.0})
    assert "worker" not in line and "restart" not in line
    for event, told in (
        ({"event": "training", "workers": 2}, "2 workers"),
        ({"event": "attempt_failed"}, "0 workers  1 restart"),
        ({"event": "training", "workers": 1}, "1 restart"),
        ({"event": "attempt_failed"}, "0 workers  2 restarts"),
    ):
        view.take(event)
        assert view.line({"step": 1}) == f"step 1/4  {told}"


def test_a_dumb_terminal_gets_plain_lines_cut_to_its_width(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "20")
    write(tmp_path)
    console = plain(force_terminal=True)
    follow(tmp_path, 40, stopped(), console)
    lines = text(console).splitlines()
    assert len(lines) == 8
    assert max(map(len, lines)) <= 20
    assert "\x1b[" not in text(console)


def test_a_terminal_shows_progress_with_losses_speed_and_the_next_evaluation(tmp_path: Path) -> None:
    write(tmp_path, range(10, 31, 10))
    console = plain(force_terminal=True, width=100)
    follow(tmp_path, 40, stopped(), console, evaluate_every=20)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text(console))
    assert "step 30/40" in shown
    assert "5,432 tokens/s" in shown
    assert "next evaluation 40" in shown
    assert re.search(r"tone +0\.667 +accuracy 0\.200", shown)


def test_without_colour_a_terminal_gets_no_colour_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    write(tmp_path)
    console = plain(force_terminal=True, width=100)
    follow(tmp_path, 40, stopped(), console)
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", text(console))


@pytest.mark.parametrize("width", [1, 8, 20, 300])
def test_any_width_of_terminal_will_do(tmp_path: Path, width: int) -> None:
    write(tmp_path)
    console = plain(force_terminal=True, width=width)
    follow(tmp_path, 40, stopped(), console, evaluate_every=20)
    console.print(result_table([{"task": "tone", "value": 0.9}]))
    assert text(console)


@pytest.mark.parametrize("width", [30, 100])
def test_an_ascii_stream_is_enough(tmp_path: Path, width: int) -> None:
    write(tmp_path)
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    console = Console(file=stream, force_terminal=True, width=width)
    follow(tmp_path, 40, stopped(), console, evaluate_every=20)
    console.print(result_table([{"task": "a_task_of_a_long_name", "metric": "accuracy", "value": 0.5}]))
    stream.flush()
    assert b"step 40/40" in stream.buffer.getvalue()


def test_it_follows_a_run_that_starts_late_and_loses_nothing(tmp_path: Path) -> None:
    console, stop = plain(), threading.Event()
    thread = threading.Thread(target=follow, args=(tmp_path / "run", 100, stop, console))
    thread.start()
    jsonl = Jsonl(tmp_path / "run")
    for step in range(1, 101):
        jsonl.log(step, {"train/lr": 0.1})
    stop.set()
    thread.join(timeout=20)
    assert not thread.is_alive()
    assert [line.split()[1] for line in text(console).splitlines()] == [f"{step}/100" for step in range(1, 101)]


def test_a_resumed_runs_past_is_shown_once_and_its_dropped_records_do_not_return(tmp_path: Path) -> None:
    write(tmp_path)
    console, stop = plain(), threading.Event()
    thread = threading.Thread(target=follow, args=(tmp_path, 60, stop, console), kwargs={"skip_existing": True})
    thread.start()
    while not stop.wait(0.6):
        write(tmp_path, range(30, 61, 10), resume_step=20)
        stop.set()
    thread.join(timeout=20)
    steps = [int(line.split()[1].split("/")[0]) for line in text(console).splitlines() if "tokens/s" in line]
    assert steps == [30, 40, 50, 60]


def test_a_torn_line_is_read_once_it_is_whole_and_rubbish_is_passed_over(tmp_path: Path) -> None:
    line = json.dumps({"step": 1, "time": 1.0, "train/a/loss": None})
    (tmp_path / "metrics.jsonl").write_text(f"rubbish\n[1]\n{line}\n" + '{"step": 2, "ti')
    console = plain()
    follow(tmp_path, 5, stopped(), console)
    assert text(console) == "step 1/5  a not a number\n"


def test_a_task_or_event_is_never_taken_for_markup(tmp_path: Path) -> None:
    Jsonl(tmp_path).event("failed", error="[/red] two\nlines [bold]")
    console = plain()
    follow(tmp_path, 5, stopped(), console)
    assert text(console) == "event failed error=[/red] two lines [bold]\n"


def test_the_result_table_has_a_line_per_task_and_fits_eighty_columns() -> None:
    console = plain(width=80)
    console.print(
        result_table(
            [
                {"task": "review_sentiment", "kind": "classification", "rows": 37_688, "metric": "accuracy"}
                | {"baseline": 0.5, "value": 0.8123, "learned": True},
                {"task": "masked_language", "kind": "masked_language", "rows": 152_000, "metric": "perplexity"}
                | {"baseline": 1234.56, "value": 310.26, "learned": False},
            ]
        )
    )
    head, first, second = (line.split() for line in text(console).splitlines())
    assert head == ["task", "kind", "rows", "metric", "baseline", "value", "learned"]
    assert first == ["review_sentiment", "classification", "37,688", "accuracy", "0.500", "0.812", "yes"]
    assert second == ["masked_language", "masked_language", "152,000", "perplexity", "1,235", "310.3", "no"]
