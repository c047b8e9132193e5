"""What plans assume of devices and of the wires between them; each figure can be given instead."""

from __future__ import annotations

import math
from dataclasses import dataclass

GIB = 2**30
REACHED = 0.8  # of a wire's rate, by large messages: NVIDIA's nccl-tests tell 75 to 90 % for all-reduce


@dataclass(frozen=True)
class Device:
    """peak: operations a second of dense matrix products; share: of them that training reaches; memory_rate: bytes a second.

    memory: bytes. kernel_s: from one kernel to the next, at least; `ahead`: it runs beside the device's work, which then hides
    it. nvlink: bytes a second and direction between devices of a node.
    """

    peak: float
    share: float
    memory_rate: float
    memory: float
    kernel_s: float
    ahead: bool
    nvlink: float

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.peak * self.share


# Peaks, memory and NVLink of NVIDIA's data sheets, half precision without sparsity. 0.3 of the peak is what encoders reach with
# packed rows (ModernBERT's own runs: 0.25 to 0.33); 5 us is the launch of a kernel from Python through autograd.
DEVICES = {
    "v100": Device(125e12, 0.3, 0.9e12, 32 * GIB, 5e-6, True, 150e9),
    "a100": Device(312e12, 0.3, 2.0e12, 80 * GIB, 5e-6, True, 300e9),
    "h100": Device(989e12, 0.3, 3.35e12, 80 * GIB, 5e-6, True, 450e9),
}


def processor(threads: int) -> Device:
    """A CPU of so many threads: 32 float32 operations a cycle of 2.5 GHz and thread (AVX2), memory of 10 GB/s, no wire."""
    return Device(80e9 * threads, 0.4, 10e9, math.inf, 1e-5, False, 5e9)


@dataclass(frozen=True)
class Links:
    """Wires between workers, alpha-beta: a message of B bytes over a hop takes alpha + B / rate.

    per_node: workers of a node. nvlink: bytes a second and direction of each, within it; network: of a whole node. inside_s,
    outside_s: alpha of a hop within a node and between nodes.
    """

    per_node: int = 8
    nvlink: float = 450e9
    network: float = 12.5e9  # one port of 100 Gbit/s
    inside_s: float = 5e-6
    outside_s: float = 15e-6

    def all_reduce(self, size: float, workers: int) -> float:
        """Seconds to sum `size` bytes over all workers: scattered within nodes, summed between them, gathered within.

            2 (w - 1) / w * B / nvlink  +  2 (m - 1) / m * B / network  +  2 alpha (w - 1)  +  2 alpha log2(m)

        w workers of a node, m nodes. Each worker of a node sends its own part of the sum to the other nodes, so that B bytes
        leave the node each way. Source: Thakur, Rabenseifner & Gropp, "Optimization of Collective Communication
        Operations in MPICH", IJHPCA 2005, section 4; between nodes the hops are those of a tree, as in NCCL.
        """
        inside, nodes = min(workers, self.per_node), -(-workers // self.per_node)
        seconds = 2 * (inside - 1) * (size / inside / (REACHED * self.nvlink) + self.inside_s)
        if nodes > 1:
            seconds += 2 * (nodes - 1) / nodes * size / (REACHED * self.network) + 2 * math.log2(nodes) * self.outside_s
        return seconds

    def exchange(self, size: float, workers: int, stage: int, passes: int) -> float:
        """Seconds that a step's workers exchange at a ZeRO stage, gradients and weights of `size` bytes each; nothing is hidden.

        An all-reduce is two halves, a scattered sum and a gathering. Stages 0 and 1 take both once a step; stage 2 sums after
        each pass; stage 3 also gathers the weights for each forward and backward. Source: Rajbhandari et al., arXiv:1910.02054,
        section 7.
        """
        if workers == 1:
            return 0.0
        halves = {0: 2, 1: 2, 2: passes + 1, 3: 3 * passes}[stage]
        return halves / 2 * self.all_reduce(size, workers)
