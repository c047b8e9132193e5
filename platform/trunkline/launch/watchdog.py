"""A rank that makes no progress is found, the stacks of all ranks are kept, and the one the others wait for is named.

Gloo has no such watch, and NCCL's tells which collective was late but not where the late rank stood.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from trunkline import durable
from trunkline.errors import Hung

POLL_S = 1.0
WAITING = ("torch/distributed/", "deepspeed/comm/")  # whose innermost frame lies here waits for other ranks
OURS = "trunkline/"


class Watchdog:
    """Watches the thread that makes it. Without `alive` for `limit_s` the process ends with exit code 8 and leaves, in `folder`,
    rank-00000.txt (the stacks of all its threads) and rank-00000.json (what it was doing, where, and whether it waited).

    Time in which the whole process stood still (a suspended machine) does not count.
    """

    def __init__(self, folder: Path, rank: int, limit_s: float) -> None:
        self.folder, self.rank, self.limit_s = folder, rank, limit_s
        self._thread = threading.get_ident()
        self._doing, self._since = "the start", time.monotonic()
        self._over = threading.Event()

    def alive(self, doing: str) -> None:
        """Something was finished; now comes `doing`, such as "step 12"."""
        self._doing, self._since = doing, time.monotonic()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watches while the block runs."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        try:
            yield
        finally:
            self._over.set()

    def _watch(self) -> None:
        poll = min(POLL_S, self.limit_s / 4)
        before = time.monotonic()
        while not self._over.wait(poll):
            now = time.monotonic()
            if now - before > 10 * poll:
                self._since += now - before - poll
            before = now
            if now - self._since > self.limit_s:
                self._end()

    def _end(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"rank-{self.rank:05d}.txt").open("w") as file:
            faulthandler.dump_traceback(file)
        waits, stands = place(sys._current_frames()[self._thread])
        report = {"rank": self.rank, "doing": self._doing, "waits": waits, "stands": stands, "limit_s": self.limit_s}
        durable.replace(self.folder / f"rank-{self.rank:05d}.json", json.dumps(report))
        time.sleep(3 * POLL_S)  # the others find the same
        sys.stderr.write(f"error: {verdict(self.folder)}\n")
        sys.stderr.flush()
        os._exit(Hung.exit_code)


def place(frame: FrameType) -> tuple[bool, str]:
    """Whether a thread waits for other ranks, and the innermost frame of its own: `file:line function`."""
    waits = any(part in frame.f_code.co_filename for part in WAITING)
    inner: FrameType | None = frame
    while inner is not None and any(part in inner.f_code.co_filename for part in WAITING):
        inner = inner.f_back
    shown = inner or frame
    path = shown.f_code.co_filename
    return waits, f"{path[path.rfind(OURS) :] if OURS in path else path}:{shown.f_lineno} {shown.f_code.co_name}"


def verdict(folder: Path) -> str | None:
    """The sentence for what the ranks left in `folder`; None if they left nothing."""
    reports = [json.loads(path.read_text()) for path in sorted(folder.glob("rank-*.json"))]
    if not reports:
        return None
    stuck = [report for report in reports if not report["waits"]]
    if stuck:
        found = "; ".join(f"rank {report['rank']} stands in {report['stands']} ({report['doing']})" for report in stuck)
        waiting = [str(report["rank"]) for report in reports if report["waits"]]
        found += f", rank {', '.join(waiting)} waits for it" if waiting else ""
    else:
        ranks = ", ".join(str(report["rank"]) for report in reports)
        found = f"rank {ranks} waits for others ({reports[0]['doing']}), which left nothing: they are gone or stopped"
    limit = f"{reports[0]['limit_s']:g}"
    return f"no progress for {limit} s (train.hang_s): {found}. The stacks of all ranks are in {folder}."
