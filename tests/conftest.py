"""A hermetic environment for every test: own home and temporary folder, no telemetry, no network beyond this machine."""

from __future__ import annotations

import errno
import importlib
import ipaddress
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from ranks import Ranks
from trunkline.registry import REGISTRIES

SHARED = Path(__file__).parent.parent.parent / "shared" / "data"
ENVIRONMENT = {
    "WANDB_MODE": "offline",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_SILENT": "true",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "DO_NOT_TRACK": "1",
    "NO_PROXY": "*",
    "OMP_NUM_THREADS": "1",  # two files of tests run beside each other
}
# What a developer's shell may hold and a test must not see.
FOREIGN = ("WANDB_", "HF_", "RAY_", "TRUNKLINE_", "DS_", "XDG_", "TRANSFORMERS_")
FOREIGN_NAMES = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "NETRC", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")

settings.register_profile("trunkline", derandomize=True, deadline=None, database=None)
settings.load_profile("trunkline")


def pytest_configure() -> None:
    """Before anything is imported that reads the environment once."""
    for name in list(os.environ):
        if name.startswith(FOREIGN) or name in FOREIGN_NAMES:
            del os.environ[name]
    os.environ.update(ENVIRONMENT)
    if not Path("/dev/nvidiactl").exists():
        os.environ["DS_ACCELERATOR"] = "cpu"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that read the shared data are deselected where it is missing."""
    if SHARED.is_dir():
        return
    needy = [item for item in items if item.get_closest_marker("shared")]
    if needy:
        config.hook.pytest_deselected(items=needy)
        items[:] = [item for item in items if item not in needy]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared real data, for tests marked `shared`."""
    return SHARED


@pytest.fixture(scope="session")
def two_ranks() -> Iterator[Ranks]:
    """Starting ranks costs seconds, so they stay up."""
    ranks = Ranks(2)
    yield ranks
    ranks.close()


@pytest.fixture(scope="session")
def one_rank() -> Iterator[Ranks]:
    ranks = Ranks(1)
    yield ranks
    ranks.close()


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of the small project, two steps in, its topic read from the first token. Only to be read."""
    import trunkline
    from small_project import write_project

    recipe = write_project(tmp_path_factory.mktemp("small"))
    card = recipe.parent.parent / "tasks" / "topic" / "card.yaml"
    card.write_text(card.read_text().replace("pooling: mean", "pooling: first"))
    return trunkline.train(recipe, in_process=True, overrides=["train.steps=2", "train.evaluate_every=2"]).model


@pytest.fixture(scope="session", autouse=True)
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Short on purpose: a socket's path ends at 107 characters, and Ray's sockets lie deep below TMPDIR."""
    tmp_path_factory.getbasetemp()  # settled before TMPDIR changes
    folder = Path(tempfile.mkdtemp(prefix="tl", dir="/tmp"))
    with pytest.MonkeyPatch.context() as patch:
        _settle(patch, folder)
        patch.setattr(socket.socket, "connect", _guarded("connect"))
        patch.setattr(socket.socket, "connect_ex", _guarded("connect_ex"))
        yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def own_environment(session_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """HOME and TMPDIR of each test its own; removed after it."""
    folder = Path(tempfile.mkdtemp(dir=session_folder, prefix=""))
    _settle(monkeypatch, folder)
    yield
    if "WANDB_SERVICE" in os.environ:  # started in this folder by a run within the test; the next test would inherit it
        wandb = importlib.import_module("wandb")
        wandb.teardown()
        os.environ.pop("WANDB_SERVICE", None)
    shutil.rmtree(folder, ignore_errors=True)


def _settle(patch: pytest.MonkeyPatch, folder: Path) -> None:
    for variable, name in (("HOME", "h"), ("TMPDIR", "t")):
        (folder / name).mkdir()
        patch.setenv(variable, str(folder / name))
    patch.setattr(tempfile, "tempdir", None)  # what the standard library remembers of TMPDIR


def _guarded(method: str):
    plain = getattr(socket.socket, method)

    def guarded(self: socket.socket, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and self.type == socket.SOCK_STREAM and not _is_here(address[0]):
            raise OSError(errno.ENETUNREACH, f"tests connect to this machine alone, not to {address[0]}")
        return plain(self, address)

    return guarded


def _is_here(host: str) -> bool:
    """Loopback, or an address of this machine's own (Ray uses it): only those can be bound."""
    if host == "localhost":
        return True
    try:
        if ipaddress.ip_address(host).is_loopback:
            return True
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except (ValueError, OSError):
        return False
    return True


@pytest.fixture
def own_registries() -> Iterator[None]:
    """What plugins register is forgotten after the test; parts of our own that were loaded meanwhile stay."""
    before = [set(registry.names()) for registry in REGISTRIES]
    yield
    for registry, names in zip(REGISTRIES, before, strict=True):
        for name in set(registry.names()) - names:
            del registry._loaded[name], registry._owners[name]
