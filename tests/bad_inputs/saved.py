"""Rows 49 to 58: checkpoints, models, archives."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors.numpy

from bad_inputs.project import CANARY, Case, Outcome, Project

STEP = "step-00000002"


class Payload:
    """What a pickle runs when it is read."""

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, (f"touch {CANARY}",))


def checkpoint(spoil: Callable[[Path], object]) -> Callable[[Project], Outcome]:
    """The run's one checkpoint, spoilt, before `checkpoint verify`."""

    def act(project: Project) -> Outcome:
        run = project.trained()
        spoil(run / "checkpoints" / STEP)
        return project.run("checkpoint", "verify", str(run.relative_to(project.folder)))

    return act


def resumed(spoil: Callable[[Path], object]) -> Callable[[Project], Outcome]:
    """The run's one checkpoint, spoilt with a manifest that fits, before a resume."""

    def act(project: Project) -> Outcome:
        run = project.trained()
        (run / "result.json").unlink()
        folder = run / "checkpoints" / STEP
        spoil(folder)
        commit(folder)
        return project.run("train", "recipes/r.yaml", "--in-process", "--resume", run.name)

    return act


def model(spoil: Callable[[Path], object], *, fits: bool = True) -> Callable[[Project], Outcome]:
    """The run's model, spoilt; fits: its manifest says so too, as an attacker's would."""

    def act(project: Project) -> Outcome:
        folder = project.trained() / "model"
        spoil(folder)
        if fits:
            manifest = json.loads((folder / "manifest.json").read_text())
            found = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "manifest.json"]
            manifest["files"] = {str(path.relative_to(folder)): entry(path) for path in found}
            (folder / "manifest.json").write_text(json.dumps(manifest))
        project.write("rows.txt", "red blue\n")
        return project.run("predict", str(folder.relative_to(project.folder)), "rows.txt", "--task", "one")

    return act


def entry(path: Path) -> dict[str, object]:
    return {"size": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def commit(folder: Path, **values: object) -> None:
    """Manifest and COMMIT of what is in the folder now."""
    manifest = json.loads((folder / "manifest.json").read_text()) | values
    names = sorted(path.name for path in folder.iterdir() if path.name not in ("manifest.json", "COMMIT"))
    manifest["files"] = {name: entry(folder / name) for name in names}
    raw = json.dumps(manifest).encode()
    (folder / "manifest.json").write_bytes(raw)
    (folder / "COMMIT").write_text(hashlib.sha256(raw).hexdigest())


def shard(folder: Path) -> Path:
    return next(folder.glob("*.safetensors"))


def tensors(change: Callable[[dict[str, np.ndarray]], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        held = dict(safetensors.numpy.load_file(shard(folder)))
        change(held)
        safetensors.numpy.save_file(held, shard(folder))

    return spoil


def header(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """The bytes of a safetensors file, changed: of a checkpoint's shard, or a model's head."""

    def spoil(folder: Path) -> None:
        path = next(folder.rglob("*.safetensors"))
        path.write_bytes(change(path.read_bytes()))

    return spoil


def key_twice(content: bytes) -> bytes:
    (size,) = struct.unpack("<Q", content[:8])
    text = content[8 : 8 + size].decode().rstrip()
    first = json.dumps(next(key for key in json.loads(text) if key != "__metadata__"))
    place = text.index(first)
    stop = text.index("}", place) + 1
    text = text[:stop] + "," + text[place:stop] + text[stop:]
    raw = text.encode() + b" " * (-len(text.encode()) % 8)
    return struct.pack("<Q", len(raw)) + raw + content[8 + size :]


def first_param(held: dict[str, np.ndarray]) -> str:
    return next(name for name in held if name.startswith("param/"))


def link(folder: Path) -> None:
    target = folder.parent / "aside"
    (folder / "recipe.yaml").rename(target)
    (folder / "recipe.yaml").symlink_to(target)


def hard_link(folder: Path) -> None:
    os.link(folder / "recipe.yaml", folder / "another")


def pickled(folder: Path) -> None:
    for name in (".metadata", "model.pt", "optimizer.bin", "rng.pth"):
        (folder / name).write_bytes(pickle.dumps(Payload()))


def state_step(folder: Path) -> None:
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(state | {"step": 1}))


def nan(held: dict[str, np.ndarray]) -> None:
    held[first_param(held)].flat[0] = np.nan


def shape(held: dict[str, np.ndarray]) -> None:
    held[first_param(held)] = np.zeros((3,), np.float32)


def code(folder: Path) -> None:
    config = folder / "trunk" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"auto_map": {"AutoModel": "evil.Model"}}))
    (folder / "trunk" / "evil.py").write_text(f"open({CANARY!r}, 'w').close()\n")


def labels(folder: Path) -> None:
    card = folder / "heads" / "one" / "card.yaml"
    card.write_text(card.read_text().replace("warm, cold", "warm, cold, hot"))


