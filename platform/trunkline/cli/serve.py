"""`trunkline serve`: a model behind one endpoint."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from pathlib import Path
from typing import Annotated

import typer

from trunkline.cli.output import data, note
from trunkline.cli.predict import ModelFolder

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def register(app: typer.Typer) -> None:
    app.command("serve")(serve)


def serve(
    model: ModelFolder,
    host: Annotated[str, typer.Option("--host", help="Where to listen; others than this machine reach 0.0.0.0.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Where to listen.", min=1, max=65535)] = 8000,
    replicas: Annotated[int, typer.Option("--replicas", help="Processes that each hold the whole model.", min=1)] = 1,
    cpus: Annotated[int, typer.Option("--cpus", help="Threads of each.", min=1)] = 1,
    most_rows: Annotated[int, typer.Option("--most-rows", help="Of one request.", min=1)] = 256,
    most_characters: Annotated[int, typer.Option("--most-characters", help="Of one row.", min=1)] = 50_000,
    most_bytes: Annotated[int, typer.Option("--most-bytes", help="Of one request.", min=1)] = 1 << 20,
) -> None:
    """Answer requests for every task of a model, by Ray Serve, until SIGTERM or Ctrl-C."""
    from trunkline.build.model import load_model
    from trunkline.launch.signals import Signals
    from trunkline.serve.running import run
    from trunkline.serve.settings import Limits, Settings
    from trunkline.tasks.catalog import Catalog, nearest_folder
    from trunkline.workflows.line import opened

    folder = opened(model, None)[1].resolve()
    near = nearest_folder(folder) or nearest_folder(Path.cwd())
    tasks = load_model(folder, Catalog([near]) if near else None).tasks  # a broken model is told here, not in a replica
    if host not in LOOPBACK:
        note(f"whoever reaches {host}:{port} can ask: there is no password. Put a gateway before it that has one.")
    limits = Limits(most_rows, most_characters, most_bytes)
    settings = Settings(str(folder), str(near) if near else None, limits, replicas, cpus)

    stop = threading.Event()
    with contextlib.ExitStack() as stack:

        def wait(address: str) -> None:
            stack.enter_context(Signals(stop.set))  # Ray has taken SIGTERM for itself when it started
            data(address)
            sys.stdout.flush()
            note(f"{len(tasks)} tasks are answered at {address}/predict; Ctrl-C or SIGTERM ends it")
            while not stop.is_set():
                time.sleep(0.1)
            note("shutting down: what was accepted is answered first")

        run(settings, host, port, wait)
