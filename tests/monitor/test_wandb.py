"""W&B: a real offline run read back, and every way in which it may fail."""

from __future__ import annotations

import http.server
import json
import logging
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trunkline.monitor.wandb import Wandb

CONFIG = {
    "seed": 17,
    "train": {"steps": 300, "tokens_per_step": 4096},
    "tasks": [{"task": "tone", "weight": 0.5}],
    "storage": {"api_key": "do-not-tell"},
}
SUMMARIES = {"eval/tone/accuracy": "max", "train/tone/loss": "min", "train/tokens": "last"}


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test its own service process, home and temporary folder: W&B keeps what it once read."""
    import wandb

    for name in ("HOME", "TMPDIR", "WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_RUN_ID", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    from wandb.sdk.data_types import _private

    monkeypatch.setattr(_private.MEDIA_TMP, "name", str(tmp_path / "TMPDIR"))  # made once, in the first test's folder
    wandb.teardown()
    yield
    wandb.teardown()


class Report:
    """Where events go, as `Jsonl.event`."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict]] = []

    def __call__(self, name: str, **details: object) -> None:
        self.events.append((name, details))

    def names(self) -> list[str]:
        return [name for name, _ in self.events]


def inspect(folder: Path, *options: str, run: str = "offline-run-*") -> str:
    log = sorted(folder.glob(f"wandb/{run}/run-*.wandb"))[-1]
    command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", *options, str(log)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def records(folder: Path, kind: str, run: str = "offline-run-*") -> list[dict]:
    lines = [json.loads(line) for line in inspect(folder, "--json", run=run).splitlines()]
    return [line[kind] for line in lines if line["type"] == kind]


def train(run: Wandb, steps: range = range(0, 300, 100)) -> None:
    for step in steps:
        run.log(
            step,
            {"train/tone/loss": 1 / (step + 1), "train/tokens": step * 4096, "eval/tone/accuracy": 0.9 - abs(step - 100) / 1000},
        )


def test_an_offline_run_read_back_has_its_config_history_axis_and_summaries(tmp_path: Path) -> None:
    report = Report()
    run = Wandb(
        "trunkline",
        "offline",
        folder=tmp_path / "run",
        run_id="quickstart-1",
        name="quickstart",
        group="demo",
        tags=["a", "b"],
        config=CONFIG,
        summaries=SUMMARIES,
        report=report,
    )
    train(run)
    run.close()
    (location,) = (tmp_path / "run").glob("wandb/offline-run-*-quickstart-1")
    assert report.events == [
        ("tracker_started", {"tracker": "wandb", "mode": "offline", "id": "quickstart-1", "location": str(location)})
    ]
    history = [record["item"] for record in records(tmp_path / "run", "history")]
    assert [row["train/global_step"] for row in history] == [0, 100, 200]
    assert [row["eval/tone/accuracy"] for row in history] == [0.8, 0.9, 0.8]
    metrics = {record.get("name", record.get("glob_name")): record for record in records(tmp_path / "run", "metric")}
    assert metrics["*"]["step_metric"] == "train/global_step"
    assert {name: metrics[name]["step_metric"] for name in SUMMARIES} == dict.fromkeys(SUMMARIES, "train/global_step")
    summary = json.loads(inspect(tmp_path / "run", "--summary", "--json"))
    assert (summary["state"], summary["exit_code"], summary["project"], summary["run_id"]) == (
        "finished",
        0,
        "trunkline",
        "quickstart-1",
    )
    assert (summary["name"], sorted(summary["tags"])) == ("quickstart", ["a", "b"])
    assert summary["config"]["train"] == CONFIG["train"]
    assert summary["summary"]["eval/tone/accuracy"] == {"max": 0.9}
    assert summary["summary"]["train/tone/loss"] == {"min": pytest.approx(1 / 201)}
    assert summary["summary"]["train/tokens"] == {"last": 200 * 4096} or summary["summary"]["train/tokens"] == 200 * 4096


def test_a_service_that_another_process_left_behind_is_not_waited_for(tmp_path: Path) -> None:
    """Its address is inherited with the environment: from a notebook that has ended, or a test before this one."""
    gone = f"3-1-unix-{tmp_path / 'gone' / 'socket'}"
    code = """
        import sys
        from pathlib import Path
        from trunkline.monitor.wandb import Wandb
        run = Wandb("trunkline", folder=Path(sys.argv[1]), run_id="quick-9")
        run.log(0, {"train/tone/loss": 1.0})
        run.close()
    """
    words = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=120, env={**os.environ, "WANDB_SERVICE": gone}, check=True
    )
    assert "W&B failed" not in done.stderr and list(tmp_path.glob("wandb/offline-run-*/run-quick-9.wandb"))


def test_a_failed_run_is_finished_as_failed(tmp_path: Path) -> None:
    run = Wandb("trunkline", folder=tmp_path, run_id="r1")
    run.log(1, {"train/lr": 0.1})
    run.close(failed=True)
    run.close()
    assert records(tmp_path, "exit") == [{"exit_code": 1}]


