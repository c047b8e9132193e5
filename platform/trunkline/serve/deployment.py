"""The endpoint as a Ray Serve application: a replica holds the whole model, and gathers requests into passes."""

from __future__ import annotations

from typing import Any

import torch
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from trunkline.build.model import load_model
from trunkline.predict import Prepared
from trunkline.serve.front import Answers, Front, read_body
from trunkline.serve.settings import Settings
from trunkline.tasks.catalog import Catalog

GATHERED = 64  # requests in a pass
WAIT_S = 0.002  # for more of them
DRAIN_S = 60.0  # the longest that accepted requests are waited for


class Served:
    """One replica. `reconfigure({"open": False})` lets it refuse what comes and answer what it has."""

    def __init__(self, settings: Settings) -> None:
        torch.set_num_threads(settings.cpus)
        model = load_model(settings.folder, Catalog([settings.catalog]) if settings.catalog else None)
        self.front = Front(model, settings.limits, self.together)

    @serve.batch(max_batch_size=GATHERED, batch_wait_timeout_s=WAIT_S)
    async def together(self, prepared: list[Prepared]) -> list[Answers]:
        return await self.front.answer(prepared)

    def reconfigure(self, config: dict[str, Any]) -> None:
        self.front.open = config["open"]

    async def __call__(self, request: Request) -> Response:
        async def body() -> bytes:
            return await read_body(request.stream(), request.headers.get("content-length"), self.front.limits.size_bytes)

        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        reply = await self.front.respond(request.method, path, body)
        return Response(reply.content, reply.status, media_type=reply.kind)


def application(settings: Settings, *, is_open: bool = True) -> serve.Application:
    """For `serve.run`."""
    deployed = serve.deployment(
        Served,
        name="trunkline",
        num_replicas=settings.replicas,
        ray_actor_options={"num_cpus": settings.cpus},
        max_ongoing_requests=4 * GATHERED,
        user_config={"open": is_open},
        graceful_shutdown_wait_loop_s=0.1,
        graceful_shutdown_timeout_s=DRAIN_S,
    )
    return deployed.bind(settings)
