"""Nodes of a real Ray cluster on this machine, with token authentication, ended by their ids."""

from __future__ import annotations

import contextlib
import http.server
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

TESTS = Path(__file__).parent
TOKEN = "0123456789abcdef" * 2
START_S = 400
AGENTS = ("runtime-env-agent-port", "metrics-export-port", "dashboard-agent-grpc-port", "dashboard-agent-listen-port")
# A busy machine takes its time; a node that is gone is missed all the same.
PATIENT = {
    "RAY_health_check_timeout_ms": "20000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_raylet_start_wait_time_s": "300",
    "RAY_worker_register_timeout_seconds": "300",
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "300",
    "RAY_worker_niceness": "0",
    "RAY_enable_metrics_collection": "0",  # of Ray's own; it costs time
}


def free_ports(count: int) -> list[int]:
    """All of them free at once."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for own in sockets:
            own.bind(("127.0.0.1", 0))
        return [own.getsockname()[1] for own in sockets]
    finally:
        for own in sockets:
            own.close()


class Prometheus(http.server.BaseHTTPRequestHandler):
    """As much of it as the dashboard asks for, whose page complains where there is none."""

    def do_GET(self) -> None:
        answer = b'{"status": "success", "data": {"resultType": "vector", "result": []}}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


def environment(home: Path) -> dict[str, str]:
    """Of the nodes, and so of what runs on them."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    own = {"HOME": str(home), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "RAY_USAGE_STATS_ENABLED": "0"}
    return {**kept, **PATIENT, **own, "PYTHONPATH": str(TESTS.parent / "platform"), "OMP_NUM_THREADS": "1"}


class Node:
    """`ray start --block`, and all that it starts; up when this returns."""

    def __init__(self, home: Path, name: str, *options: str, cpus: int = 2, more: Mapping[str, str] | None = None) -> None:
        self.log = home / f"{name}.log"
        agents = [f"--{agent}={port}" for agent, port in zip(AGENTS, free_ports(len(AGENTS)), strict=True)]
        words = [sys.executable, str(TESTS / "ray_start.py"), "start", "--block", f"--num-cpus={cpus}", *agents, *options]
        words += ["--object-store-memory=100000000", "--include-log-monitor=false", "--disable-usage-stats"]
        with self.log.open("wb") as file:
            own = {**environment(home), **(more or {})}
            self.process = subprocess.Popen(words, env=own, stdout=file, stderr=file, start_new_session=True)
        until = time.monotonic() + START_S
        while "Ray runtime started" not in self.log.read_text():
            if self.process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise AssertionError(self.log.read_text())
            time.sleep(0.5)

    def kill(self) -> None:
        """At once, as when a machine loses its power."""
        with contextlib.suppress(psutil.NoSuchProcess):
            end([psutil.Process(self.process.pid)])
        self.process.wait(timeout=20)


def end(processes: list[psutil.Process]) -> None:
    """These and what they started."""
    family = list(processes)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            family += process.children(recursive=True)
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, timeout=20)


class TwoNodes:
    """A head with its dashboard on loopback, and a node beside it. folder: short, for the paths of sockets are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        port, board, client = free_ports(3)
        self.address = f"http://127.0.0.1:{board}"
        (folder / "token").write_text(TOKEN)
        (folder / "token").chmod(0o600)
        where = [
            f"--port={port}",
            f"--ray-client-server-port={client}",
            f"--dashboard-port={board}",
            "--dashboard-host=127.0.0.1",
        ]
        self.prometheus = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Prometheus)
        threading.Thread(target=self.prometheus.serve_forever, daemon=True).start()
        seen = {
            "RAY_PROMETHEUS_HOST": f"http://127.0.0.1:{self.prometheus.server_address[1]}",
            "RAY_GRAFANA_HOST": "DISABLED",
            "RAY_DASHBOARD_INGEST_PLATFORM_EVENTS": "1",  # the page asks for them in any case
        }
        try:
            self.head = Node(folder, "head", "--head", "--include-dashboard=true", f"--temp-dir={folder}/r", *where, more=seen)
            self.joins = f"--address=127.0.0.1:{port}"
            self.join()
        except BaseException:
            self.close()
            raise

    def join(self) -> None:
        """A second node, the first or one in place of one that is gone."""
        self.second = Node(self.folder, "second", self.joins)

    def close(self) -> None:
        """Whatever names the folder in its command line, for a start that fails leaves some of it behind."""
        self.prometheus.shutdown()
        self.prometheus.server_close()
        named = [(process, process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
        end([process for process, words in named if any(str(self.folder) in word for word in words)])
