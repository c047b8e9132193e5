"""The environment tests run in."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import pytest


@pytest.mark.parametrize("address", [("192.0.2.1", 80), ("example.com", 443)])
def test_nothing_beyond_this_machine_can_be_reached(address: tuple[str, int]) -> None:
    with socket.socket() as client, pytest.raises(OSError, match="tests connect to this machine alone"):
        client.connect(address)


def test_a_server_on_this_machine_can_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert client.getpeername() == server.getsockname()


@pytest.mark.parametrize("turn", [1, 2])
def test_every_test_has_a_home_and_a_temporary_folder_of_its_own(turn: int) -> None:
    assert not list(Path.home().iterdir()) and not list(Path(tempfile.gettempdir()).iterdir())
    (Path.home() / "left").write_text(str(turn))
    Path(tempfile.mkdtemp()).touch()


def test_the_temporary_folder_leaves_room_for_a_socket_of_ray() -> None:
    socket_of_ray = "ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store"
    assert len(f"{tempfile.gettempdir()}/{socket_of_ray}") < 107


def test_nothing_is_sent_to_trackers_and_hubs() -> None:
    assert (os.environ["WANDB_MODE"], os.environ["HF_HUB_OFFLINE"], os.environ["RAY_USAGE_STATS_ENABLED"]) == (
        "offline",
        "1",
        "0",
    )
