"""What a worker holds of a model beside its activations, by term, at each ZeRO stage."""

from __future__ import annotations

from dataclasses import dataclass

BUCKET = 500_000_000  # elements of gradients that are reduced at once, at most: DeepSpeed's own


@dataclass(frozen=True)
class States:
    """Bytes. weights: with the optimizer's own copy of what it steps, where it has one; gradients: with what reduces them."""

    weights: int
    gradients: int
    moments: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.moments


def bucket(parameters: int) -> int:
    """Elements of the engine's gradient bucket. DeepSpeed lays it out whole, 2 GB where a model has a tenth of that."""
    return max(1, min(parameters, BUCKET))


def states(parameters: int, stage: int, workers: int) -> States:
    """Of P trained parameters in float32 (bf16 comes by autocast) under an optimizer with two moments, after a backward.

        stage 0     weights 4P             gradients 4P                    moments 8P
        stage 1, 2  weights 4P + 4P / n    gradients 4 max(P / n, bucket)  moments 8P / n
        stage 3     weights 4P / n * 2     gradients 4P / n + 4 bucket     moments 8P / n

    A reduced bucket lives on for as long as the worker's share of it does. At stage 3 the layer that runs is gathered beside.
    Source: Rajbhandari et al., "ZeRO", arXiv:1910.02054, section 3, for half-precision weights; the rest is deepspeed 0.19.8.
    """
    whole, part, reduced = 4 * parameters, 4 * parameters // workers, 4 * bucket(parameters)
    if stage == 0:
        return States(whole, whole, 2 * whole)
    if stage < 3:
        return States(whole + part, max(part, reduced), 2 * part)
    return States(2 * part, part + reduced, 2 * part)
