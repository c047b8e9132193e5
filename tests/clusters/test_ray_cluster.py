"""A real Ray cluster of two nodes with token authentication: submit, follow, status, logs, stop, resume, a node that dies."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from small_project import write_project
from trunkline.cli.app import main

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
TOKEN = "0123456789abcdef" * 2
PATIENCE_S = 400
STEPS = 600
# A busy machine takes its time; a node that is gone is missed all the same.
PATIENT = {"RAY_health_check_timeout_ms": "20000", "RAY_health_check_failure_threshold": "3"}

AGENTS = ("runtime-env-agent-port", "metrics-export-port", "dashboard-agent-grpc-port", "dashboard-agent-listen-port")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Node:
    """`ray start --block`, and all that it starts."""

    def __init__(self, environment: dict[str, str], log: Path, *options: str) -> None:
        program = str(Path(sys.executable).with_name("ray"))
        words = [
            program,
            "start",
            "--block",
            "--num-cpus=2",
            "--object-store-memory=100000000",
            "--disable-usage-stats",
            *options,
        ]
        with log.open("wb") as file:
            self.process = subprocess.Popen(words, env=environment, stdout=file, stderr=file, start_new_session=True)

    @classmethod
    def up(cls, environment: dict[str, str], log: Path, *options: str) -> Node:
        """A node that is ready; Ray gives up by itself where its start takes more than 30 s, as on a busy machine."""
        for _ in range(6):
            node = cls(environment, log, *options)
            while node.process.poll() is None:
                if "Ray runtime started" in log.read_text():
                    return node
                time.sleep(0.5)
            node.kill()
        raise AssertionError(log.read_text())

    def kill(self) -> None:
        try:
            family = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for own in family:
            try:
                own.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(family, timeout=20)


@pytest.fixture
def nodes(tmp_path, monkeypatch):
    """Head and second node, and the project whose cluster file names them."""
    place = Path(tempfile.mkdtemp(prefix="tl-"))  # sockets have short paths
    port, board = free_port(), free_port()
    environment = {
        **os.environ,
        **PATIENT,
        "HOME": str(place),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
        "PYTHONPATH": str(Path(__file__).parents[2] / "platform"),
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("RAY_ADDRESS", None)
    (place / "token").write_text(TOKEN)
    (place / "token").chmod(0o600)
    where = (f"--port={port}", f"--dashboard-port={board}", "--dashboard-host=127.0.0.1", "--node-ip-address=127.0.0.1")
    head = Node.up(environment, place / "head.log", "--head", f"--temp-dir={place}/r", *where)
    recipe = write_project(tmp_path / "project")
    project = recipe.parents[1]
    longer = recipe.read_text().replace("steps: 20", f"steps: {STEPS}").replace("save_every: 5", "save_every: 50")
    recipe.write_text(longer.replace("evaluate_every: 10", "evaluate_every: 200").replace("log_every: 1", "log_every: 20"))
    (project / "clusters").mkdir()
    (project / "clusters" / "two.yaml").write_text(
        f"kind: ray\naddress: http://127.0.0.1:{board}\ntoken_file: {place}/token\nstorage: {place}/runs\n"
        f"python: {sys.executable}\nplacement: spread\ngrace_s: 100\n"
    )
    monkeypatch.chdir(project)
    monkeypatch.setenv("HOME", str(place))
    second = None
    try:
        second = Node.up(environment, place / "second.log", f"--address=127.0.0.1:{port}")
        yield head, second, project, place
    finally:
        for node in (second, head):
            if node is not None:
                node.kill()
        shutil.rmtree(place, ignore_errors=True)


def wait(until, what: str, patience_s: float = PATIENCE_S):
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if found := until():
            return found
        time.sleep(0.5)
    raise AssertionError(f"waited {patience_s} s for {what}")


class Commands:
    """The commands, their answers as JSON."""

    def __init__(self, capsys) -> None:
        self.capsys = capsys

    def __call__(self, *words: str, code: int = 0) -> str:
        ended = main(list(words))
        out, err = self.capsys.readouterr()
        assert ended == code, f"{words}: {ended}\n{out}\n{err[-3000:]}"
        return out

    def json(self, *words: str, code: int = 0):
        return json.loads(self(*words, "--json", code=code))

    def state(self, job: str) -> str:
        return self.json("status", job)["state"]


def figures(place: Path, job: str) -> list[dict]:
    return json.loads((place / "runs" / job / "result.json").read_text())["tasks"]


def events(place: Path, job: str, name: str) -> list[dict]:
    file = place / "runs" / job / "events.jsonl"
    found = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
    return [event for event in found if event["event"] == name]


def test_a_job_runs_stops_resumes_and_survives_the_end_of_a_node(nodes, capsys):
    _, second, project, place = nodes
    run = Commands(capsys)
    submit = ("submit", "recipes/small.yaml", "--cluster", "two", "--set", "workers.count=2")

    # One that nobody disturbs, followed to its end.
    first = wait(lambda: attempt(run, submit), "the cluster to take a job")["id"]
    run("logs", first, "--follow")
    status = run.json("status", first)
    assert (status["state"], status["step"], status["workers"], status["restarts"]) == ("finished", STEPS, 2, 0)
    assert any(name.startswith("eval/") for name in status["figures"])
    assert "@trunkline" not in run("logs", first) and first in run("logs", first)
    assert run.json("resume", first) | {"submitted": False, "was": "finished"} == run.json("resume", first)

    # One whose second node dies: it goes on with the first alone, and ends the same.
    doomed = run.json(*submit)["id"]
    wait(lambda: events(place, doomed, "checkpoint"), "a checkpoint")
    second.kill()
    wait(lambda: run.state(doomed) in ("finished", "failed"), "the job to end without its node")
    status = run.json("status", doomed)
    assert status["state"] == "finished" and status["restarts"] >= 1, run("logs", doomed)
    assert any(event["resumed"] and event["step"] > 0 for event in events(place, doomed, "training"))
    assert figures(place, doomed) == figures(place, first)

    # One that is stopped, twice, and resumed.
    stopped = run.json(*submit)["id"]
    wait(lambda: events(place, stopped, "checkpoint"), "a checkpoint")
    assert run.json("stop", stopped)["asked"]
    wait(lambda: run.state(stopped) == "stopped", "the job to stop")
    assert not run.json("stop", stopped)["asked"]
    assert run.json("resume", stopped)["attempt"] == 2
    wait(lambda: run.state(stopped) in ("finished", "failed"), "the resumed job to end")
    assert figures(place, stopped) == figures(place, first)
    assert {row["id"]: row["state"] for row in run.json("jobs")} == dict.fromkeys((first, doomed, stopped), "finished")

    # Without its token nobody gets in.
    (place / "token").write_text("f" * 32)
    assert "does not accept the token" in run("status", first, "--json", code=7)
    kept = b"".join(path.read_bytes() for path in (project / ".trunkline" / "jobs").rglob("*") if path.is_file())
    assert TOKEN.encode() not in kept


def attempt(run: Commands, words: tuple[str, ...]):
    """A job, once the cluster's agent is up to take one."""
    ended = main([*words, "--json"])
    out, _ = run.capsys.readouterr()
    return json.loads(out) if ended == 0 else None
