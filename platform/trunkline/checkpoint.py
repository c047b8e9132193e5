"""The commit protocol: a checkpoint is whole or invisible, verified by hash before anything in it is used, and no pickle.

    checkpoints/step-00000400/
        tensors-00000-of-00002.safetensors   each rank's share, keyed by name
        state.json  recipe.yaml  ...         JSON and text
        manifest.json                        size and SHA-256 of every file
        COMMIT                               SHA-256 of the manifest, written last

Written under a temporary name, every file fsynced, the folder renamed, then COMMIT. Without COMMIT nothing is there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from trunkline import durable
from trunkline.errors import IntegrityError

SCHEMA_VERSION = 1
COMMIT, MANIFEST, STATE = "COMMIT", "manifest.json", "state.json"
KINDS = (".safetensors", ".json", ".yaml")  # of files in a checkpoint; any other could be meant to run
Gather = Callable[[Any], list[Any]]


@dataclass(frozen=True)
class Restored:
    """What a verified checkpoint holds."""

    path: Path
    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


@dataclass(frozen=True)
class PassedOver:
    """A checkpoint that does not verify, and why."""

    path: Path
    reason: str


def shares(sizes: Mapping[str, int], world: int) -> dict[str, int]:
    """Which rank writes which name: largest first to the rank with the least, alike on every rank."""
    load = [0] * world
    owner: dict[str, int] = {}
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        owner[name] = min(range(world), key=lambda rank: (load[rank], rank))
        load[owner[name]] += sizes[name]
    return owner


def save(
    root: Path,
    step: int,
    tensors: Mapping[str, Tensor],
    state: Mapping[str, Any],
    files: Mapping[str, str],
    *,
    rank: int,
    gather: Gather,
) -> Path:
    """Collective. Writes this rank's `tensors`; rank 0 adds `state`, `files`, manifest and COMMIT. Returns the folder.

    gather: all ranks' values of an object, in rank order; also the barrier. Raises OSError on every rank when the disk refuses
    one of them; the earlier checkpoints stand as they were, and what was begun is removed.
    """
    final = root / name_of(step)
    folder = root / f".{final.name}.tmp"

    def begin() -> None:
        if rank == 0:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)

    def share(world: int) -> dict[str, Any]:
        durable.crash_point("checkpoint.before_shard")
        shard = f"tensors-{rank:05d}-of-{world:05d}.safetensors"
        contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
        return {shard: _write(folder / shard, safetensors.torch.save(contiguous))}

    def commit(written: list[dict[str, Any]]) -> None:
        if rank == 0:
            entries = {name: entry for part in written for name, entry in part.items()}
            _commit(folder, final, entries, {**state, "schema_version": SCHEMA_VERSION, "step": step}, files)

    try:
        world = len(_together(gather, begin))
        written = _together(gather, lambda: share(world))
        _together(gather, lambda: commit(written))
    except OSError:
        if rank == 0:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return final


def _together(gather: Gather, act: Callable[[], Any]) -> list[Any]:
    """All ranks' results of `act`. An OSError of one is raised on all of them, so that none waits for another in vain."""
    try:
        mine: tuple[Any, OSError | None] = act(), None
    except OSError as error:
        mine = None, error
    found = gather(mine)
    refused = next((error for _, error in found if error is not None), None)
    if refused is not None:
        raise refused
    return [value for value, _ in found]


def _commit(folder: Path, final: Path, entries: dict[str, Any], state: Mapping[str, Any], files: Mapping[str, str]) -> None:
    texts = {**files, STATE: json.dumps(state, indent=1, sort_keys=True)}
    entries = entries | {name: _write(folder / name, text.encode()) for name, text in texts.items()}
    durable.crash_point("checkpoint.before_manifest")
    document = {"schema_version": SCHEMA_VERSION, "step": state["step"], "files": entries}
    manifest = json.dumps(document, indent=1, sort_keys=True).encode()
    _write(folder / MANIFEST, manifest)
    durable.crash_point("checkpoint.after_manifest")
    durable.sync(folder)
    shutil.rmtree(final, ignore_errors=True)  # an uncommitted or damaged one of the same step
    os.rename(folder, final)
    durable.sync(final.parent)
    durable.crash_point("checkpoint.after_rename")
    _write(final / COMMIT, hashlib.sha256(manifest).hexdigest().encode())
    durable.sync(final)
    durable.crash_point("checkpoint.after_commit")


def committed(root: Path) -> list[Path]:
    """Folders with a COMMIT, newest step first; what is in them is not verified yet."""
    found = [path for path in root.glob("step-*") if (path / COMMIT).is_file()]
    return sorted(found, key=lambda path: path.name, reverse=True)


