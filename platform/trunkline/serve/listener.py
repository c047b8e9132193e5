"""Who listens: HTTP in, replicas' answers out. It alone decides what is accepted, so that an end loses nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, MutableMapping
from typing import Any

from trunkline.serve.front import Refused, Reply, read_body, refusal

REFUSING_S = 1.0  # how long new requests are told that the server shuts down, so that whoever balances load sees it
DRAIN_S = 60  # the longest that accepted requests are waited for
Ask = Callable[[str, str, bytes], Awaitable[Reply]]
Message = MutableMapping[str, Any]


class Listener:
    """An ASGI application. models: by the first part of the path, or by "" the only one; method, path, body -> reply.

    open: once it is False what comes is refused with 503; what was accepted before is answered.
    """

    def __init__(self, models: Mapping[str, Ask], most_bytes: int) -> None:
        self.models, self.most_bytes, self.open = dict(models), most_bytes, True

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Any]) -> None:
        if scope["type"] != "http":
            return
        reply = await self.reply(scope, receive)
        headers = [(b"content-type", reply.kind.encode()), (b"content-length", str(len(reply.content)).encode())]
        if not self.open or reply.status == 413:  # of the latter the rest of the body is not read
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.content})

    async def reply(self, scope: Message, receive: Callable[[], Awaitable[Message]]) -> Reply:
        declared = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"content-length"), None)
        first, _, rest = scope["path"].lstrip("/").partition("/")
        ask = self.models.get("") or self.models.get(first)
        path = scope["path"] if "" in self.models else f"/{rest}"
        try:
            if not self.open:
                raise Refused(503, "this server is shutting down. Ask another one, or later.")
            if ask is None:
                raise Refused(404, f"no model '{first[:100]}'.")
            return await ask(scope["method"], path, await read_body(_parts(receive), declared, self.most_bytes))
        except Refused as refused:
            return refusal(refused.status, refused.message)
        except Exception as error:
            if type(error).__name__ == "BackPressureError":
                return refusal(503, "too many requests wait already. Ask again later.")
            logging.getLogger(__name__).exception("a replica did not answer")
            return refusal(500, "the replica that was asked did not answer; the log says more.")


async def _parts(receive: Callable[[], Awaitable[Message]]) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "the request broke off.")
        yield message.get("body", b"")
        more = message.get("more_body", False)


@contextlib.contextmanager
def listening(listener: Listener, host: str, port: int) -> Iterator[None]:
    """Listens in a thread while the block runs. Leaving it refuses for a moment, stops to listen, waits for what was accepted."""
    import uvicorn

    config = uvicorn.Config(
        listener, host, port, lifespan="off", access_log=False, log_level="error", timeout_graceful_shutdown=DRAIN_S
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), name="listener")
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    try:
        yield
    finally:
        listener.open = False
        time.sleep(REFUSING_S)
        server.should_exit = True
        thread.join()
