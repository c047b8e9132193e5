"""A server from its start to its end: Ray, the application, and a stop that loses no accepted request."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping

from trunkline.errors import EnvironmentProblem, MissingExtra
from trunkline.serve.settings import Settings

NAME = "trunkline"
REFUSING_S = 1.0  # how long new requests are told that the server shuts down, so that whoever balances load sees it
FLUSH_S = 0.5  # from a replica's answer to the client
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}


@contextlib.contextmanager
def serving(settings: Settings, host: str, port: int) -> Iterator[str]:
    """Serves while the block runs; gives the address. Leaving it drains: what was accepted is answered, then all ends.

    With RAY_ADDRESS the application runs on that cluster. Raises EnvironmentProblem for a port that is taken and a Ray that
    does not come up, MissingExtra without ray[serve].
    """
    with _ray(settings.replicas * settings.cpus, host, port):
        _deploy(settings, NAME, "/")
        try:
            yield f"http://{host}:{port}"
        finally:
            _drain({NAME: (settings, "/")})


@contextlib.contextmanager
def served_apart(models: Mapping[str, Settings], host: str, port: int) -> Iterator[str]:
    """Several models at one address, each under its name; otherwise as `serving`."""
    with _ray(sum(own.replicas * own.cpus for own in models.values()), host, port):
        for name, own in models.items():
            _deploy(own, name, f"/{name}")
        try:
            yield f"http://{host}:{port}"
        finally:
            _drain({name: (own, f"/{name}") for name, own in models.items()})


def _deploy(settings: Settings, name: str, prefix: str, *, is_open: bool = True) -> None:
    from ray import serve

    from trunkline.serve.deployment import application

    serve.run(application(settings, is_open=is_open), name=name, route_prefix=prefix)


def _drain(models: Mapping[str, tuple[Settings, str]]) -> None:
    """Replicas refuse what comes and answer what they have; then they end, and the proxy last."""
    from ray import serve

    for name, (own, prefix) in models.items():
        _deploy(own, name, prefix, is_open=False)
    time.sleep(REFUSING_S)
    for name in models:
        serve.delete(name)
    time.sleep(FLUSH_S)
    serve.shutdown()


@contextlib.contextmanager
def _ray(cpus: int, host: str, port: int) -> Iterator[None]:
    """Ray with its proxy at that address."""
    _free(host, port)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    try:
        from ray import serve
    except ImportError as error:
        raise MissingExtra("ray[serve]", "serve") from error
    address = os.environ.get("RAY_ADDRESS")
    own = {
        "num_cpus": cpus + 1,
        "object_store_memory": 100 * 1024 * 1024,
        "include_dashboard": False,
    }
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **({"address": address} if address else own))
        for name in ("ray", "ray.serve"):
            logging.getLogger(name).setLevel(logging.ERROR)
        serve.start(http_options={"host": host, "port": port}, logging_config={"log_level": "ERROR", "enable_access_log": False})
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
            raise EnvironmentProblem(
                f"can not listen there: {error.strerror}. Name another: --port.", where=f"{host}:{port}"
            ) from error


def run(settings: Settings, host: str, port: int, wait: Callable[[str], None]) -> None:
    """Serves until `wait`, which is told the address once requests are answered, returns."""
    with serving(settings, host, port) as address:
        wait(address)
