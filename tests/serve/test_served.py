"""The endpoint by a real Ray Serve, in a process of its own: answers, refusals, and an end that loses nothing."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import trunkline

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
CLIENTS = 8
STARTS = 4  # Ray gives itself 30 s, which a busy machine may not have


class Server:
    """`trunkline serve` and how to ask it."""

    def __init__(self, model: Path, *more: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        for _ in range(STARTS):
            if self._starts(model, *more):
                break

    def _starts(self, model: Path, *more: str) -> bool:
        command = [sys.executable, "-m", "trunkline", "serve", str(model), "--port", str(self.port), *more]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ})
        self.address = self.process.stdout.readline().strip()
        self.said = "" if self.address else self.process.stderr.read()
        return "timed out during startup" not in self.said

    def ask(self, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and answer on a connection of its own. Raises OSError or HTTPException where none comes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            connection.request("GET" if body is None else "POST", path, content)
            answer = connection.getresponse()
            read = answer.read()
            ours = answer.getheader("content-type") == "application/json"
            return answer.status, json.loads(read) if ours else read.decode()
        finally:
            connection.close()

    def end(self, how: int = signal.SIGTERM) -> tuple[int, str]:
        """Exit code and stderr."""
        self.process.send_signal(how)
        _, said = self.process.communicate(timeout=120)
        return self.process.returncode, said


@pytest.fixture
def server(small_model: Path) -> Iterator[Server]:
    made = Server(small_model, "--most-rows", "8")
    yield made
    if made.process.poll() is None:
        made.process.kill()
        made.process.wait()


class Clients:
    """Several that ask without pause until nobody listens; when each request was sent, and what it came to."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.came: list[tuple[float, Any]] = []
        self.threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def _ask(self) -> None:
        failed = 0
        while failed < 50:
            sent = time.monotonic()
            try:
                status, found = self.server.ask("/predict", {"tasks": ["topic", "score"], "rows": ["red river"] * 4})
                whole = status != 200 or len(found["answers"]["score"]) == 4
                self.came.append((sent, status if whole else "torn"))
            except ConnectionRefusedError:
                return  # nothing was sent
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.came.append((sent, f"lost: {type(error).__name__}"))
                failed += 1

    def joined(self, end: float) -> tuple[Counter[Any], Counter[Any]]:
        """What came of the requests that were sent before the end began, and of the others."""
        for thread in self.threads:
            thread.join(timeout=120)
        return Counter(what for sent, what in self.came if sent < end), Counter(what for sent, what in self.came if sent >= end)


def test_it_answers_refuses_in_words_and_sigterm_loses_no_accepted_request(server: Server, small_model: Path) -> None:
    assert server.address == f"http://127.0.0.1:{server.port}", server.said
    rows = ["red river house", "warm bread"]
    status, found = server.ask("/predict", {"tasks": ["topic", "score"], "rows": rows})
    model = trunkline.load(small_model)
    wanted = [answer["value"] for answer in model.predict("score", rows)]
    assert status == 200 and [answer["value"] for answer in found["answers"]["score"]] == pytest.approx(wanted, abs=1e-4)
    for path, body, code, message in (
        ("/predict", {"tasks": ["tpoic"], "rows": rows}, 404, "Did you mean 'topic'"),
        ("/predict", b"{", 400, "is no JSON"),
        ("/predict", {"tasks": ["topic"], "rows": rows * 5}, 413, "10 rows, at most 8"),
        ("/predict", b" " * (2 << 20), 413, "more than 1,048,576 bytes"),
    ):
        status, found = server.ask(path, body)
        assert (status, found["error"]["status"]) == (code, code) and message in found["error"]["message"]
    clients = Clients(server)
    time.sleep(3)
    figures = server.ask("/metrics")[1]
    end = time.monotonic()
    code, said = server.end()
    before, after = clients.joined(end)
    assert code == 0 and "what was accepted is answered first" in said
    assert before[200] > 20 and set(before) == {200}, before
    assert 503 in after and set(after) <= {200, 503, "lost: ConnectionResetError", "lost: RemoteDisconnected"}, after
    passes, gathered = (
        int(figures.split(f"\ntrunkline_serve_{name}_total ")[1].split()[0]) for name in ("passes", "passed_requests")
    )
    assert gathered > 1.2 * passes  # requests that come together go through the trunk together


def test_clients_see_a_server_that_is_killed(server: Server) -> None:
    """The fault that the test above would see: SIGKILL loses what was accepted."""
    clients = Clients(server)
    time.sleep(2)
    end = time.monotonic()
    server.process.kill()
    before, _ = clients.joined(end)
    assert set(before) - {200}
