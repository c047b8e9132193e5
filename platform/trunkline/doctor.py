"""Whether this machine can train: versions, devices, collectives, memory, disk. Each check is a function; it says what it saw."""

from __future__ import annotations

import os
import re
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

GIB = 2**30
SHARED_MEMORY = 128 * 2**20  # Ray's object store in an embedded run, and a little
OPEN_FILES = 1024
SLOW_SYNC_S, SKEW_S, PATIENCE_S = 1.0, 5.0, 180
STEPS = 5


@dataclass(frozen=True)
class Finding:
    """state: ok, warning (training works, but) or failure. advice: what to do about it."""

    check: str
    state: str
    seen: str
    advice: str = ""


def examine(folder: Path, *, deep: bool = False) -> Iterator[Finding]:
    """Every check in turn. folder: where runs would be written. deep: trains a few steps, kills that run and resumes it."""
    checks: list[Callable[[], Finding]] = [
        packages,
        devices,
        shared_memory,
        open_files,
        lambda: room(folder),
        lambda: storage(folder),
        credentials,
        collectives,
    ]
    for check in [*checks, training] if deep else checks:
        yield check()


def packages() -> Finding:
    """What trunkline requires against what is installed."""
    from packaging.requirements import Requirement

    try:
        stated = [Requirement(line) for line in metadata.requires("trunkline") or []]
    except metadata.PackageNotFoundError:
        return Finding("packages", "warning", "trunkline itself is not installed", "pip install it, or run make install.")
    wrong = []
    for need in stated:
        if need.marker and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(need.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{need.name} is missing")
            continue
        if not need.specifier.contains(found, prereleases=True):
            wrong.append(f"{need.name} is {found}, not {need.specifier}")
    if wrong:
        return Finding("packages", "failure", "; ".join(wrong), "pip install -c constraints.txt trunkline, or make install.")
    names = ("torch", "deepspeed", "ray", "transformers")
    return Finding("packages", "ok", ", ".join(f"{name} {metadata.version(name)}" for name in names))


def devices() -> Finding:
    import torch

    cores = len(os.sched_getaffinity(0))
    if not torch.cuda.is_available():
        return Finding("devices", "ok", f"no GPU, {cores} CPU cores: bf16 is slow here, engine.precision auto takes float32")
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    if not torch.distributed.is_nccl_available():
        return Finding("devices", "failure", f"{len(names)} GPU without NCCL", "Install a CUDA build of torch.")
    return Finding("devices", "ok", f"{len(names)} GPU ({', '.join(sorted(set(names)))}), {cores} CPU cores")


def shared_memory() -> Finding:
    place = Path("/dev/shm")
    if not place.is_dir():
        return Finding("shared memory", "warning", "no /dev/shm", "Ray will use files: slow. In a container: --shm-size.")
    free = shutil.disk_usage(place).free
    seen = f"{free / GIB:.1f} GiB free in /dev/shm"
    if free < SHARED_MEMORY:
        return Finding("shared memory", "failure", seen, "Ray needs 0.1 GiB. In a container: --shm-size=1g.")
    return Finding("shared memory", "ok", seen)


def open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    seen = f"{soft} open files allowed"
    if soft < OPEN_FILES:
        return Finding("limits", "warning", seen, f"Ray opens many: ulimit -n {OPEN_FILES} (at most {hard} here).")
    return Finding("limits", "ok", seen)


def room(folder: Path) -> Finding:
    """A checkpoint is three float32 copies of the model; two and the best are kept."""
    there = _existing(folder)
    free = shutil.disk_usage(there).free
    seen = f"{free / GIB:.0f} GiB free in {there}"
    if free < GIB:
        return Finding("disk", "warning", seen, "A checkpoint is 12 bytes a parameter, three are kept: BERT-base needs 4 GiB.")
    return Finding("disk", "ok", seen)


def storage(folder: Path) -> Finding:
    """Checkpoints rest on fsync and rename, and on files that are as old as they say."""
    there = _existing(folder)
    try:
        with tempfile.TemporaryDirectory(dir=there, prefix=".doctor") as inside:
            file, before = Path(inside) / "a", time.time()
            with file.open("wb") as out:
                out.write(os.urandom(2**20))
                out.flush()
                os.fsync(out.fileno())
            file.rename(Path(inside) / "b")
            took = time.time() - before
            skew = (Path(inside) / "b").stat().st_mtime - time.time()
    except OSError as error:
        advice = "Choose another folder with --outputs, or mend its rights."
        return Finding("storage", "failure", f"{there}: {error.strerror}", advice)
    seen = f"1 MiB synced and renamed in {took:.2f} s"
    if abs(skew) > SKEW_S:
        return Finding(
            "storage", "warning", f"{seen}, its clock {skew:+.0f} s off", "Set the clocks of this machine and its storage."
        )
    if took > SLOW_SYNC_S:
        return Finding("storage", "warning", seen, "Slow: save less often (train.save_every), or on a nearer disk.")
    return Finding("storage", "ok", seen)


def credentials() -> Finding:
    """Files with tokens that others can read."""
    home = Path.home()
    files = [home / ".netrc", home / ".ray" / "auth_token", home / ".cache" / "huggingface" / "token"]
    files += [Path(os.environ[name]) for name in ("RAY_AUTH_TOKEN_PATH", "NETRC") if os.environ.get(name)]
    there = [file for file in files if file.is_file()]
    loose = [str(file) for file in there if stat.S_IMODE(file.stat().st_mode) & 0o077]
    if loose:
        return Finding("credentials", "warning", f"others can read {', '.join(loose)}", f"chmod 600 {' '.join(loose)}")
    key = (
        "a W&B key is set" if os.environ.get("WANDB_API_KEY") or (home / ".netrc").is_file() else "no W&B key: offline runs only"
    )
    return Finding("credentials", "ok", f"{key}; {len(there)} token files, none readable by others")


PAIR = """
import datetime, sys, torch
rank, store = int(sys.argv[1]), sys.argv[2]
wait = datetime.timedelta(seconds=60)
torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=wait)
value = torch.tensor([float(rank + 1)])
torch.distributed.all_reduce(value)
torch.distributed.barrier()
torch.distributed.destroy_process_group()  # its threads would be cut off by the interpreter's end, now and then aloud
sys.exit(0 if value.item() == 3.0 else "1 + 2 gave " + str(value.item()))
"""


def collectives() -> Finding:
    """Two processes on this machine add 1 and 2."""
    advice = "Name the network interface of loopback: GLOO_SOCKET_IFNAME=lo, or let the firewall pass it."
    with tempfile.TemporaryDirectory(prefix="doctor") as folder:
        commands = [[sys.executable, "-c", PAIR, str(rank), f"{folder}/store"] for rank in (0, 1)]
        pair = [subprocess.Popen(c, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for c in commands]
        try:
            said = [process.communicate(timeout=PATIENCE_S)[1] for process in pair]
        except subprocess.TimeoutExpired:
            return Finding("collectives", "failure", f"two processes did not find each other in {PATIENCE_S} s", advice)
        finally:
            for process in pair:
                process.kill()
    if any(process.returncode for process in pair):
        last = next((text.strip().splitlines()[-1] for text in said if text.strip()), "no word")
        return Finding("collectives", "failure", last, advice)
    return Finding("collectives", "ok", "two processes summed over gloo")


def training() -> Finding:
    """A new project trains, is killed in its last step but one, and resumes to the end."""
    with tempfile.TemporaryDirectory(prefix="doctor") as folder:
        project = Path(folder) / "project"
        settings = (f"train.steps={STEPS}", "train.save_every=2", "workers.count=0")
        recipe = str(project / "recipes" / "first.yaml")
        train = ["train", recipe, *(word for setting in settings for word in ("-s", setting))]
        killed = {**os.environ, "TRUNKLINE_CRASH_AT": f"worker.in_step:{STEPS - 1}"}
        ends = [_trunkline("init", str(project)), _trunkline(*train, environment=killed), _trunkline("train", recipe, "--resume")]
    codes = [end.returncode for end in ends]
    if codes[0] or codes[2]:
        said = (ends[0].stderr or "") + (ends[2].stderr or "")
        last = re.sub(r"\s+", " ", said.strip())[-300:]
        return Finding("training", "failure", last, "Run `trunkline init` and train its recipe to see the whole message.")
    return Finding("training", "ok", f"{STEPS} steps trained, killed at step {STEPS - 1} and resumed")


def _trunkline(*words: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trunkline", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    there = folder.absolute()
    while not there.is_dir():
        there = there.parent
    return there
