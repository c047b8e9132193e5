"""A tracked run as a whole, read back from its records: alerts, artifacts, axes, what a kill leaves; and `track sync`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from trunkline.cli.app import main
from trunkline.monitor.sync import offline_runs

SCRIPT = """
    import json, os, sys
    from pathlib import Path
    from trunkline.monitor.wandb import Wandb
    folder, first, last, end = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    events = []
    run = Wandb("trunkline", folder=folder, run_id=folder.name, resume=first > 0, summaries={"eval/tone/accuracy": "max"},
                report=lambda name, **details: events.append([name, details]))
    run.event("training", step=first, workers=2)
    for step in range(first, last):
        run.log(step, {"train/tone/loss": 1 / (step + 1), "train/tokens": 64.0 * step})
        if step % 2:
            run.log(step, {"eval/tone/accuracy": 0.9 if step < 4 else 0.5})
            run.event("checkpoint", step=step, path=f"step-{step:08d}", removed=[])
    if end == "kill":
        import time
        record = next(folder.glob("wandb/offline-run-*/run-*.wandb"))
        for _ in range(400):  # W&B's own process writes behind us
            time.sleep(0.1)
            if record.stat().st_size > 2000:
                break
        os.kill(os.getpid(), 9)
    run.event(end, step=last, steps=last)
    run.close()
    print(json.dumps(events))
"""


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """A run that was killed after step 3 and went on to step 6, with what its worker would have written."""
    home = tmp_path_factory.mktemp("home")
    folder = tmp_path_factory.mktemp("outputs") / "quick-1"
    for step in (1, 3, 5):
        checkpoint = folder / "checkpoints" / f"step-{step:08d}"
        checkpoint.mkdir(parents=True)
        (checkpoint / "state.json").write_text(json.dumps({"best": {"step": 3}}))
    (folder / "cards" / "tone").mkdir(parents=True)
    (folder / "cards" / "tone" / "card.yaml").write_text("name: tone\n")
    (folder / "store").mkdir()
    (folder / "prepared.json").write_text(json.dumps({"splits": {"tone": {"train": str(folder / "store")}}}))
    (folder / "model").mkdir()
    row = {"task": "tone", "kind": "classification", "rows": 9, "metric": "accuracy", "baseline": 0.5, "value": 0.9, "skill": 0.8}
    (folder / "result.json").write_text(json.dumps({"tasks": [row]}))
    environment = {
        **os.environ,
        "HOME": str(home),
        "TMPDIR": str(home),
        "WANDB_CACHE_DIR": str(home),
        "WANDB_DATA_DIR": str(home),
    }
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        environment.pop(name, None)
    reports = []
    for first, last, end in ((0, 4, "kill"), (4, 6, "finished")):
        words = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(folder), str(first), str(last), end]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, env=environment, check=False)
        assert done.returncode == (-9 if end == "kill" else 0), done.stderr
        reports.append(json.loads(done.stdout or "[]"))
    assert [name for name, _ in reports[1]] == ["tracker_started"]
    return folder


@pytest.fixture(scope="module")
def records(tracked):
    """Of both attempts, in order: (type, record)."""
    program = str(Path(sys.executable).with_name("wandb"))
    found = []
    for path in sorted(tracked.glob("wandb/offline-run-*/run-*.wandb")):
        words = [program, "leet", "inspect", "--json", str(path)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        found += [(line["type"], line.get(line["type"], {})) for line in lines]
    return found


def of(records, kind: str) -> list[dict]:
    return [record for type_, record in records if type_ == kind]


def test_the_run_is_one_along_its_axes(records):
    assert {run["run_id"] for run in of(records, "run")} == {"quick-1"}
    history = [record["item"] for record in of(records, "history")]
    losses = [row["train/global_step"] for row in history if "train/tone/loss" in row]
    assert losses == [0, 1, 2, 3, 4, 5]
    evaluated = {row["train/global_step"]: row["train/tokens"] for row in history if "eval/tone/accuracy" in row}
    assert evaluated == {step: 64 * step for step in (1, 3, 5)}
    metrics = {record.get("name"): record for record in of(records, "metric")}
    assert metrics["eval/tone/accuracy"]["step_metric"] == "train/global_step"


def test_alerts_are_those_that_matter(records):
    assert [(alert["title"], alert["level"]) for alert in of(records, "alert")] == [("Finished", "INFO")]


def test_artifacts_are_cards_data_checkpoints_and_the_model_by_reference(records):
    found = of(records, "artifact")
    names = [(artifact["name"], artifact["type"], sorted(artifact.get("aliases", []))) for artifact in found]
    checkpoints = [aliases for name, kind, aliases in names if kind == "checkpoint"]
    assert checkpoints == [["latest", "step-1"], ["best", "latest", "step-3"], ["latest", "step-5"]]
    assert [aliases for name, kind, aliases in names if kind == "model"] == [["candidate", "latest"]]
    assert {name for name, _, _ in names} >= {f"{kind}-quick-1" for kind in ("cards", "data", "checkpoint", "model")}
    assert "file://" in json.dumps([artifact for artifact in found if artifact["type"] == "checkpoint"])


def test_the_table_of_results_is_there(records):
    assert any("results._type" in record["item"] for record in of(records, "history"))


def test_sync_lists_both_records_and_tells_what_stands_in_the_way(tracked, capsys, monkeypatch):
    outputs = tracked.parent
    assert [run.run_id for run in offline_runs(outputs)] == ["quick-1", "quick-1"]
    assert main(["track", "sync", "--outputs", str(outputs), "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines() == ["quick-1  would be sent"] * 2
    assert main(["track", "sync", "quik-1", "--outputs", str(outputs)]) == 2
    assert "Did you mean 'quick-1'" in capsys.readouterr().err
    monkeypatch.setenv("WANDB_API_KEY", "f" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("trunkline.monitor.sync.TIMEOUT_S", 1)
    monkeypatch.setattr("trunkline.monitor.sync.send.__defaults__", (5.0,))
    assert main(["track", "sync", "--outputs", str(outputs), "--json"]) == 6
    out = capsys.readouterr().out
    assert all(row["problem"] for row in json.loads(out)) and "f" * 40 not in out
