"""The endpoint without its server: whatever is sent comes back as an answer or as a sentence with a status."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

import trunkline
from trunkline.predict import Model, Prepared
from trunkline.serve.front import Answers, Front
from trunkline.serve.settings import Limits

TEXTS = ["red river house", "warm bread"]


@pytest.fixture(scope="module")
def model(small_model: Path) -> Model:
    return trunkline.load(small_model)


@pytest.fixture
def front(model: Model) -> Front:
    return Front(model, Limits(rows=4, characters=40, size_bytes=1000, tokens=40))


def ask(front: Front, path: str, body: Any = None, method: str | None = None) -> tuple[int, Any]:
    """Status and content. body: bytes as they are, anything else as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    reply = asyncio.run(front.respond(method or ("GET" if body is None else "POST"), path, content))
    return reply.status, json.loads(reply.content) if reply.kind == "application/json" else reply.content.decode()


def test_rows_are_answered_by_every_task_that_is_named(front: Front, model: Model) -> None:
    status, found = ask(front, "/predict", {"tasks": ["topic", "score"], "rows": TEXTS})
    assert status == 200
    assert [answer["label"] for answer in found["answers"]["topic"]] == [own["label"] for own in model.predict("topic", TEXTS)]
    values = [own["value"] for own in model.predict("score", TEXTS)]
    assert [answer["value"] for answer in found["answers"]["score"]] == pytest.approx(values, abs=1e-5)
    assert ask(front, "/predict", {"tasks": ["topic"], "rows": []}) == (200, {"answers": {"topic": []}})


def test_texts_become_vectors(front: Front, model: Model) -> None:
    status, found = ask(front, "/embed", {"texts": TEXTS, "task": "answer"})
    assert status == 200 and found["vectors"][1] == pytest.approx(model.embed(TEXTS, task="answer")[1].tolist(), abs=1e-5)


def test_what_it_can_be_asked_is_told(front: Front) -> None:
    status, found = ask(front, "/tasks")
    assert status == 200 and {"task": "tags", "kind": "tagging", "inputs": ["words"]} in found["tasks"]
    assert ask(front, "/health") == (200, {"status": "ok", "tasks": ["topic", "score", "tags", "answer", "words"]})


DEEP = b'{"tasks": ["topic"], "rows": ' + b"[" * 400 + b"]" * 400 + b"}"


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/predict", b"{", 400, "the body is no JSON: Expecting property name"),
        ("/predict", b"\xff\xfe", 400, "the body is no JSON"),
        ("/predict", b"[" * 200_000, 400, "the body is no JSON"),
        ("/predict", DEEP, 400, "'rows' is a list of texts or of objects"),
        ("/predict", [1], 400, "the body is a JSON object, found [1]"),
        ("/predict", {"tasks": ["topic"], "row": ["a"]}, 400, "no key 'row'. Did you mean 'rows'?"),
        ("/predict", {"tasks": "topic", "rows": ["a"]}, 400, "'tasks' is a list of names"),
        ("/predict", {"tasks": [], "rows": ["a"]}, 400, "'tasks' is a list of names"),
        ("/predict", {"tasks": ["topic"]}, 400, "'rows' is a list of texts or of objects"),
        ("/predict", {"tasks": ["topic"], "rows": [{"txet": "a"}]}, 400, "row 0: has no 'text'. Did you mean 'txet'?"),
        ("/predict", {"tasks": ["topic"], "rows": [{"text": "a"}, {"text": 3}]}, 400, "row 1: column 'text' is no text: 3"),
        ("/predict", {"tasks": ["topic"], "rows": [{"text": "a"}, "b"]}, 400, "row 1: has no 'text'"),
        ("/predict", {"tasks": ["tpoic"], "rows": ["a"]}, 404, "the model has no task 'tpoic'. Did you mean 'topic'?"),
        ("/predict", {"tasks": ["topic"], "rows": ["a"] * 5}, 413, "5 rows, at most 4 in a request"),
        ("/predict", {"tasks": ["topic"], "rows": ["a", "b" * 41]}, 413, "row 1: 41 characters, at most 40"),
        ("/predict", {"tasks": ["tags"], "rows": [{"words": ["b" * 39, "ab"]}]}, 413, "row 0: 41 characters"),
        ("/predict", {"tasks": ["topic"], "rows": ["a b c d e f g h i j k l m n o"] * 4}, 413, "64 tokens, at most 40"),
        ("/embed", {"texts": [{"text": "a"}]}, 400, "'texts' is a list of texts"),
        ("/embed", {"texts": ["a"], "task": "topic"}, 404, "makes no vectors of texts"),
        ("/embed", {"texts": ["a"], "pooling": "maen"}, 400, "Did you mean 'mean'?"),
        ("/embed", {"texts": ["a"], "pooling": 3}, 400, "'pooling' and 'task' are texts"),
        ("/perdict", {"tasks": ["topic"], "rows": ["a"]}, 404, "no path '/perdict'. Did you mean '/predict'?"),
    ],
)
def test_what_can_not_be_answered_is_refused_in_words(front: Front, path: str, body: Any, status: int, message: str) -> None:
    found, said = ask(front, path, body)
    assert (found, said["error"]["status"]) == (status, status)
    assert message in said["error"]["message"]
    assert ask(front, "/predict", {"tasks": ["topic"], "rows": TEXTS})[0] == 200  # and the next one is answered


