"""`trunkline checkpoint` on what a run saved, whole and damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from trunkline import checkpoint
from trunkline.cli.app import main
from trunkline.launch.runs import RunFolder, RunLock, new_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with checkpoints of steps 100 (the best) to 400."""
    folder = new_run(tmp_path, tmp_path / "quick.yaml")
    for step in (100, 200, 300, 400):
        state = {"best": {"step": 100, "score": 0.5}}
        tensors = {"param/a": torch.full((4,), float(step))}
        checkpoint.save(folder.checkpoints, step, tensors, state, {}, rank=0, gather=lambda value: [value])
    return folder.path


def damage(run: Path, step: int) -> None:
    file = next((run / "checkpoints" / checkpoint.name_of(step)).glob("*.safetensors"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))


def names(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_list_shows_the_newest_first_and_what_is_damaged(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(run, 300)
    assert main(["checkpoint", "list", str(run), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"][-3:] for row in rows] == ["400", "300", "200", "100"]
    assert [row["damage"] is None for row in rows] == [True, False, True, True] and rows[0]["bytes"] > 16
    assert main(["checkpoint", "list", str(run)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[1].endswith("whole") and "SHA-256" in shown[2]


def test_verify_ends_with_5_and_says_where_a_resumed_run_goes_on(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checkpoint", "verify", str(run)]) == 0
    assert "4 checkpoint(s), all whole; the newest is step-00000400" in capsys.readouterr().out
    damage(run, 400)
    assert main(["checkpoint", "verify", str(run)]) == 5
    said = capsys.readouterr().err
    assert "step-00000400" in said and "goes on from step-00000300" in said
    for step in (100, 200, 300):
        damage(run, step)
    assert main(["checkpoint", "verify", str(run)]) == 5
    assert "None of them is whole" in capsys.readouterr().err


def test_prune_keeps_the_newest_that_verifies_the_best_and_nothing_torn(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(run, 400)
    (run / "checkpoints" / ".step-00000500.tmp").mkdir()
    assert main(["checkpoint", "prune", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == ["step-00000200", ".step-00000500.tmp"]
    assert names(run) == ["step-00000100", "step-00000300", "step-00000400"]
    assert main(["checkpoint", "prune", str(run)]) == 0
    assert "nothing to remove" in capsys.readouterr().out


def test_prune_removes_nothing_when_nothing_verifies_or_while_the_run_trains(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = names(run)
    with RunLock(RunFolder(run)):
        assert main(["checkpoint", "prune", str(run)]) == 7
    for step in (100, 200, 300, 400):
        damage(run, step)
    assert main(["checkpoint", "prune", str(run)]) == 5
    assert "nothing is removed" in capsys.readouterr().err and names(run) == before


def test_a_folder_that_is_no_run_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("list", "verify", "prune"):
        assert main(["checkpoint", command, str(tmp_path)]) == 2
        assert "no run folder" in capsys.readouterr().err
