"""An extension that is killed, at every point that has a name: the current model is always whole, and the job goes on."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import trunkline
from extended import extend, hashes, model_of
from trunkline import durable
from trunkline.cli.app import main
from trunkline.tasks.catalog import Catalog
from trunkline.workflows import line as lines
from trunkline.workflows.line import Line

IN_RUN = [
    "worker.in_step",
    "checkpoint.before_shard",
    "checkpoint.before_manifest",
    "checkpoint.after_manifest",
    "checkpoint.after_rename",
    "checkpoint.after_commit",
    "checkpoint.during_prune",
    "model.before_rename",
    "model.after_rename",
    "extend.before_report",
    "extend.before_promotion",
]
BEFORE_SWITCH = ["line.before_rename", "line.before_switch"]
AFTER_SWITCH = ["line.after_switch", "line.during_prune"]
SAVES = ("-s", "train.save_every=1", "-s", "train.keep_last=1")


class Killed(BaseException):
    """As a process that is killed: nothing catches it to go on."""


def arguments(project: Path) -> tuple[str, ...]:
    return ("--task", "answer", "--strategy", "replay", "--line", str(project / "line"), "--protect", "*:-100", "--json", *SAVES)


def killed_at(point: str, project: Path) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(durable, "crash_point", lambda name: _die(name, point))
        extend(project, *arguments(project))


def _die(name: str, point: str) -> None:
    if name == point:
        raise Killed(name)


def promoted(project: Path, times: int) -> Line:
    """A line of that many models, the newest being the one that is extended."""
    line = Line(project / "line")
    for number in range(times, 0, -1):
        model = Path(shutil.copytree(model_of(project), project / f"model{number}"))
        manifest = json.loads((model / "manifest.json").read_text())
        (model / "manifest.json").write_text(json.dumps({**manifest, "number": number}))
        line.promote(model, str(number))
    return line


def weights(model: Path) -> dict[str, str]:
    return {name: found for name, found in hashes(model).items() if name.endswith(".safetensors")}


def whole(line: Line) -> bool:
    """The current model opens, every file verified."""
    return set(trunkline.load(line.current).tasks) >= {"topic", "score", "tags"}


def test_every_point_with_a_name_is_tried() -> None:
    source = Path(trunkline.__file__).parent
    found = {name for path in source.rglob("*.py") for name in re.findall(r'crash_point\("([^"]+)"\)', path.read_text())}
    assert found == {*IN_RUN, *BEFORE_SWITCH, *AFTER_SWITCH}


def test_killed_everywhere_the_current_model_is_whole_and_the_end_is_that_of_a_run_never_killed(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    never = Path(shutil.copytree(project, tmp_path / "never"))
    assert extend(never, *arguments(never)) == 0
    expected = weights(Path(json.loads(capsys.readouterr().out)["model"]))
    line = promoted(project, 5)
    before = hashes(line.current)
    for point in (*IN_RUN, *BEFORE_SWITCH):
        killed_at(point, project)
        assert hashes(line.current) == before and whole(line), point
    for point in AFTER_SWITCH:
        killed_at(point, project)
        assert weights(line.current) == expected and whole(line), point
        line.rollback()
        assert hashes(line.current) == before, point
    assert extend(project, *arguments(project)) == 0
    assert weights(line.current) == expected and len(list((project / "outputs").glob("extend-*"))) == 1


def test_a_switch_that_is_not_atomic_is_caught(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def apart(self: Line, version: Path, what: str) -> None:
        (self.folder / lines.CURRENT).unlink(missing_ok=True)
        if what == "promoted" and "extend" in version.name:
            raise Killed
        right(self, version, what)

    right = Line._switch
    line = promoted(project, 1)
    monkeypatch.setattr(Line, "_switch", apart)
    with pytest.raises(Killed):
        extend(project, *arguments(project))
    with pytest.raises(OSError, match="current"):
        whole(line)


def test_a_process_that_is_killed_in_a_promotion_leaves_the_old_model_current(project: Path) -> None:
    line = promoted(project, 1)
    before = hashes(line.current)
    command = [sys.executable, "-m", "trunkline", "extend", str(model_of(project)), "--in-process", "--steps", "2"]
    environment: dict[str, Any] = {**os.environ, durable.CRASH_AT: "line.before_switch"}
    done = subprocess.run([*command, *arguments(project)], env=environment, capture_output=True, check=False)
    assert done.returncode == -9 and hashes(line.current) == before and whole(line)
    assert main([*command[3:], *arguments(project)]) == 0
    assert hashes(line.current) != before and whole(line) and Catalog([project / "tasks"]).names()
