"""The model as a Ray Serve application: a replica holds all of it, and gathers requests into passes."""

from __future__ import annotations

import torch
from ray import serve

from trunkline.build.model import load_model
from trunkline.predict import Prepared
from trunkline.serve.front import Answers, Front, Reply
from trunkline.serve.settings import Settings
from trunkline.tasks.catalog import Catalog

GATHERED = 64  # requests in a pass
WAIT_S = 0.002  # for more of them
WAITING = 1024  # requests that may wait for a replica; more are refused


class Served:
    """One replica."""

    def __init__(self, settings: Settings) -> None:
        torch.set_num_threads(settings.cpus)
        model = load_model(settings.folder, Catalog([settings.catalog]) if settings.catalog else None)
        self.front = Front(model, settings.limits, self.together)

    @serve.batch(max_batch_size=GATHERED, batch_wait_timeout_s=WAIT_S)
    async def together(self, prepared: list[Prepared]) -> list[Answers]:
        return await self.front.answer(prepared)

    async def respond(self, method: str, path: str, body: bytes) -> Reply:
        return await self.front.respond(method, path, body)


def application(settings: Settings) -> serve.Application:
    """For `serve.run`."""
    deployed = serve.deployment(
        Served,
        name="trunkline",
        num_replicas=settings.replicas,
        ray_actor_options={"num_cpus": settings.cpus},
        max_ongoing_requests=2 * GATHERED,
        max_queued_requests=WAITING,
        graceful_shutdown_wait_loop_s=0.1,
    )
    return deployed.bind(settings)
