"""A server from its start to its end: Ray, the replicas, and the listener before them."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping

from trunkline.errors import EnvironmentProblem, MissingExtra
from trunkline.serve.front import Reply
from trunkline.serve.listener import Ask, Listener, listening
from trunkline.serve.settings import Settings

NAME = "trunkline"
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}


@contextlib.contextmanager
def serving(models: Mapping[str, Settings], host: str, port: int) -> Iterator[str]:
    """Serves while the block runs; gives the address. Leaving it, what was accepted is answered, and then all ends.

    models: one by "", or several, each asked below its name. With RAY_ADDRESS the replicas run on that cluster. Raises
    EnvironmentProblem for a port that is taken and a Ray that does not come up, MissingExtra without ray[serve].
    """
    _free(host, port)
    with _ray(sum(own.replicas * own.cpus for own in models.values())):
        from ray import serve

        asked = {name: _deployed(own, name or NAME) for name, own in models.items()}
        listener = Listener(asked, max(own.limits.size_bytes for own in models.values()))
        try:
            with listening(listener, host, port):
                yield f"http://{host}:{port}"
        finally:
            serve.shutdown()


def _deployed(settings: Settings, name: str) -> Ask:
    from ray import serve

    from trunkline.serve.deployment import application

    handle = serve.run(application(settings), name=name, route_prefix=None)

    async def ask(method: str, path: str, body: bytes) -> Reply:
        reply: Reply = await handle.respond.remote(method, path, body)
        return reply

    return ask


@contextlib.contextmanager
def _ray(cpus: int) -> Iterator[None]:
    """Ray, with Serve but without its own proxies."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    try:
        from ray import serve
    except ImportError as error:
        raise MissingExtra("ray[serve]", "serve") from error
    address = os.environ.get("RAY_ADDRESS")
    own = {"num_cpus": cpus + 1, "object_store_memory": 100 * 1024 * 1024, "include_dashboard": False}
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **({"address": address} if address else own))
        for name in ("ray", "ray.serve"):
            logging.getLogger(name).setLevel(logging.ERROR)
        serve.start(proxy_location="Disabled", logging_config={"log_level": "ERROR", "enable_access_log": False})
    except Exception as error:  # Ray raises no class of its own where a node is too slow
        ray.shutdown()
        raise EnvironmentProblem(f"Ray does not start here: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _free(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            where = f"{host}:{port}"
            raise EnvironmentProblem(f"can not listen there: {error.strerror}. Name another: --port.", where=where) from error


def run(settings: Settings, host: str, port: int, wait: Callable[[str], None]) -> None:
    """Serves until `wait`, which is told the address once requests are answered, returns."""
    with serving({"": settings}, host, port) as address:
        wait(address)