def verify(path: Path) -> dict[str, Any]:
    """The manifest, once every file has its size and SHA-256 and no file is missing or extra. Raises IntegrityError."""
    where = str(path)
    if not path.is_dir():
        known = ", ".join(other.name for other in committed(path.parent)) or "none"
        raise IntegrityError(f"no checkpoint here. Committed ones beside it: {known}.", where=where)
    if not (path / COMMIT).is_file():
        raise IntegrityError("COMMIT is missing: this checkpoint was never finished.", where=where)
    try:
        raw = (path / MANIFEST).read_bytes()
        manifest = _well_formed(json.loads(raw))
        entries, version, step = manifest["files"], manifest["schema_version"], manifest["step"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IntegrityError(f"{MANIFEST} can not be read: {error}.", where=where) from error
    if (path / COMMIT).read_bytes().strip() != hashlib.sha256(raw).hexdigest().encode():
        raise IntegrityError(f"{MANIFEST} is not the one that was committed.", where=where)
    if version > SCHEMA_VERSION:
        raise IntegrityError(
            f"written by a newer trunkline (schema {version}, this one reads {SCHEMA_VERSION}). Upgrade.", where=where
        )
    if name_of(step) != path.name:
        raise IntegrityError(f"the folder's name and its step {step} differ.", where=where)
    present = {item.name for item in path.iterdir()} - {COMMIT, MANIFEST}
    if present != set(entries):
        missing, extra = sorted(set(entries) - present), sorted(present - set(entries))
        raise IntegrityError(f"missing files: {missing or 'none'}; files not in the manifest: {extra or 'none'}.", where=where)
    for name, entry in entries.items():
        if not name.endswith(KINDS):
            raise IntegrityError(f"{name} is of no kind that belongs into a checkpoint ({', '.join(KINDS)}).", where=where)
        _check(path / name, entry)
    return manifest


def _well_formed(manifest: Any) -> dict[str, Any]:
    """Raises TypeError or ValueError unless every value is of its type and every file one of the folder's own."""
    if type(manifest["schema_version"]) is not int or type(manifest["step"]) is not int or manifest["step"] < 0:
        raise TypeError("schema_version and step are whole numbers")
    for name, entry in manifest["files"].items():
        if type(entry["size"]) is not int or type(entry["sha256"]) is not str:
            raise TypeError(f"size and sha256 of {name!r} are a whole number and text")
        if Path(name).name != name or name in (COMMIT, MANIFEST):
            raise ValueError(f"{name!r} is no file of this folder")
    found: dict[str, Any] = manifest
    return found


def load(path: Path) -> Restored:
    """A verified checkpoint's tensors and state. Raises IntegrityError, also for weights that are no numbers."""
    manifest = verify(path)
    tensors: dict[str, Tensor] = {}
    for name in sorted(manifest["files"]):
        if name.endswith(".safetensors"):
            try:
                _refuse_double(path / name)
                tensors |= safetensors.torch.load_file(path / name)
            except (SafetensorError, ValueError, RecursionError) as error:
                raise IntegrityError(f"{name} is no safetensors file: {error}.", where=str(path)) from error
    step = int(manifest["step"])
    try:
        state = json.loads((path / STATE).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise IntegrityError(f"{STATE} can not be read: {error}.", where=str(path)) from error
    if not isinstance(state, dict):
        raise IntegrityError(f"{STATE} holds no keys and values.", where=str(path))
    if state.get("step") != step:
        raise IntegrityError(f"{STATE} is of step {state.get('step')}, the manifest of step {step}.", where=str(path))
    spoilt = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if spoilt:
        raise IntegrityError(f"{len(spoilt)} tensors are not finite, first {spoilt[0]}.", where=str(path))
    return Restored(path, step, tensors, state)


def _refuse_double(path: Path) -> None:
    """Raises ValueError if a safetensors header names a tensor twice: readers differ in which one they take."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size <= path.stat().st_size:
            json.loads(file.read(size), object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("its header names something twice")
    return found


def newest(root: Path, last: int | None = None) -> tuple[Restored | None, list[PassedOver]]:
    """The newest checkpoint, of step `last` at most, that verifies, and those passed over on the way to it with the reason."""
    passed: list[PassedOver] = []
    for path in (path for path in committed(root) if last is None or path.name <= name_of(last)):
        try:
            return load(path), passed
        except IntegrityError as error:
            passed.append(PassedOver(path, str(error)))
    return None, passed


def prune(root: Path, keep_last: int, keep: Iterable[int] = ()) -> list[Path]:
    """Deletes all but the newest `keep_last` committed checkpoints and the steps in `keep`; COMMIT goes first. Returns them."""
    wanted = {name_of(step) for step in keep}
    gone = [path for path in committed(root)[max(1, keep_last) :] if path.name not in wanted]
    for path in gone:
        (path / COMMIT).unlink()
        durable.crash_point("checkpoint.during_prune")
        shutil.rmtree(path)
    return gone


def tidy(root: Path) -> list[Path]:
    """Removes what a killed save or prune left behind, which counts for nothing. Only while nobody saves. Returns it."""
    left = [path for path in (*root.glob(".step-*.tmp"), *root.glob("step-*")) if not (path / COMMIT).is_file()]
    for path in left:
        shutil.rmtree(path)
    return left


def name_of(step: int) -> str:
    return f"step-{step:08d}"


def _write(path: Path, content: bytes) -> dict[str, Any]:
    durable.write(path, content)
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _check(path: Path, entry: Mapping[str, Any]) -> None:
    if path.is_symlink() or not path.is_file():
        raise IntegrityError(f"{path.name} is a link or no plain file.", where=str(path.parent))
    if path.stat().st_size != entry["size"]:
        raise IntegrityError(
            f"{path.name} has {path.stat().st_size} bytes, the manifest says {entry['size']}.", where=str(path.parent)
        )
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != entry["sha256"]:
            raise IntegrityError(f"{path.name} does not have the SHA-256 of the manifest: it is damaged.", where=str(path.parent))
