"""Runs of a small project to be harmed: forked from one process that has imported everything, so that each costs a second."""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import pty
import shutil
import signal
import sys
import tempfile
import termios
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from small_project import write_project
from trunkline import checkpoint

Spoil = Callable[[], None]
STEPS = 20
PATIENCE_S = 240.0


@dataclass
class Child:
    """A forked process. spoken: where what it says goes; master: the other end of its terminal, if it has one."""

    pid: int
    spoken: Path
    master: int | None = None
    code: int | None = None

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Its exit code, -N after signal N. Raises AssertionError if it does not end in time, and ends it."""
        deadline = time.monotonic() + timeout_s
        while self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > deadline:
                self.kill(signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise AssertionError(f"did not end within {timeout_s:g} s: {self.said[-300:]}")
            else:
                time.sleep(0.01)
                self._drain()
        return self.code

    def kill(self, number: int) -> None:
        os.kill(self.pid, number)

    def type(self, text: bytes) -> None:
        """At its terminal."""
        assert self.master is not None
        os.write(self.master, text)

    def _drain(self) -> None:
        """What it wrote to its terminal; a full one would stop it."""
        if self.master is not None:
            try:
                with self.spoken.open("ab") as file:
                    file.write(os.read(self.master, 65536))
            except OSError:
                return

    @property
    def said(self) -> str:
        self._drain()
        return self.spoken.read_text(errors="replace")


def fork(act: Callable[[], int], spoken: Path, *, terminal: bool = False) -> Child:
    """`act` in a process of its own, with a terminal of its own if asked; its return value is the exit code."""
    master, slave = pty.openpty() if terminal else (None, None)
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            if slave is None:
                slave = os.open(spoken, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            else:
                os.setsid()
                fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            os.dup2(slave, 1)
            os.dup2(slave, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w", 1, closefd=False), os.fdopen(2, "w", 1, closefd=False)
            code = act()
        except BaseException:
            traceback.print_exc()
        finally:
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)  # whatever happens: above are the parent's own endings
    if slave is not None:
        os.close(slave)
    if master is not None:
        os.set_blocking(master, False)
    spoken.touch()
    return Child(pid, spoken, master)


@dataclass
class Lab:
    """One project. clean: the run folder of a run nothing happened to."""

    folder: Path
    clean: Path | None = None
    children: list[Child] = field(default_factory=list)

    @classmethod
    def open(cls, clean: Path | None = None) -> Lab:
        """A fresh project; with `clean`, whose rows are tokenised already, a copy of that project without its runs."""
        folder = Path(tempfile.mkdtemp(prefix="flt", dir="/tmp"))
        if clean is None:
            write_project(folder)
        else:
            source = clean.parent.parent
            shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("outputs"))
        return cls(folder, clean)

    @property
    def recipe(self) -> Path:
        return self.folder / "recipes" / "small.yaml"

    @property
    def run(self) -> Path:
        """The run folder of the project's only run."""
        (found,) = (self.folder / "outputs").iterdir()
        return found

    def train(
        self,
        *words: str,
        spoil: Spoil | None = None,
        env: dict[str, str] | None = None,
        terminal: bool = False,
        ray: bool = False,
    ) -> Child:
        """`trunkline train` of the recipe. spoil: called in the process first."""
        from trunkline.cli.app import main

        arguments = ["train", str(self.recipe), *(() if ray else ("--in-process",)), *words]

        def act() -> int:
            os.environ.update(env or {})
            os.chdir(self.folder)
            if spoil is not None:
                spoil()
            return main(arguments)

        return self._fork(act, terminal)

    def ranks(self, run: Path, world: int, spoil: Callable[[int], None] | None = None) -> list[Child]:
        """The run's workers as `world` processes without Ray, over gloo. spoil: called with the rank in each first."""
        store = Path(tempfile.mkdtemp(dir=self.folder)) / "store"
        return [self._fork(lambda rank=rank: _rank(run, rank, world, store, spoil), False) for rank in range(world)]

    def prepared(self, *overrides: str) -> Path:
        """A run folder that is ready for its workers."""
        from trunkline.config.recipe import load_recipe
        from trunkline.launch.local import _prepared

        recipe = load_recipe(self.recipe, overrides)
        return _prepared(recipe, self.recipe, overrides, self.folder / "outputs", lambda _: None, None).path

    def step(self, at_least: int, child: Child) -> float:
        """Waits until a step was logged; the time then."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            for run in (self.folder / "outputs").glob("*"):
                if any(record.get("step", 0) >= at_least for record in records(run, "metrics.jsonl")):
                    return time.time()
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                child.code = os.waitstatus_to_exitcode(status)
                raise AssertionError(f"ended with {child.code} before step {at_least}: {child.said[-500:]}")
            time.sleep(0.002)
        raise AssertionError(f"no step {at_least}")

    def close(self) -> None:
        for child in self.children:
            if child.code is None:
                try:
                    child.kill(signal.SIGKILL)
                    os.waitpid(child.pid, 0)
                except (ProcessLookupError, ChildProcessError):
                    continue
        shutil.rmtree(self.folder, ignore_errors=True)

    def _fork(self, act: Callable[[], int], terminal: bool) -> Child:
        child = fork(act, self.folder / f"said-{len(self.children)}", terminal=terminal)
        self.children.append(child)
        return child


def _rank(run: Path, rank: int, world: int, store: Path, spoil: Callable[[int], None] | None) -> int:
    from trunkline.errors import TrunklineError
    from trunkline.launch.signals import ASKED, TRAINING, listen
    from trunkline.launch.worker import work

    os.environ |= {"LOCAL_RANK": str(rank), "LOCAL_SIZE": str(world), "RANK": str(rank), "WORLD_SIZE": str(world)}
    patience = datetime.timedelta(seconds=120)
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world, timeout=patience)
    listen()
    TRAINING.set()
    if spoil is not None:
        spoil(rank)
    try:
        work({"run": str(run), "cpus": 1}, ASKED.is_set)
    except TrunklineError as error:
        print(f"error: {error}")
        return error.exit_code
    return 0


def records(run: Path, name: str) -> list[dict[str, Any]]:
    """The whole lines of metrics.jsonl or another."""
    path = run / name
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def events(run: Path, name: str) -> list[dict[str, Any]]:
    return [event for event in records(run, "events.jsonl") if event["event"] == name]


def steps_logged(run: Path) -> list[int]:
    return [record["step"] for record in records(run, "metrics.jsonl") if "train/lr" in record]


def at_steps(acts: dict[int, Callable[[Any], None]]) -> None:
    """In a worker's process: before step N is trained on, `acts[N]` is called with the Worker."""
    from trunkline.launch.worker import Worker

    plain = Worker._record

    def record(self: Worker, packs: Any) -> None:
        plain(self, packs)
        if packs.step in acts:
            acts[packs.step](self)

    Worker._record = record


def weights(run: Path) -> dict[str, torch.Tensor]:
    restored, _ = checkpoint.newest(run / "checkpoints")
    assert restored is not None, "no checkpoint"
    return restored.tensors


def equal(run: Path, other: Path) -> bool:
    """Whether two runs end with the same parameters, moments and step counts, bit for bit."""
    mine, theirs = weights(run), weights(other)
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in theirs)


def largest_difference(run: Path, other: Path) -> float:
    mine, theirs = weights(run), weights(other)
    return max(float((mine[name] - theirs[name]).abs().max()) for name in theirs if name.startswith("param/"))


def words(*settings: str) -> Sequence[str]:
    return [word for setting in settings for word in ("-s", setting)]
