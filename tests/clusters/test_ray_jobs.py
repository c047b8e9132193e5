"""The Jobs API against a server on loopback that answers, refuses, lies, redirects, hangs: exit code 7 and a hint, in time."""

from __future__ import annotations

import dataclasses
import http.server
import json
import os
import socket
import ssl
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import pytest

from cluster_cases import job_on, project
from trunkline.cli.app import main
from trunkline.cluster import load_cluster
from trunkline.clusters.book import Book, Entry
from trunkline.clusters.follow import follow, split
from trunkline.clusters.job import State
from trunkline.clusters.ray_jobs import RayJobs, token_of
from trunkline.errors import ClusterError

TOKEN = "0123456789abcdef" * 2


class Dashboard(http.server.ThreadingHTTPServer):
    """As much of Ray's dashboard as jobs need. mode: jobs, or how it misbehaves."""

    daemon_threads = True
    request_queue_size = 64  # as many as come at once, and more

    def __init__(self, mode: str = "jobs") -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.mode, self.jobs, self.packages, self.asked = mode, {}, {}, []
        self.version = metadata.version("ray")
        self.agentless = 0  # how many jobs it can not take yet
        self.lock, self.over = threading.Lock(), threading.Event()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def close(self) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()


class Answer(http.server.BaseHTTPRequestHandler):
    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server = self.server
        server.asked.append((self.command, self.path, self.headers.get("Authorization")))
        if server.mode == "hang":
            server.over.wait(60)
        elif server.mode == "drip":
            self.reply(200, None)
            while not server.over.wait(0.1):
                self.wfile.write(b" ")
        elif server.mode == "html":
            self.reply(200, b"<html><title>Sign in</title></html>")
        elif server.mode == "redirect":
            self.reply(302, b"", Location="http://127.0.0.1:9/elsewhere")
        elif server.mode == "500":
            self.reply(500, b"Traceback (most recent call last):\n  ...\nRuntimeError: no agent with key hf_" + b"a1" * 12)
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.reply(403 if self.headers.get("Authorization") else 401, b"Unauthorized")
        else:
            self.job(body)

    do_GET = do_POST = do_PUT = handle_any

    def job(self, body: bytes) -> None:
        server, parts = self.server, self.path.strip("/").split("/")
        with server.lock:
            if parts[1] == "version":
                self.say({"ray_version": server.version})
            elif parts[1] == "packages":
                if self.command == "PUT":
                    server.packages[parts[-1]] = body
                self.reply(200 if parts[-1] in server.packages else 404, b"{}")
            elif self.command == "POST" and len(parts) == 2 and server.agentless:
                server.agentless -= 1
                self.reply(500, b"No available agent to submit job, please try again later.")
            elif self.command == "POST" and len(parts) == 2:
                asked = json.loads(body)
                server.jobs.setdefault(asked["submission_id"], {**asked, "status": "RUNNING", "logs": "", "posts": 0})[
                    "posts"
                ] += 1
                self.say({"submission_id": asked["submission_id"]})
            elif parts[2] not in server.jobs:
                self.reply(404, b"no such job")
            elif parts[-1] == "logs":
                self.say({"logs": server.jobs[parts[2]]["logs"]})
            elif parts[-1] == "stop" and server.jobs[parts[2]].get("deaf"):
                self.say({"stopped": False})
            elif parts[-1] == "stop":
                server.jobs[parts[2]] |= {"status": "FAILED", "driver_exit_code": 75, "message": "exit code 75"}
                self.say({"stopped": True})
            else:
                self.say(server.jobs[parts[2]])

    def say(self, value: object) -> None:
        self.reply(200, json.dumps(value).encode())

    def reply(self, code: int, content: bytes | None, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        if content is not None:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *arguments: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def dashboard():
    servers = []

    def start(mode: str = "jobs") -> Dashboard:
        servers.append(Dashboard(mode))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(autouse=True)
def token(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)


def cluster_at(folder: Path, address: str, **more: object):
    file = folder / "clusters" / "far.yaml"
    file.parent.mkdir(exist_ok=True)
    stated = {"kind": "ray", "address": address, "storage": "/mnt/runs", "timeout_s": 30, **more}
    file.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in stated.items()))
    return load_cluster(file)


def job_at(folder: Path, address: str, timeout_s: int = 30, **changes):
    cluster = cluster_at(folder, address, timeout_s=timeout_s)
    job = job_on("ray", cluster=cluster, **changes)
    return RayJobs(cluster), job


