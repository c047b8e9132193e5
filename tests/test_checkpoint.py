"""The commit protocol: whole or invisible, nothing damaged is used, a torn one is passed over."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
import torch

from ranks import Ranks
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


# Point -> the step that is restored after a save of step 300 was killed there, and a prune of step 100 behind it.
POINTS = {
    "checkpoint.before_shard": 200,
    "checkpoint.before_manifest": 200,
    "checkpoint.after_manifest": 200,
    "checkpoint.after_rename": 200,
    "checkpoint.after_commit": 300,
    "checkpoint.during_prune": 300,
}


def killed_at(root: Path, point: str) -> int:
    """Saves step 300 and removes step 100 in a process that is killed at the point; how the process ended."""
    child = os.fork()
    if child == 0:
        os.environ["TRUNKLINE_CRASH_AT"] = point
        write(root, 300)
        checkpoint.prune(root, 2)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("point", POINTS)
def test_a_process_killed_at_a_named_point_leaves_a_whole_checkpoint_and_what_is_torn_is_removed(
    tmp_path: Path, point: str
) -> None:
    for step in (100, 200):
        write(tmp_path, step)
    assert killed_at(tmp_path, point) == -signal.SIGKILL
    restored, passed = checkpoint.newest(tmp_path)
    assert restored is not None and not passed and restored.step == POINTS[point]
    checkpoint.tidy(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(checkpoint.committed(tmp_path))
    assert len(checkpoint.committed(tmp_path)) >= 2
    write(tmp_path, 300)
    assert checkpoint.load(tmp_path / "step-00000300").step == 300


def test_without_the_variable_or_at_another_point_or_time_nobody_is_killed(tmp_path: Path) -> None:
    for point in ("", "checkpoint", "checkpoint.after_commit:2"):
        assert killed_at(tmp_path / (point or "none"), point) == 0


def test_a_commit_written_too_early_is_found_by_killing_it_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = checkpoint._write

    def early(path: Path, content: bytes) -> dict[str, object]:
        if path.name == "manifest.json":
            final = tmp_path / "step-00000300"
            final.mkdir()
            (final / "COMMIT").write_text("")
        return real(path, content)

    write(tmp_path, 200)
    monkeypatch.setattr(checkpoint, "_write", early)
    assert killed_at(tmp_path, "checkpoint.after_manifest") == -signal.SIGKILL
    _, passed = checkpoint.newest(tmp_path)
    assert [item.path.name for item in passed] == ["step-00000300"]


def full_disk_on(limited: int, root: str, step: int) -> str:
    """Both ranks save; rank `limited` may write no file above 64 bytes. What each was told."""
    import resource

    import torch.distributed as dist

    def gather(value: object) -> list[object]:
        found: list[object] = [None] * dist.get_world_size()
        dist.all_gather_object(found, value)
        return found

    rank, limits = dist.get_rank(), resource.getrlimit(resource.RLIMIT_FSIZE)
    if rank == limited:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
    try:
        mine = {name: tensor for number, (name, tensor) in enumerate(TENSORS.items()) if number % 2 == rank}
        return checkpoint.save(Path(root), step, mine, {"tokens": step}, {}, rank=rank, gather=gather).name
    except OSError as error:
        return str(error)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("limited", [0, 1])
def test_a_disk_that_refuses_one_rank_is_told_to_all_and_the_earlier_checkpoint_stands(
    tmp_path: Path, two_ranks: Ranks, limited: int
) -> None:
    assert two_ranks(full_disk_on, -1, str(tmp_path), 100) == ["step-00000100"] * 2
    said = two_ranks(full_disk_on, limited, str(tmp_path), 200)
    assert all("File too large" in told for told in said), said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000100"]
    assert checkpoint.load(tmp_path / "step-00000100").step == 100
    assert two_ranks(full_disk_on, -1, str(tmp_path), 200) == ["step-00000200"] * 2


def silent_full_disk(root: str) -> str:
    """As `full_disk_on(1, ...)`, but the rank that is refused goes on as if it had nothing to write."""

    def swallowing(gather: checkpoint.Gather, act: Callable[[], object]) -> list[object]:
        try:
            mine = act()
        except OSError:
            mine = {}
        return gather(mine)

    with mock.patch.object(checkpoint, "_together", swallowing):
        return full_disk_on(1, root, 200)


def test_a_rank_that_keeps_its_refusal_to_itself_commits_a_checkpoint_that_does_not_verify(
    tmp_path: Path, two_ranks: Ranks
) -> None:
    assert two_ranks(silent_full_disk, str(tmp_path)) == ["step-00000200"] * 2
    with pytest.raises(IntegrityError, match=r"not in the manifest: \['tensors-00001-of-00002"):
        checkpoint.verify(tmp_path / "step-00000200")


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