def test_no_secret_and_no_command_line_is_in_any_file_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "f" * 40)
    monkeypatch.setattr(sys, "argv", ["train", "--password=hunter22hunter22"])
    run = Wandb("trunkline", folder=tmp_path / "run", run_id="r1", config={**CONFIG, "note": "key " + "f" * 40})
    run.log(1, {"train/lr": 0.1})
    run.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"tokens_per_step" in kept
    for secret in (b"do-not-tell", b"f" * 40, b"hunter22"):
        assert secret not in kept


def test_a_resumed_run_keeps_its_id_and_goes_on_along_the_same_axis(tmp_path: Path) -> None:
    first = Wandb("trunkline", folder=tmp_path / "1", run_id="same")
    train(first, range(0, 200, 100))
    first.close()
    second = Wandb("trunkline", folder=tmp_path / "2", run_id="same", resume=True)
    train(second, range(200, 400, 100))
    second.close()
    assert {record["run_id"] for part in "12" for record in records(tmp_path / part, "run")} == {"same"}
    steps = [record["item"]["train/global_step"] for part in "12" for record in records(tmp_path / part, "history")]
    assert steps == [0, 100, 200, 300]


def test_switched_off_it_touches_nothing(tmp_path: Path) -> None:
    report = Report()
    run = Wandb("trunkline", "disabled", folder=tmp_path / "run", report=report)
    train(run)
    run.event("saved", step=1)
    run.close()
    assert not (tmp_path / "run").exists() and report.events == []


def check_switched_off(run: Wandb, report: Report, caplog: pytest.LogCaptureFixture, problem: str) -> None:
    train(run)
    run.event("preempted")
    run.close()
    assert report.names()[-1] == "tracker_failed" and report.names().count("tracker_failed") == 1
    assert problem in report.events[-1][1]["error"]
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING and record.name.startswith("trunkline")]
    assert len(warnings) == 1 and problem in warnings[0].getMessage()


def test_a_missing_package_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = Report()
    with monkeypatch.context() as blocked:
        blocked.setitem(sys.modules, "wandb", None)
        run = Wandb("trunkline", folder=tmp_path / "run", report=report)
    check_switched_off(run, report, caplog, "Run: pip install 'wandb'")


def test_a_folder_that_cannot_be_written_is_one_warning_and_no_run_elsewhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    report = Report()
    run = Wandb("trunkline", folder=tmp_path / "file" / "run", report=report)
    check_switched_off(run, report, caplog, "Not a directory")
    assert not list(tmp_path.rglob("*.wandb"))


def test_a_log_that_fails_half_way_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import wandb

    report = Report()
    run = Wandb("trunkline", folder=tmp_path, report=report)
    run.log(1, {"train/lr": 0.1})
    wandb.teardown()  # the service dies under the run
    check_switched_off(run, report, caplog, "")


def test_a_summary_w_and_b_does_not_know_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    report = Report()
    run = Wandb("trunkline", folder=tmp_path, summaries={"eval/a/b": "biggest"}, report=report)
    check_switched_off(run, report, caplog, "biggest")


