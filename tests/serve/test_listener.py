"""Who listens, on a real socket without Ray: what is accepted is answered, whatever comes when it ends."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from trunkline.serve import listener as own
from trunkline.serve.front import Refused, Reply, read_body
from trunkline.serve.listener import Listener, listening


async def echo(method: str, path: str, body: bytes) -> Reply:
    await asyncio.sleep(0.8 if path == "/slow" else 0)
    if path == "/broken":
        raise RuntimeError("a replica is gone")
    return Reply.of([method, path, len(body)])


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def listened(port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(own, "REFUSING_S", 0.05)
    with listening(Listener({"": echo}, 1000), "127.0.0.1", port):
        yield port


def ask(port: int, path: str, body: bytes | None = None) -> tuple[int, object]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET" if body is None else "POST", path, body)
    answer = connection.getresponse()
    read = answer.read()
    connection.close()
    return answer.status, json.loads(read)


def test_it_hands_requests_on_and_refuses_in_words(listened: int, caplog: pytest.LogCaptureFixture) -> None:
    assert ask(listened, "/a/b", b"abc") == (200, ["POST", "/a/b", 3])
    status, found = ask(listened, "/a", b"a" * 1001)
    assert (status, found["error"]["message"]) == (413, "more than 1,000 bytes. Send the rows in parts.")
    status, found = ask(listened, "/broken")
    assert status == 500 and "did not answer" in found["error"]["message"] and "gone" not in json.dumps(found)
    assert ask(listened, "/a") == (200, ["GET", "/a", 0])


def test_several_models_are_asked_below_their_names(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "REFUSING_S", 0.0)
    with listening(Listener({"one": echo, "two": echo}, 1000), "127.0.0.1", port):
        assert ask(port, "/two/predict") == (200, ["GET", "/predict", 0])
        assert ask(port, "/three/predict")[0] == 404


def ended(port: int, clients: int = 8) -> list[tuple[float, object]]:
    """Clients ask without pause while the listener ends: when each asked, after its end began, and what came of it."""
    came: list[tuple[float, object]] = []
    ends = [float("inf")]

    def client() -> None:
        while True:
            began = time.perf_counter()
            try:
                came.append((began - ends[0], ask(port, "/slow", b"abc")[0]))
            except ConnectionRefusedError:
                return
            except (OSError, http.client.HTTPException, ValueError) as error:
                came.append((began - ends[0], type(error).__name__))
                if len(came) > 2000:
                    return

    threads = [threading.Thread(target=client) for _ in range(clients)]
    with listening(Listener({"": echo}, 1000), "127.0.0.1", port):
        for thread in threads:
            thread.start()
        time.sleep(1.2)
        ends[0] = time.perf_counter()
    for thread in threads:
        thread.join()
    return came


def accepted_are_answered(came: list[tuple[float, object]]) -> bool:
    """What was asked before the end began has its answer; what came later an answer, a refusal, or no connection."""
    return all(status == 200 for when, status in came if when < 0) and any(status == 200 for when, status in came if when < 0)


def test_an_end_loses_no_accepted_request(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "REFUSING_S", 1.2)
    came = ended(port)
    assert accepted_are_answered(came) and any(status == 503 for _, status in came), came


def test_an_end_that_waits_for_nothing_is_seen(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "REFUSING_S", 0.0)
    monkeypatch.setattr(own, "DRAIN_S", 0)
    assert not accepted_are_answered(ended(port))


def test_a_body_is_read_no_further_than_it_may_be_long() -> None:
    read = 0

    async def parts() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 100
            yield b"a" * 100

    with pytest.raises(Refused, match="more than 1,000 bytes") as refused:
        asyncio.run(read_body(parts(), None, 1000))
    assert refused.value.status == 413 and read == 1100
    with pytest.raises(Refused, match="more than 1,000 bytes"):
        asyncio.run(read_body(parts(), "1001", 1000))
    assert read == 1100  # its length was believed
