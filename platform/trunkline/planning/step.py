"""How long a step would take, and what a worker would hold, by term."""

from __future__ import annotations

from dataclasses import dataclass, replace

from trunkline.planning.footprint import Footprint
from trunkline.planning.hardware import Device, Links
from trunkline.training.states import bucket, states

STEPPED = 32  # bytes of memory an optimizer with two moments goes through for a parameter: 4 read, 3 written, 1 for the norm
PACKED_S = 4e-7  # of the host for each token drawn, dealt and packed
LONGER = 10  # times as long a step as its compute asks for: beyond it, raising tokens is told as what is possible


@dataclass(frozen=True)
class Job:
    """What is to be trained. trained: parameters with a gradient. tokens: of a step, over all workers; pass_tokens: held at once.

    half: activations are kept and products made in 16 bits. exchanged: bytes of a gradient as it is sent, float32 here.
    """

    parameters: int
    trained: int
    tokens: int
    pass_tokens: int
    steps: int
    stage: int
    footprint: Footprint
    half: bool = False
    exchanged: int = 4

    def of_worker(self, workers: int) -> tuple[float, int]:
        """Tokens of a worker's step, and the passes they take."""
        tokens = self.tokens / workers
        return tokens, max(1, -(-int(tokens) // self.pass_tokens))


@dataclass(frozen=True)
class Seconds:
    """Of one step. compute: matrix products; launch: sending kernels; host: packing rows. ahead: as `Device` has it."""

    compute: float
    launch: float
    optimizer: float
    communication: float
    host: float
    ahead: bool

    @property
    def total(self) -> float:
        work = max(self.compute, self.launch) if self.ahead else self.compute + self.launch
        return work + self.optimizer + self.communication + self.host

    @property
    def bound(self) -> str:
        """The largest term."""
        terms = {name: getattr(self, name) for name in ("compute", "launch", "optimizer", "communication", "host")}
        return max(terms, key=terms.__getitem__)


@dataclass(frozen=True)
class Memory:
    """Bytes of a worker. weights: half-precision copies too; working: gradients of activations, and what is sent from."""

    weights: float
    gradients: float
    moments: float
    activations: float
    working: float
    peak: float


def seconds(job: Job, device: Device, links: Links, workers: int) -> Seconds:
    """The step of one of so many workers."""
    tokens, passes = job.of_worker(workers)
    part = job.trained / workers if job.stage else job.trained
    return Seconds(
        compute=job.footprint.flops * tokens / device.rate,
        launch=job.footprint.kernels * passes * device.kernel_s,
        optimizer=STEPPED * part / device.memory_rate,
        communication=links.exchange(job.exchanged * job.trained, workers, job.stage, passes),
        host=PACKED_S * job.tokens / workers,
        ahead=device.ahead,
    )


def memory(job: Job, workers: int) -> Memory:
    """The most a worker holds at once.

    At stage 0 a step of one pass has its gradients come while its activations go, so that it never holds all of both; with
    several passes, and where buckets are laid out beforehand, it does. The backward works on two tensors like the widest that
    was kept.
    """
    tokens, passes = job.of_worker(workers)
    held = min(tokens, job.pass_tokens)
    own = states(job.trained, job.stage, workers)
    weights = own.weights + 4 * (job.parameters - job.trained) + (2 * job.parameters if job.half else 0)
    activations, backward = job.footprint.saved * held, 2 * job.footprint.widest * held
    sent = 4 * bucket(job.trained) if workers > 1 and job.stage == 0 else 0
    beside = activations + backward
    if job.stage == 0 and passes == 1:
        moving = max(beside, own.gradients + max(sent, 2 * job.footprint.widest))
    else:
        moving = own.gradients + max(beside, sent)
    return Memory(weights, own.gradients, own.moments, activations, max(backward, sent), weights + own.moments + moving)


def in_words(job: Job, found: Seconds, workers: int) -> str:
    """What holds the step up, and what would help."""
    share = {name: getattr(found, name) / found.total for name in ("compute", "launch", "optimizer", "communication", "host")}
    of = f"{min(share[found.bound], 1):.0%} of the step"
    if found.bound == "launch":
        wanted = job.tokens * min(max(2.0, found.launch / max(found.compute, 1e-12)), LONGER)
        more = f"raise train.tokens_per_step from {job.tokens:,} to {_rounded(wanted):,}, and tokens_per_pass with it"
        return f"launch-bound ({of}): {more}"
    if found.bound == "communication":
        return f"bound by communication ({of}): take fewer than {workers} workers, or raise train.tokens_per_step"
    if found.bound == "optimizer":
        return (
            f"bound by the optimizer's step ({of}): raise train.tokens_per_step, or with several workers take engine.zero_stage 1"
        )
    if found.bound == "host":
        return f"bound by packing rows on the host ({of}): it is not hidden behind the device's work"
    return f"bound by compute ({of}): more workers or a faster device shorten it"


def _rounded(tokens: float) -> int:
    """To a thousand."""
    return max(1024, round(tokens / 1024) * 1024)


def calibrated(device: Device, job: Job, trained_s: float) -> Device:
    """The device at the rate that a step of one worker showed, its other terms as they are assumed."""
    guess = seconds(job, device, Links(), 1)
    rest = trained_s - guess.optimizer - (0 if device.ahead else guess.launch)
    return replace(device, share=job.footprint.flops * job.tokens / max(rest, trained_s / 10) / device.peak)
