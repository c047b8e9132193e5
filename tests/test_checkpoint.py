"""The commit protocol: whole or invisible, nothing damaged is used, a torn one is passed over."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from trunkline import checkpoint
from trunkline.errors import IntegrityError

TENSORS = {"param/a": torch.arange(6.0).view(2, 3), "exp_avg/a": torch.ones(2, 3), "step/a": torch.tensor(7.0)}


def write(root: Path, step: int = 400) -> Path:
    state = {"tokens": 12, "stream": {"draws": 3}}
    return checkpoint.save(root, step, TENSORS, state, {"recipe.yaml": "seed: 1\n"}, rank=0, gather=lambda value: [value])


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    restored = checkpoint.load(write(tmp_path))
    assert restored.step == 400 and restored.state["tokens"] == 12 and restored.state["stream"] == {"draws": 3}
    assert restored.tensors.keys() == TENSORS.keys()
    assert all(torch.equal(restored.tensors[name], tensor) for name, tensor in TENSORS.items())


def test_there_is_no_pickle_in_it(tmp_path: Path) -> None:
    path = write(tmp_path)
    assert {item.suffix for item in path.iterdir()} == {".safetensors", ".json", ".yaml", ""}
    assert all(not item.read_bytes().startswith((b"\x80", b"PK")) for item in path.iterdir())


def _flip(path: Path) -> None:
    file = next(path.glob("*.safetensors"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))


def _truncate(path: Path) -> None:
    file = next(path.glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-4])


def _link(path: Path) -> None:
    outside = path.parent.parent / "outside"
    shutil.move(path / "recipe.yaml", outside)
    (path / "recipe.yaml").symlink_to(outside)


def _other_step(path: Path) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["step"] = 399
    _commit(path, manifest)


def _newer(path: Path) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["schema_version"] = 99
    _commit(path, manifest)


def _commit(path: Path, manifest: object) -> None:
    import hashlib

    raw = json.dumps(manifest).encode()
    (path / "manifest.json").write_bytes(raw)
    (path / "COMMIT").write_text(hashlib.sha256(raw).hexdigest())


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "bit flipped": (_flip, "SHA-256"),
    "truncated": (_truncate, "bytes"),
    "file missing": (lambda path: (path / "recipe.yaml").unlink(), "missing files: .'recipe.yaml'"),
    "file added": (lambda path: (path / "evil.pt").write_bytes(b"x"), "not in the manifest: .'evil.pt'"),
    "symlink": (_link, "link"),
    "manifest edited": (lambda path: (path / "manifest.json").write_text("{}"), "manifest.json"),
    "step differs from the name": (_other_step, "step 399 differ"),
    "written by a newer trunkline": (_newer, "newer trunkline"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_checkpoint_is_refused_with_the_file_named_and_passed_over(tmp_path: Path, name: str) -> None:
    damage, said = DAMAGE[name]
    root = tmp_path / "checkpoints"
    older, newer = write(root, 100), write(root, 200)
    damage(newer)
    with pytest.raises(IntegrityError, match=said):
        checkpoint.load(newer)
    restored, passed = checkpoint.newest(root)
    assert restored is not None and restored.path == older
    assert [item.path for item in passed] == [newer] and passed[0].reason


def test_without_commit_nothing_is_there(tmp_path: Path) -> None:
    path = write(tmp_path)
    (path / "COMMIT").unlink()
    assert checkpoint.newest(tmp_path) == (None, [])
    with pytest.raises(IntegrityError, match="never finished"):
        checkpoint.load(path)


def test_a_folder_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    write(tmp_path, 100)
    with pytest.raises(IntegrityError, match="step-00000100"):
        checkpoint.load(tmp_path / "step-00000101")


class Died(Exception):
    """A process killed at this point."""


@pytest.mark.parametrize("point", ["write", "sync", "rename"])
@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_a_save_killed_anywhere_leaves_the_previous_one_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, call: int
) -> None:
    write(tmp_path, 100)
    owner = checkpoint.os if point == "rename" else checkpoint.durable
    real, calls = getattr(owner, point), []

    def dying(*arguments: object) -> object:
        calls.append(point)
        if len(calls) == call:
            raise Died
        return real(*arguments)

    monkeypatch.setattr(owner, point, dying)
    try:
        write(tmp_path, 200)
        finished = True
    except Died:
        finished = False
    monkeypatch.undo()
    restored, passed = checkpoint.newest(tmp_path)
    assert restored is not None and not passed
    assert restored.step == 200 if finished else restored.step in (100, 200)
    write(tmp_path, 200)
    again, _ = checkpoint.newest(tmp_path)
    assert again is not None and again.step == 200


def test_pruning_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    for step in (100, 200, 300, 400, 500):
        write(tmp_path, step)
    gone = checkpoint.prune(tmp_path, 2, keep=[100])
    assert [path.name for path in gone] == ["step-00000300", "step-00000200"]
    assert [path.name for path in checkpoint.committed(tmp_path)] == ["step-00000500", "step-00000400", "step-00000100"]


def test_shares_are_complete_balanced_and_alike_everywhere() -> None:
    sizes = {f"p{number}": (number * 37) % 101 + 1 for number in range(40)}
    owner = checkpoint.shares(sizes, 3)
    loads = [sum(sizes[name] for name, rank in owner.items() if rank == mine) for mine in range(3)]
    assert owner.keys() == sizes.keys()
    assert max(loads) - min(loads) <= max(sizes.values())
    assert owner == checkpoint.shares(dict(reversed(sizes.items())), 3)