def test_a_job_is_sent_once_with_its_package_and_no_secret(dashboard, tmp_path):
    server = dashboard()
    package = project(tmp_path / "project")
    backend, job = job_at(tmp_path, server.address)
    assert [backend.submit(job, package, tmp_path) for _ in range(2)] == [job.name, job.name]
    (sent,) = server.jobs.values()
    assert sent["posts"] == 1 and sent["entrypoint"].startswith("python -m trunkline train recipes/quickstart.yaml")
    assert sent["runtime_env"]["working_dir"].removeprefix("gcs://") in server.packages
    assert TOKEN not in json.dumps(sent) and sent["runtime_env"]["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"] == "120"


def test_a_cluster_that_only_begins_is_asked_again_and_one_that_never_does_is_told_in_time(dashboard, tmp_path, monkeypatch):
    monkeypatch.setattr("trunkline.clusters.ray_jobs.AGAIN_S", 0.01)
    server, package = dashboard(), project(tmp_path / "project")
    server.agentless = 3
    backend, job = job_at(tmp_path, server.address)
    assert backend.submit(job, package, tmp_path) == job.name
    assert server.agentless == 0 and server.jobs[job.name]["posts"] == 1
    server.agentless = 10**6
    backend, job = job_at(tmp_path, server.address, timeout_s=1, attempt=2)
    with pytest.raises(ClusterError, match="answers 500: No available agent"):
        backend.submit(job, package, tmp_path)


def test_twenty_jobs_at_once_are_twenty_jobs(dashboard, tmp_path):
    server = dashboard()
    package = project(tmp_path / "project")
    jobs = [job_at(tmp_path, server.address, attempt=number) for number in range(1, 21)]
    with ThreadPoolExecutor(20) as pool:
        names = list(pool.map(lambda pair: pair[0].submit(pair[1], package, tmp_path), jobs))
    assert sorted(server.jobs) == sorted(names) and len(set(names)) == 20
    assert all(job["posts"] == 1 for job in server.jobs.values())


def test_states_are_told_in_our_words_and_a_stop_is_no_failure(dashboard, tmp_path):
    server = dashboard()
    backend, job = job_at(tmp_path, server.address)
    assert backend.state(job, job.name).state == "unknown"
    backend.submit(job, project(tmp_path / "project"), tmp_path)
    assert backend.state(job, job.name).state == "running"
    backend.stop(job, job.name)
    assert backend.state(job, job.name).state == "stopped"
    server.jobs[job.name] |= {"driver_exit_code": 4, "message": "first\nlast line"}
    assert backend.state(job, job.name) == State("failed", "last line", {"node": None})


def test_a_stop_that_reached_nobody_is_told_and_one_after_the_end_is_none(dashboard, tmp_path):
    server = dashboard()
    backend, job = job_at(tmp_path, server.address)
    backend.submit(job, project(tmp_path / "project"), tmp_path)
    server.jobs[job.name]["deaf"] = True
    with pytest.raises(ClusterError, match=f"{job.name} could not be asked to stop, for it only begins. Ask again"):
        backend.stop(job, job.name)
    server.jobs[job.name]["status"] = "SUCCEEDED"
    backend.stop(job, job.name)


MISBEHAVES = {
    "hang": "gave no answer in 1 s",
    "drip": "gave no answer in 1 s",
    "html": "answers with a web page: is it the Ray dashboard's address",
    "redirect": "sends elsewhere (302), where the token is not sent",
    "500": "answers 500: RuntimeError: no agent with key [redacted]. The dashboard's log says why",
}


@pytest.mark.parametrize("mode", MISBEHAVES)
def test_a_server_that_misbehaves_is_a_sentence_in_time(dashboard, tmp_path, mode):
    server = dashboard(mode)
    backend, job = job_at(tmp_path, server.address, timeout_s=1)
    began = time.monotonic()
    with pytest.raises(ClusterError) as caught:
        backend.state(job, job.name)
    assert time.monotonic() - began < 5 and caught.value.exit_code == 7
    assert MISBEHAVES[mode] in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [("f" * 32, "does not accept the token (403)"), ("", "asks for a token (401)")],
)
def test_a_wrong_or_missing_token_is_told_and_not_repeated(dashboard, tmp_path, monkeypatch, given, said):
    monkeypatch.setenv("RAY_AUTH_TOKEN", given)
    backend, job = job_at(tmp_path, dashboard().address)
    with pytest.raises(ClusterError) as caught:
        backend.state(job, job.name)
    assert said in str(caught.value) and "RAY_AUTH_TOKEN" in str(caught.value) and "ffff" not in str(caught.value)