def test_online_without_a_key_asks_nobody_and_stays_offline(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    report = Report()
    run = Wandb("trunkline", "online", folder=tmp_path / "run", run_id="r1", report=report)
    train(run)
    run.close()
    assert report.names() == ["tracker_failed", "tracker_started"]
    assert "the run is kept offline: PermissionError: no API key" in caplog.text
    assert len(records(tmp_path / "run", "history")) == 3


class Server(http.server.ThreadingHTTPServer):
    """As much of a W&B server as a run needs to begin; it knows no run yet, and once `dead` it answers nobody."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.dead = threading.Event()
        self.asked: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Answer(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.server.dead.is_set():
            time.sleep(30)
            return
        query = json.loads(body)["query"] if self.path == "/graphql" else ""
        self.server.asked.append(query.split("(")[0].strip())
        project = {"id": "p", "name": "trunkline", "entity": {"id": "e", "name": "team"}}
        bucket = {"id": "b", "name": "r1", "displayName": "r1", "config": "{}", "historyLineCount": 0, "project": project}
        answers = {"upsertBucket": {"bucket": bucket, "inserted": True}, "model": {"id": "m", "bucket": None}}
        answer = json.dumps({"data": {name: value for name, value in answers.items() if name in query}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments: object) -> None:
        """Nothing on stderr."""


def test_a_server_that_dies_under_the_run_holds_up_nothing_but_the_upload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with Server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("WANDB_API_KEY", "f" * 40)
        report = Report()
        run = Wandb("trunkline", "online", folder=tmp_path, run_id="r1", resume=True, finish_timeout_s=2, report=report)
        # The run to be resumed began offline, so the server does not know it: asked for twice, then begun.
        assert server.asked == ["query RunResumeStatus", "query RunResumeStatus", "mutation UpsertBucket"]
        assert report.names() == ["tracker_started"] and run.location.endswith("/team/trunkline/runs/r1")
        server.dead.set()
        began = time.monotonic()
        train(run)
        assert time.monotonic() - began < 1
        run.close()
        assert time.monotonic() - began < 10
        server.shutdown()
    assert report.names() == ["tracker_started", "tracker_failed"]
    assert "TimeoutError" in report.events[-1][1]["error"]
    (warning,) = [record.getMessage() for record in caplog.records if record.name == "trunkline.monitor.wandb"][-1:]
    assert warning.startswith(f"W&B did not finish in time; what it lacks lies in {tmp_path}/wandb/run-")
    steps = [record["item"]["train/global_step"] for record in records(tmp_path, "history", "run-*")]
    assert steps == [0, 100, 200]  # whole on disk, for `wandb sync`


@pytest.mark.parametrize("answers", ["refuses", "is silent", "401", "500"])
def test_with_a_server_that_does_not_serve_training_ends_in_time_and_the_offline_copy_is_whole(
    tmp_path: Path, answers: str
) -> None:
    script = """
        import http.server, json, os, socket, sys, threading
        from trunkline.monitor.wandb import Wandb
        class Answer(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response(int(sys.argv[2]))
                self.send_header("Content-Length", "0")
                self.end_headers()
            do_GET = do_POST
            log_message = lambda *_: None
        if sys.argv[2].isdigit():
            answering = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
            threading.Thread(target=answering.serve_forever, daemon=True).start()
            server = answering.socket
        else:
            server = socket.socket()
            server.bind(("127.0.0.1", 0))
        if sys.argv[2] == "is silent":
            server.listen(50)
        os.environ["WANDB_BASE_URL"] = "http://127.0.0.1:%d" % server.getsockname()[1]
        events = []
        run = Wandb("trunkline", "online", folder=sys.argv[1], run_id="r1", resume=True, init_timeout_s=1,
                    report=lambda name, **details: events.append([name, details]))
        for step in range(3):
            run.log(step, {"train/lr": 0.1})
        run.close()
        print(json.dumps(events))
    """
    environment = {**os.environ, "WANDB_API_KEY": "f" * 40}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "run"), answers],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=environment,
    )
    events = json.loads(done.stdout)
    assert [(name, details.get("mode")) for name, details in events] == [("tracker_failed", None), ("tracker_started", "offline")]
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("W&B can not be reached, the run is kept offline: CommError")
    assert "f" * 40 not in done.stderr
    assert [record["item"]["train/global_step"] for record in records(tmp_path / "run", "history")] == [0, 1, 2]


def test_importing_the_monitor_does_not_import_wandb() -> None:
    script = (
        "import sys, trunkline.monitor.wandb, trunkline.monitor.console; print('wandb' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["False", "False"]


def pictures(folder: Path) -> tuple[list[dict], list[dict]]:
    """The figures and the tables of the run, each with its step, in order."""
    (files,) = folder.glob("wandb/offline-run-*/files")
    found = [record["item"] for record in records(folder, "history")]
    figures, tables = (
        [
            {"step": row["train/global_step"], **json.loads((files / row[f"{name}.path"]).read_text())}
            for row in found
            if f"{name}.path" in row
        ]
        for name in ("grad/heat_map", "grad/cosines")
    )
    return figures, tables


def test_who_pulls_against_whom_is_a_heat_map_and_a_table_now_and_then_and_in_the_end(tmp_path: Path) -> None:
    run = Wandb("trunkline", folder=tmp_path, run_id="r1")
    for step in range(1, 11):
        run.log(step, {"train/lr": 0.1, "grad/conflict": 0.5, "grad/cosine/a/b": -0.1 * step, "grad/cosine/a/c": 0.5})
    run.close()
    figures, tables = pictures(tmp_path)
    assert [figure["step"] for figure in figures] == [table["step"] for table in tables] == [1, 2, 3, 4, 5, 7, 9, 10]
    (cells,) = figures[-1]["data"]
    assert (cells["type"], cells["x"], cells["y"], cells["zmin"], cells["zmax"]) == (
        "heatmap",
        ["a", "b", "c"],
        ["a", "b", "c"],
        -1,
        1,
    )
    assert cells["z"] == [[1.0, -1.0, 0.5], [-1.0, 1.0, None], [0.5, None, 1.0]]
    assert tables[-1]["columns"] == ["task", "a", "b", "c"] and tables[-1]["data"][0] == ["a", 1.0, -1.0, 0.5]


def test_without_plotly_there_is_the_table_and_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    run = Wandb("trunkline", folder=tmp_path, run_id="r1")
    with caplog.at_level(logging.WARNING):
        for step in (1, 2, 3):
            run.log(step, {"grad/cosine/a/b": 0.5})
    run.close()
    figures, tables = pictures(tmp_path)
    assert not figures and [table["step"] for table in tables] == [1, 2, 3]
    assert [record.message for record in caplog.records if record.name == "trunkline.monitor.wandb"] == [
        "W&B has the table grad/cosines without its heat map: MissingExtra: package 'plotly' is not installed. "
        "Run: pip install 'trunkline[plots]'."
    ]