def test_a_path_is_asked_by_its_method(front: Front) -> None:
    status, found = ask(front, "/predict", method="GET")
    assert status == 405 and found["error"]["message"] == "/predict is asked by POST, found GET."


def test_a_bug_is_told_without_its_insides_and_the_server_lives(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front.model, "answer", lambda _: [][0])
    status, found = ask(front, "/predict", {"tasks": ["topic"], "rows": TEXTS})
    assert status == 500 and "IndexError" not in json.dumps(found)


def test_requests_that_are_gathered_go_through_the_trunk_in_one_pass(model: Model) -> None:
    """What Ray Serve's batching does: several requests wait, one pass answers them."""
    waiting: list[tuple[Prepared, asyncio.Future[Answers]]] = []

    async def together(prepared: Prepared) -> Answers:
        own: asyncio.Future[Answers] = asyncio.get_running_loop().create_future()
        waiting.append((prepared, own))
        return await own

    front = Front(model, Limits(), together)

    def body(text: str, task: str) -> bytes:
        return json.dumps({"tasks": [task], "rows": [text]}).encode()

    async def both() -> list[dict[str, Any]]:
        tasks = [
            asyncio.create_task(front.respond("POST", "/predict", body(*own)))
            for own in (("red river", "topic"), ("warm bread", "score"))
        ]
        while len(waiting) < 2:
            await asyncio.sleep(0.001)
        for (_, own), answers in zip(waiting, await front.answer([one for one, _ in waiting]), strict=True):
            own.set_result(answers)
        return [json.loads((await task).content) for task in tasks]

    first, second = asyncio.run(both())
    assert first["answers"]["topic"][0]["label"] == model.predict("topic", ["red river"])[0]["label"]
    assert second["answers"]["score"][0]["value"] == pytest.approx(model.predict("score", ["warm bread"])[0]["value"], abs=1e-5)
    assert (front.figures.passes, front.figures.gathered) == (1, 2)


def test_the_figures_add_up_and_hostile_names_can_not_forge_a_line(front: Front) -> None:
    ask(front, "/predict", {"tasks": ["topic", "score"], "rows": TEXTS})
    ask(front, "/predict", {"tasks": ["topic"], "rows": ["a"] * 5})
    ask(front, '/x"\n', {})
    front.figures.rows({'a"} 9\nforged 1': 1})
    status, text = ask(front, "/metrics")
    assert status == 200
    for line in (
        'trunkline_serve_requests_total{path="/predict",status="200"} 1',
        'trunkline_serve_requests_total{path="/predict",status="413"} 1',
        'trunkline_serve_requests_total{path="other",status="404"} 1',
        'trunkline_serve_rows_total{task="topic"} 2',
        'trunkline_serve_request_seconds_bucket{path="/predict",le="+Inf"} 2',
        "trunkline_serve_passes_total 1",
    ):
        assert line in text.splitlines()
    assert all(re.fullmatch(r"(# TYPE \S+ \S+|trunkline_serve_\w+(\{.*\})? [\d.]+)", line) for line in text.splitlines())