def refusal(tmp_path, address: str) -> str:
    backend, job = job_at(tmp_path, address)
    with pytest.raises(ClusterError) as caught:
        backend.state(job, job.name)
    return str(caught.value)


def test_an_address_where_nothing_listens_or_something_else_does(tmp_path):
    with socket.socket() as closed, socket.socket() as silent:
        closed.bind(("127.0.0.1", 0))
        assert "nothing listens at" in refusal(tmp_path, f"http://127.0.0.1:{closed.getsockname()[1]}")
        silent.bind(("127.0.0.1", 0))
        silent.listen()

        def babble() -> None:
            connection = silent.accept()[0]
            connection.sendall(b"SSH-2.0-x\r\n")
            connection.close()

        threading.Thread(target=babble, daemon=True).start()
        assert "does not speak HTTP" in refusal(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}")


def test_a_host_elsewhere_is_asked_nothing_without_a_token(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "")
    assert "is not this machine, and there is no token" in refusal(tmp_path, "http://192.0.2.1:8265")


def test_a_server_without_tls_or_with_an_unknown_certificate(dashboard, tmp_path):
    assert "TLS failed" in refusal(tmp_path, dashboard().address.replace("http:", "https:"))
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=x"]
    more = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*words, *more], check=True, capture_output=True)
    server = dashboard()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    address = server.address.replace("http:", "https:")
    assert "TLS failed: self-signed certificate. Name the signing certificates in ca_file" in refusal(tmp_path, address)
    trusting = RayJobs(cluster_at(tmp_path, address, ca_file=str(certificate)))
    assert trusting.state(job_on("ray"), "x").state == "unknown"


def test_a_cluster_of_another_ray_gets_no_job(dashboard, tmp_path):
    server = dashboard()
    server.version = "2.9.3"
    backend, job = job_at(tmp_path, server.address)
    with pytest.raises(ClusterError, match=r"runs Ray 2\.9\.3, this trunkline"):
        backend.submit(job, project(tmp_path / "project"), tmp_path)
    assert server.jobs == {} and server.packages == {}


def test_a_token_file_that_others_may_read_is_refused(tmp_path, monkeypatch):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    cluster = cluster_at(tmp_path, "http://127.0.0.1:1", token_file=str(file))
    os.chmod(file, 0o644)
    with pytest.raises(ClusterError, match="others may read the token"):
        token_of(cluster)
    os.chmod(file, 0o600)
    assert token_of(cluster) == TOKEN
    file.write_text("two words\r\nX-Header: y")
    with pytest.raises(ClusterError, match="holds no token") as caught:
        token_of(cluster)
    assert "X-Header" not in str(caught.value)


# --- commands


@pytest.fixture
def book(dashboard, tmp_path, monkeypatch):
    """A project with one job that runs."""
    server = dashboard()
    (tmp_path / "tasks").mkdir()
    cluster_at(tmp_path, server.address)
    monkeypatch.chdir(tmp_path)
    found = Book(tmp_path)
    found.write(Entry("small-1", "far", "recipes/a.yaml", (), (2, 1, 0), 1, "2026-11-23T12:00:00+00:00", 30, "small-1-a1"))
    server.jobs["small-1-a1"] = {"status": "RUNNING", "logs": LOG, "message": ""}
    return server


LOG = (
    "store: 4 of 4 splits reused\n"
    '@trunkline {"event": "training", "step": 0, "steps": 30, "workers": 2, "time": 1.0}\n'
    '@trunkline {"step": 10, "time": 2.0, "train/topic/loss": 0.5, "system/tokens_per_s": 900.0}\n'
    "a line for people\n"
    '@trunkline {"event": "attempt_failed", "attempt": 1, "time": 3.0}\n'
    '@trunkline {"step": 20, "time": 4.0, "eval/topic/accuracy": 0.75}\n'
)


