"""metrics.jsonl and events.jsonl."""

from __future__ import annotations

import json
import logging
import math
import os
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.monitor.jsonl import Jsonl


def read(folder: Path, name: str = "metrics.jsonl") -> list[dict]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def without_time(records: list[dict]) -> list[dict]:
    return [{key: value for key, value in record.items() if key != "time"} for record in records]


def train(folder: Path, steps: range, resume_step: int | None = None) -> None:
    jsonl = Jsonl(folder, resume_step=resume_step)
    for step in steps:
        jsonl.log(step, {"train/valence/loss": 1 / (step + 1), "train/tokens": step * 512})
        if step % 10 == 0:
            jsonl.log(step, {"eval/valence/spearman": step / 100})
    jsonl.close()


def test_a_record_is_its_step_its_time_and_its_figures(tmp_path: Path) -> None:
    jsonl = Jsonl(tmp_path / "new" / "run")
    jsonl.log(7, {"train/tone/loss": np.float32(0.5), "train/lr": 1e-3})
    jsonl.event("saved", step=7, path=tmp_path, seconds=0.25, kept=("a", "b"))
    jsonl.close()
    (record,) = read(tmp_path / "new" / "run")
    assert without_time([record]) == [{"step": 7, "train/tone/loss": 0.5, "train/lr": 1e-3}]
    (event,) = read(tmp_path / "new" / "run", "events.jsonl")
    assert event.pop("time") >= record["time"] > 1e9
    assert event == {"event": "saved", "step": 7, "path": str(tmp_path), "seconds": 0.25, "kept": ["a", "b"]}


def test_every_record_can_be_read_the_moment_it_is_logged(tmp_path: Path) -> None:
    jsonl = Jsonl(tmp_path)
    for step in range(5):
        jsonl.log(step, {"train/lr": 0.1})
        assert len(read(tmp_path)) == step + 1


@given(st.integers(0, 60), st.integers(0, 60), st.binary(max_size=30).filter(lambda torn: b"\n" not in torn))
def test_a_run_killed_at_any_step_and_resumed_writes_the_straight_runs_file(
    tmp_path_factory: pytest.TempPathFactory, resumed_at: int, further: int, torn: bytes
) -> None:
    straight, broken = tmp_path_factory.mktemp("straight"), tmp_path_factory.mktemp("broken")
    train(straight, range(1, 81))
    killed_at = min(resumed_at + further, 80)
    train(broken, range(1, killed_at + 1))
    with (broken / "metrics.jsonl").open("ab") as file:
        file.write(torn)  # the line it was writing when it was killed
    train(broken, range(resumed_at + 1, 81), resume_step=resumed_at)
    assert without_time(read(broken)) == without_time(read(straight))
    assert list(broken.glob(".*")) == []


def test_what_stays_is_not_rewritten_by_a_resume(tmp_path: Path) -> None:
    train(tmp_path, range(30))
    before = (tmp_path / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    Jsonl(tmp_path, resume_step=12).close()
    after = (tmp_path / "metrics.jsonl").read_bytes()
    assert after == b"".join(line for line in before if json.loads(line)["step"] <= 12)


def test_events_are_history_and_outlive_a_resume_but_for_a_torn_line(tmp_path: Path) -> None:
    jsonl = Jsonl(tmp_path)
    jsonl.event("attempt", step=0)
    jsonl.event("fault", step=900)
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"time": 17')
    resumed = Jsonl(tmp_path, resume_step=400)
    resumed.event("attempt", step=400)
    assert [(event["event"], event["step"]) for event in read(tmp_path, "events.jsonl")] == [
        ("attempt", 0),
        ("fault", 900),
        ("attempt", 400),
    ]


def test_a_loss_that_is_no_number_is_null_and_the_file_stays_strict_json(tmp_path: Path) -> None:
    jsonl = Jsonl(tmp_path)
    jsonl.log(1, {"train/a/loss": math.nan, "train/b/loss": math.inf, "train/c/loss": 1.0})
    jsonl.event("skipped", losses={"a": math.nan})
    assert without_time(read(tmp_path)) == [{"step": 1, "train/a/loss": None, "train/b/loss": None, "train/c/loss": 1.0}]
    assert read(tmp_path, "events.jsonl")[0]["losses"] == {"a": None}
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()


def test_no_secret_reaches_the_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "correct-horse-battery")
    Jsonl(tmp_path).event("failed", error="401 for correct-horse-battery", hf_token="abc")
    assert "correct" not in (tmp_path / "events.jsonl").read_text()
    assert read(tmp_path, "events.jsonl")[0]["hf_token"] == "[redacted]"


def test_a_disk_that_fills_up_costs_records_and_one_warning_but_no_torn_line(tmp_path: Path) -> None:
    script = """
        import resource, sys
        from trunkline.monitor.jsonl import Jsonl
        jsonl = Jsonl(sys.argv[1])
        jsonl.log(1, {"train/lr": 0.1})
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (130, hard))
        for step in range(2, 50):
            jsonl.log(step, {"train/lr": 0.1})
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        jsonl.log(50, {"train/lr": 0.1})
        print("trained")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "trained\n"
    assert done.stderr.count("training goes on without it") == 1
    steps = [record["step"] for record in read(tmp_path)]
    assert steps[0] == 1 and steps[-1] == 50 and len(steps) < 6


def test_a_folder_that_cannot_be_made_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        jsonl = Jsonl(tmp_path / "file" / "run", resume_step=3)
        for step in range(5):
            jsonl.log(step, {"train/lr": 0.1})
            jsonl.event("saved", step=step)
        jsonl.close()
    assert len(caplog.records) == 1
    assert "metrics.jsonl can not be written" in caplog.text


def test_many_open_runs_do_not_leak_descriptors(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for run in range(20):
        jsonl = Jsonl(tmp_path / str(run))
        jsonl.log(1, {})
        jsonl.event("end")
        jsonl.close()
        jsonl.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > before