def archive(make: Callable[[zipfile.ZipFile], object]) -> Callable[[Project], Outcome]:
    """A member of a zip archive as the training data."""

    def act(project: Project) -> Outcome:
        with zipfile.ZipFile(project.folder / "tasks/one/rows.zip", "w", zipfile.ZIP_DEFLATED) as opened:
            make(opened)
        project.card("inputs: [text]\ntarget: label\nhead: {kind: classification, labels: [warm, cold]}", ARCHIVED)
        return project.run("train", "recipes/r.yaml", "--in-process")

    return act


def zeros(opened: zipfile.ZipFile) -> None:
    """300 MiB of zeros in 300 kB: one line, were it read."""
    with opened.open("rows.jsonl", "w", force_zip64=True) as member:
        for _ in range(300):
            member.write(bytes(1 << 20))


ARCHIVED = "format: jsonl, train: 'rows.zip!*.jsonl'"
MANIFEST = "manifest.json"
CASES = [
    Case(49, "no run folder", lambda p: p.run("checkpoint", "verify", "outputs/none"), 2, r"no run folder"),
    Case(49, "no such run", lambda p: p.run("train", "recipes/r.yaml", "--resume", "r-1"), 2, r"no run 'r-1'"),
    Case(49, "a checkpoint without COMMIT", checkpoint(lambda f: (f / "COMMIT").unlink()), 0, r"no checkpoint yet"),
    Case(50, "no manifest", checkpoint(lambda f: (f / MANIFEST).unlink()), 5, r"manifest\.json can not be read"),
    Case(50, "a manifest that is no JSON", checkpoint(lambda f: (f / MANIFEST).write_text("{")), 5, r"manifest\.json can not be"),
    Case(50, "a file more", checkpoint(lambda f: (f / "evil.pt").write_bytes(b"x")), 5, r"not in the manifest: \['evil\.pt'\]"),
    Case(50, "a file less", checkpoint(lambda f: (f / "recipe.yaml").unlink()), 5, r"missing files: \['recipe\.yaml'\]"),
    Case(50, "a file of another size", checkpoint(lambda f: (f / "recipe.yaml").write_text("x")), 5, r"recipe\.yaml has 1 bytes"),
    Case(50, "a bit flipped", checkpoint(header(lambda b: b[:-1] + bytes([b[-1] ^ 1]))), 5, r"does not have the SHA-256"),
    Case(51, "a shard cut short", resumed(header(lambda b: b[:-9])), 5, r"tensors-0.* is no safetensors file"),
    Case(51, "a header of 2^60 bytes", resumed(header(lambda b: struct.pack("<Q", 1 << 60) + b[8:])), 5, r"is no safetensors"),
    Case(51, "bytes behind the end", resumed(header(lambda b: b + b"more")), 5, r"is no safetensors file"),
    Case(51, "a header that is no JSON", resumed(header(lambda b: b[:8] + b"x" + b[9:])), 5, r"is no safetensors file"),
    Case(51, "a key twice", resumed(header(key_twice)), 5, r"is no safetensors file"),
    Case(51, "a tensor less", resumed(tensors(lambda t: t.pop(first_param(t)))), 5, r"(?i)missing"),
    Case(51, "a tensor more", resumed(tensors(lambda t: t.update({"param/evil": np.zeros(1, np.float32)}))), 5, r"evil"),
    Case(51, "a tensor of another shape", resumed(tensors(shape)), 5, r"shape|size"),
    Case(51, "a head cut short", model(header(lambda b: b[:-9])), 5, r"safetensors"),
    Case(52, "pickles in a checkpoint", checkpoint(pickled), 5, r"not in the manifest: \['\.metadata'"),
    Case(52, "pickles that the manifest names", resumed(pickled), 5, r"\.metadata"),
    Case(52, "pickles in a model", model(pickled, fits=False), 5, r"extra files"),
    Case(53, "a link out of the folder", checkpoint(link), 5, r"recipe\.yaml is a link"),
    Case(53, "a hard link", checkpoint(hard_link), 5, r"not in the manifest: \['another'\]"),
    Case(54, "an archive of 300 MiB of zeros", archive(zeros), 4, r"rows\.zip!rows\.jsonl: unpacks to .* times its size"),
    Case(54, "members with .. and absolute", archive(lambda z: z.writestr("../../evil.jsonl", "x")), 4, r"rows\.zip"),
    Case(55, "another label set", model(labels), 5, r"head\.safetensors does not fit its card"),
    Case(56, "a checkpoint of the future", checkpoint(lambda f: commit(f, schema_version=99)), 5, r"newer trunkline"),
    Case(57, "a trunk that brings code", model(code), 5, r"brings code"),
    Case(58, "a step that is not the folder's", checkpoint(lambda f: commit(f, step=1)), 5, r"step 1 differ"),
    Case(58, "a state of another step", resumed(state_step), 5, r"state\.json.*step 1"),
    Case(58, "weights that are NaN", resumed(tensors(nan)), 5, r"not finite"),
]