def said(capsys, *words: str, code: int = 0):
    assert main([*words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_status_reads_the_run_out_of_its_log(book, capsys):
    found = said(capsys, "status")
    assert {name: found[name] for name in ("id", "state", "step", "steps", "workers", "restarts", "tokens_per_s")} == {
        "id": "small-1",
        "state": "running",
        "step": 20,
        "steps": 30,
        "workers": 2,
        "restarts": 1,
        "tokens_per_s": 900.0,
    }
    assert found["figures"] == {"train/topic/loss": 0.5, "eval/topic/accuracy": 0.75}
    assert main(["logs", "small-1"]) == 0
    assert capsys.readouterr().out == "store: 4 of 4 splits reused\na line for people\n"


def test_a_figure_of_zero_is_a_figure(book, capsys):
    book.jobs["small-1-a1"]["logs"] = '@trunkline {"step": 20, "time": 4.0, "eval/topic/accuracy": 0.0, "eval/topic/f1": null}\n'
    assert main(["status"]) == 0
    said = capsys.readouterr().out
    assert "eval/topic/accuracy: 0\n" in said and "f1" not in said


def test_a_job_that_its_cluster_forgot_is_not_followed_to_a_good_end(book, capsys):
    book.jobs.clear()
    assert main(["logs", "--follow"]) == 7
    assert "knows no job small-1-a1" in capsys.readouterr().err


def test_a_rank_s_log_is_read_from_storage_and_says_what_is_missing(book, capsys, tmp_path):
    cluster_at(tmp_path, book.address, storage=str(tmp_path / "runs"))
    assert main(["logs", "--rank", "1"]) == 7
    assert "storage is not seen from here" in capsys.readouterr().err
    (tmp_path / "runs").mkdir()
    assert (main(["logs", "--rank", "1"]), capsys.readouterr().out) == (0, "")
    logs = tmp_path / "runs" / "small-1" / "logs"
    logs.mkdir(parents=True)
    for rank in (0, 1):
        (logs / f"rank-0000{rank}.txt").write_text(f"--- rank {rank} of 2\n")
    assert (main(["logs", "--rank", "1"]), capsys.readouterr().out) == (0, "--- rank 1 of 2\n")
    assert main(["logs", "--rank", "2"]) == 2
    assert "no rank 2: small-1 has had ranks 0 to 1." in capsys.readouterr().err


def test_stop_and_resume_say_the_same_when_said_twice(book, capsys, tmp_path):
    assert said(capsys, "resume", "small-1")["submitted"] is False  # it runs
    assert [said(capsys, "stop", "small-1")["asked"] for _ in range(2)] == [True, False]
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "a.yaml").write_text("seed: 1\n")
    again = [said(capsys, "resume", "small-1") for _ in range(2)]
    assert [(found["attempt"], found["submitted"]) for found in again] == [(2, True), (2, False)]
    assert sorted(book.jobs) == ["small-1-a1", "small-1-a2"]
    assert "--run-id small-1 " in book.jobs["small-1-a2"]["entrypoint"]


def test_an_unknown_id_is_told_with_the_known_ones(book, capsys):
    error = said(capsys, "status", "smal-1", code=2)["error"]
    assert "no job 'smal-1'. Did you mean 'small-1'" in error["message"]


def test_a_cluster_that_is_down_costs_the_list_its_state_alone(book, capsys, tmp_path):
    book.mode = "html"
    (row,) = said(capsys, "jobs")
    assert row["state"] == "unreachable" and "web page" in row["message"]
    assert said(capsys, "status", code=7)["error"]["kind"] == "cluster"


def test_many_jobs_of_a_cluster_that_hangs_wait_for_it_together(book, capsys, tmp_path):
    cluster_at(tmp_path, book.address, timeout_s=1)
    written = Book(tmp_path).find("small-1")
    for number in range(2, 17):
        Book(tmp_path).write(dataclasses.replace(written, run_id=f"small-{number}", native=f"small-{number}-a1"))
    book.mode = "hang"
    began = time.monotonic()
    assert [row["state"] for row in said(capsys, "jobs")] == ["unreachable"] * 16
    assert time.monotonic() - began < 8  # one after the other: 16 s


class Flaky:
    """A job whose log grows while every other question fails."""

    def __init__(self) -> None:
        self.asked, self.lines = 0, [f"line {number}\n" for number in range(6)]

    def state(self, job, native) -> State:
        self.asked += 1
        if self.asked % 2:
            raise ClusterError("no answer")
        return State("running" if self.asked < 12 else "finished")

    def logs(self, job, native) -> str:
        return "".join(self.lines)[: self.asked * 4]


def test_a_log_that_is_followed_through_a_bad_network_has_each_line_once():
    found = [line for line, _ in follow(Flaky(), job_on("ray"), "x", sleep=lambda _: None)]
    assert found == [f"line {number}" for number in range(6)]


def test_a_network_that_stays_away_ends_the_following(monkeypatch):
    down = Flaky()
    down.state = lambda job, native: (_ for _ in ()).throw(ClusterError("no answer"))
    with pytest.raises(ClusterError, match="no answer"):
        list(follow(down, job_on("ray"), "x", sleep=lambda _: None))


def test_a_torn_record_in_a_log_is_a_line_like_any_other():
    assert split('@trunkline {"step": \n@trunkline [1]\nx')[0] == ['@trunkline {"step": ', "@trunkline [1]", "x"]
