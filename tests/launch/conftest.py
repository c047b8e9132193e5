"""A small project, and one finished run of it that several tests read."""

from __future__ import annotations

from pathlib import Path

import pytest

from small_project import write_project


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write_project(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a finished run, whose project is two folders above it. Only to be read."""
    import trunkline

    recipe = write_project(tmp_path_factory.mktemp("project"))
    return trunkline.train(recipe, in_process=True).run
