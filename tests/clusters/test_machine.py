"""Jobs on this machine: they outlive who sent them, stop when asked, and say how they ended."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
import time

import pytest

from cluster_cases import HOSTILE, job_on, project
from trunkline.cluster import load_cluster
from trunkline.clusters.machine import Machine
from trunkline.clusters.pack import Package

# Stands where `python -m trunkline` would: says what it was given, and ends as ENDS asks, or by 75 after SIGTERM.
PROGRAM = """\
    #!{python}
    import os, signal, sys, time
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
    print(ascii(sys.argv[1:]), flush=True)
    if os.environ["ENDS"] != "waits":
        sys.exit(int(os.environ["ENDS"]))
    time.sleep(60)
"""


@pytest.fixture
def machine(tmp_path):
    program = tmp_path / "trainer"
    program.write_text(textwrap.dedent(PROGRAM).format(python=sys.executable))
    program.chmod(0o755)
    (tmp_path / "here.yaml").write_text(f"kind: local\npython: {program}\n")
    (tmp_path / "folder").mkdir()
    return Machine(load_cluster(tmp_path / "here.yaml"))


def started(machine: Machine, tmp_path, package: Package, ends: str):
    job = job_on("ray", cluster=machine.cluster, storage=str(tmp_path / "runs"), recipe=HOSTILE)
    os.environ["ENDS"] = ends
    try:
        return job, machine.submit(job, package, tmp_path / "folder")
    finally:
        del os.environ["ENDS"]


def until(machine: Machine, job, native: str, *states: str) -> str:
    deadline = time.monotonic() + 60
    while (found := machine.state(job, native).state) not in states:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


@pytest.mark.parametrize(("ends", "state"), [("0", "finished"), ("4", "failed"), ("75", "stopped")])
def test_a_job_says_how_it_ended(machine, tmp_path, ends, state):
    job, native = started(machine, tmp_path, project(tmp_path / "p"), ends)
    assert until(machine, job, native, "finished", "failed", "stopped") == state
    assert machine.logs(job, native).strip() == ascii(["-m", "trunkline", *job.arguments()])  # no shell read it
    assert machine.state(job, native).message == f"exit code {ends}"


def test_a_job_that_is_asked_to_stop_saves_and_one_asked_twice_does_not_mind(machine, tmp_path):
    job, native = started(machine, tmp_path, project(tmp_path / "p"), "waits")
    deadline = time.monotonic() + 60
    while not machine.logs(job, native) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert machine.state(job, native).state == "running"
    machine.stop(job, native)
    assert until(machine, job, native, "finished", "failed", "stopped") == "stopped"
    machine.stop(job, native)


def test_a_job_that_is_gone_before_its_shell_looks_again_has_stopped_all_the_same(machine, tmp_path, monkeypatch):
    monkeypatch.setenv("BASH_FUNC_kill%%", '() { sleep 1; builtin kill "$@"; }')  # the shell looks a second late
    job, native = started(machine, tmp_path, project(tmp_path / "p"), "waits")
    deadline = time.monotonic() + 60
    while not machine.logs(job, native) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.5)  # it looked once and waits
    machine.stop(job, native)
    assert until(machine, job, native, "finished", "failed", "stopped") == "stopped"


def test_a_job_that_was_killed_has_failed_and_another_process_of_its_number_is_not_it(machine, tmp_path):
    job, native = started(machine, tmp_path, project(tmp_path / "p"), "waits")
    folder, pid, began = native.rsplit("|", 2)
    assert machine.state(job, f"{folder}|{pid}|{int(began) + 1}").state == "failed"
    os.killpg(int(pid), signal.SIGKILL)
    assert until(machine, job, native, "failed") == "failed"
    assert "killed, or the machine was restarted" in machine.state(job, native).message
