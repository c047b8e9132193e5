"""One trained project for all tests of what comes after training."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from extended import train_three


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Only to be read."""
    return train_three(tmp_path_factory.mktemp("extend"))


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "project"))
