"""Requests answered in words: what may be asked, what comes back, whatever is sent."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trunkline.errors import DataError, TrunklineError, UsageError, nearest
from trunkline.predict import Model, Prepared, Row
from trunkline.serve.figures import Figures
from trunkline.serve.settings import Limits

PATHS = {"/predict": "POST", "/embed": "POST", "/tasks": "GET", "/health": "GET", "/metrics": "GET"}
Answers = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Reply:
    """An answer: HTTP status, content, its type."""

    status: int
    content: bytes
    kind: str = "application/json"

    @classmethod
    def of(cls, value: Any, status: int = 200) -> Reply:
        return cls(status, json.dumps(value, ensure_ascii=False).encode())


class Refused(Exception):
    """A request that is not answered. status: of HTTP; message: why, and what to do."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def refusal(status: int, message: str) -> Reply:
    return Reply.of({"error": {"status": status, "message": message}}, status)


class Front:
    """Answers requests by one model. together: a prepared request -> its answers, with others'; by default each goes alone."""

    def __init__(self, model: Model, limits: Limits, together: Callable[[Prepared], Awaitable[Answers]] | None = None) -> None:
        self.model, self.limits, self.together = model, limits, together or self._alone
        self.figures = Figures()
        self._turn = asyncio.Lock()

    async def respond(self, method: str, path: str, body: bytes) -> Reply:
        """One request from end to end; whatever goes wrong is a reply too."""
        began = time.perf_counter()
        try:
            reply = await self._respond(method, path, body)
        except Refused as refused:
            reply = refusal(refused.status, refused.message)
        except Exception:
            logging.getLogger(__name__).exception("a request could not be answered")
            reply = refusal(500, "this is a bug in trunkline; its log says more.")
        self.figures.request(path if path in PATHS else "other", reply.status, time.perf_counter() - began)
        return reply

    async def _respond(self, method: str, path: str, body: bytes) -> Reply:
        if path not in PATHS:
            raise Refused(404, f"no path '{path[:100]}'. {nearest(path[:100], PATHS)}")
        if method != PATHS[path]:
            raise Refused(405, f"{path} is asked by {PATHS[path]}, found {method[:20]}.")
        if path == "/metrics":
            return Reply(200, self.figures.text().encode(), "text/plain; version=0.0.4")
        if path == "/tasks":
            return Reply.of({"tasks": self._tasks()})
        if path == "/health":
            return Reply.of({"status": "ok", "tasks": [*self.model.tasks, *self.model.joint]})
        asked = _mapping(body)
        return Reply.of(await self._predict(asked) if path == "/predict" else await self._embed(asked))

    def _tasks(self) -> list[dict[str, Any]]:
        own = [{"task": name, "kind": task.kind, "inputs": list(task.encoding.inputs)} for name, task in self.model.tasks.items()]
        return own + [{"task": name, "kind": "joint", "parts": parts} for name, parts in self.model.joint.items()]

    async def _predict(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        _known(asked, ("tasks", "rows"))
        tasks, rows = _texts(asked, "tasks"), self._rows(asked, "rows")
        prepared = await asyncio.to_thread(self._prepare, list(dict.fromkeys(tasks)), rows)
        answers = await self.together(prepared)
        self.figures.rows({task: len(rows) for task in answers})
        return {"answers": answers}

    def _prepare(self, tasks: Sequence[str], rows: Sequence[Row]) -> Prepared:
        try:
            prepared = self.model.prepare(tasks, rows)
        except UsageError as error:
            raise Refused(404, error.message) from error
        except DataError as error:
            raise Refused(400, str(error)) from error
        if prepared.num_tokens > self.limits.tokens:
            raise Refused(413, f"{prepared.num_tokens:,} tokens, at most {self.limits.tokens:,} in a request. Send fewer rows.")
        return prepared

    async def _embed(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        _known(asked, ("texts", "pooling", "task"))
        texts, pooling, task = self._rows(asked, "texts"), asked.get("pooling", "mean"), asked.get("task")
        if not isinstance(pooling, str) or not (task is None or isinstance(task, str)):
            raise Refused(400, "'pooling' and 'task' are texts.")
        if not all(isinstance(text, str) for text in texts):
            raise Refused(400, "'texts' is a list of texts.")
        async with self._turn:
            vectors = await asyncio.to_thread(self._vectors, [str(text) for text in texts], pooling, task)
        return {"vectors": vectors}

    def _vectors(self, texts: Sequence[str], pooling: str, task: str | None) -> list[list[float]]:
        try:
            found: list[list[float]] = self.model.embed(texts, pooling=pooling, task=task).tolist()
        except TrunklineError as error:
            raise Refused(404 if isinstance(error, UsageError) else 400, error.message) from error
        return found

    def _rows(self, asked: Mapping[str, Any], name: str) -> list[Row]:
        rows = asked.get(name)
        if not isinstance(rows, list) or not all(isinstance(row, str | dict) for row in rows):
            raise Refused(400, f"'{name}' is a list of texts or of objects with the task's columns, found {_shown(rows)}.")
        if len(rows) > self.limits.rows:
            raise Refused(413, f"{len(rows):,} rows, at most {self.limits.rows:,} in a request. Send them in parts.")
        for number, row in enumerate(rows):
            if (size := _characters(row)) > self.limits.characters:
                raise Refused(413, f"row {number}: {size:,} characters, at most {self.limits.characters:,}. Cut it.")
        return rows

    async def _alone(self, prepared: Prepared) -> Answers:
        return (await self.answer([prepared]))[0]

    async def answer(self, prepared: list[Prepared]) -> list[Answers]:
        """Of several requests, from one pass through the trunk, while others are listened to."""
        async with self._turn:
            self.figures.passed(len(prepared))
            return await asyncio.to_thread(self.model.answer, prepared)


async def read_body(parts: AsyncIterator[bytes], declared: str | None, most_bytes: int) -> bytes:
    """A request's body, of which no more than it may have is ever held. declared: its length as the client says it."""
    too_long = Refused(413, f"more than {most_bytes:,} bytes. Send the rows in parts.")
    if declared is not None and declared.isdigit() and int(declared) > most_bytes:
        raise too_long
    kept = bytearray()
    async for part in parts:
        kept += part
        if len(kept) > most_bytes:
            raise too_long
    return bytes(kept)


def _mapping(body: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is no JSON: {error}.") from error
    if not isinstance(asked, dict):
        raise Refused(400, f"the body is a JSON object, found {_shown(asked)}.")
    return asked


def _known(asked: Mapping[str, Any], keys: Sequence[str]) -> None:
    for key in asked:
        if key not in keys:
            raise Refused(400, f"no key '{key[:100]}'. {nearest(key[:100], keys)}")


def _texts(asked: Mapping[str, Any], name: str) -> list[str]:
    values = asked.get(name)
    if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
        raise Refused(400, f"'{name}' is a list of names, such as [\"topic\"], found {_shown(values)}.")
    return values


def _characters(value: Any) -> int:
    """Of all texts in it; its depth is that of JSON that could be read."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list | dict):
        return sum(map(_characters, value.values() if isinstance(value, dict) else value))
    return 0


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
