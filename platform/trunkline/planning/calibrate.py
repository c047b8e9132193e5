"""Twenty real steps: the first ten set the rate, the others say how wrong the prediction is."""

from __future__ import annotations

import ctypes
import gc
import resource
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from trunkline.build.assemble import assemble
from trunkline.build.memory import fitted
from trunkline.build.optimization import make_schedule
from trunkline.data.dealing import build_step
from trunkline.launch.held import Held
from trunkline.launch.local import alone
from trunkline.launch.worker import exact_on_threads
from trunkline.planning.hardware import Device, Links
from trunkline.planning.step import Job, calibrated, memory, seconds
from trunkline.training.optim import set_learning_rates
from trunkline.training.step import run_step

STEPS, FIRST, MEMORY_STEPS = 20, 10, 3
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Calibration:
    """Of one worker here. step_s: of each step, CPU seconds of the process on a CPU; predicted_s: of a later one.

    error_s: of the prediction beside the mean of the steps it did not see. predicted_bytes, measured_bytes: the peak over what
    was held before the model was there: resident memory on a CPU, while every block is given back at once; what the allocator
    gave out on a GPU. resident_bytes: the peak with what the C library keeps of freed blocks. device: at its own rate.
    """

    step_s: list[float]
    host_s: float
    predicted_s: float
    measured_s: float
    error_s: float
    predicted_bytes: float
    measured_bytes: float
    error_bytes: float
    resident_bytes: float
    device: Device


def calibrate(run: Path, job: Job, device: Device) -> Calibration:
    """Trains the first steps of a prepared run in this process, as its only worker, and throws them away.

    On a CPU the seconds are its own, so that other work on the machine does not count. Three steps before the twenty are for
    memory, and warm up.
    """
    with alone():
        taken, host, grown, resident = _steps(run)
    first, later = taken[:FIRST], taken[FIRST:]
    host_s = statistics.median(host[:FIRST])
    known = calibrated(device, job, statistics.median(first) - host_s)
    told = replace(seconds(job, known, Links(), 1), host=host_s)
    measured, held = statistics.fmean(later), memory(job, 1).peak
    return Calibration(
        step_s=taken,
        host_s=host_s,
        predicted_s=told.total,
        measured_s=measured,
        error_s=told.total / measured - 1,
        predicted_bytes=held,
        measured_bytes=grown,
        error_bytes=held / grown - 1,
        resident_bytes=resident,
        device=known,
    )


def _steps(run: Path) -> tuple[list[float], list[float], float, float]:
    """Seconds of each step and of its host's part, and the bytes by which memory grew from before the model to its peaks."""
    torch.set_num_threads(fitted(run).workers.cpus)
    if not torch.cuda.is_available():
        exact_on_threads()
    warm = _Trained(run)  # what is loaded and made once, by DeepSpeed above all, is no part of the model
    warm.step(1)
    warm.held.engine.close()
    del warm
    before = _settled()
    trained = _Trained(run)
    taken, host, grown = list[float](), list[float](), 0.0
    _forget_peak()
    for step in range(1, MEMORY_STEPS + STEPS + 1):
        packed, whole = trained.step(step)
        if step > MEMORY_STEPS:
            taken.append(whole)
            host.append(packed)
        elif step == MEMORY_STEPS:
            grown = _peak() - before
            given_back(at_once=False)
    resident = _peak() - before
    trained.held.engine.close()
    return taken, host, grown, resident


class _Trained:
    """A prepared run's model under an engine of its own, and the steps it takes."""

    def __init__(self, run: Path) -> None:
        self.built = assemble(run)
        self.held, self.schedule = Held(self.built, {}, 0), make_schedule(self.built.recipe)

    def step(self, number: int) -> tuple[float, float]:
        """Seconds of drawing and packing, and of the whole step."""
        built, train, since = self.built, self.built.recipe.train, _clock()
        units = built.stream.next_step(number)
        packs = build_step(
            number, units, built.tables, seed=built.recipe.seed, rank=0, world=1, tokens_per_pass=train.tokens_per_pass
        )
        packed = _clock() - since
        set_learning_rates(self.held.engine.param_groups, self.schedule.factor(min(number, train.steps)))
        run_step(self.held.engine, packs, built.weighting, seed=built.recipe.seed, passes=built.passes)
        return packed, _clock() - since


def _clock() -> float:
    """CPU seconds of this process; on a GPU seconds, once it has nothing left to do."""
    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def _settled() -> float:
    """Bytes held now, once freed blocks are given back."""
    gc.collect()
    if torch.cuda.is_available():
        return float(torch.cuda.memory_allocated())
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    return _resident("VmRSS")


def given_back(*, at_once: bool) -> None:
    """Whether the C library gives every large block back when it is freed, or keeps most, as it comes to by itself.

    To be set before anything large is allocated: it goes on using what it has kept.
    """
    change = getattr(ctypes.CDLL(None), "mallopt", None)
    if change is not None:
        change(M_MMAP_THRESHOLD, 1 << 16 if at_once else 32 << 20)
        change(M_TRIM_THRESHOLD, 1 << 17 if at_once else 64 << 20)


def _forget_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif CLEAR.exists():
        CLEAR.write_text("5")


def _peak() -> float:
    return float(torch.cuda.max_memory_allocated()) if torch.cuda.is_available() else _resident("VmHWM")


def _resident(what: str) -> float:
    """Linux's own account of this process. Elsewhere its peak, which only ever grows, stands for both."""
    if not STATUS.exists():
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{what}:"))
    return 1024.0 * int(line.split()[1])
