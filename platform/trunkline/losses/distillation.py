"""Learning from a teacher's scores beside the labels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from trunkline.errors import ConfigError
from trunkline.losses.base import Loss, check_number
from trunkline.registry import LOSSES


@LOSSES.register("distillation")
class Distillation(Loss):
    """(1 - share) * own loss + share * how far the outputs are from a teacher's.

        labels:     temperature squared * KL(softmax(teacher / temperature) || softmax(outputs / temperature))
        label sets: the same of each label's sigmoid, the mean over the labels
        numbers:    (output - teacher) squared, the mean over a row's M numbers; no temperature

    outputs and target `teacher` [R, C], [R] or [R, M]; beside it the targets of the own loss, `of`: a loss by name or with its
    arguments, by default cross_entropy, binary_cross_entropy or mse. Returns [R]. share: 0 to 1. Rows carry the card's
    `teacher:` scores as logits (an encoding makes logits of probabilities).
    Source: Hinton, Vinyals & Dean, arXiv:1503.02531, section 2; the squared temperature keeps the share's meaning when it
    changes. Departure: KL instead of cross entropy, which differ by the teacher's own entropy and have the same gradient.
    """

    reads = frozenset({"teacher"})

    def __init__(self, *, share: float = 0.5, temperature: float = 2.0, of: str | Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.share = check_number("share", share, 0, 1 + 1e-9)
        self.temperature = check_number("temperature", temperature, 1e-3)
        self.own = None if of is None else _made(of)
        self._applied = () if of is None else (of if isinstance(of, str) else str(of["kind"]),)
        self.group = 1 if self.own is None else self.own.group
        self.signed = self.own is not None and self.own.signed

    @property
    def applied(self) -> Collection[str]:
        return self._applied

    def check(self, sizes: Mapping[str, Any]) -> None:
        if self.own is not None:
            self.own.check(sizes)

    def forward(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        kind = next(name for name in OWN if name in targets)
        own, distance = OWN[kind]
        values = (self.own or _made(own))(outputs, targets)
        return (1 - self.share) * values + self.share * distance(outputs.float(), targets["teacher"].float(), self.temperature)


def _made(stated: str | Mapping[str, Any]) -> Loss:
    given = {"kind": stated} if isinstance(stated, str) else dict(stated)
    kind = given.pop("kind", None)
    if not isinstance(kind, str) or kind == "distillation":
        raise ConfigError(f"of: the name of another loss is needed, found {kind!r}.")
    LOSSES.check(kind, given, where="of")
    made: Loss = LOSSES.get(kind)(**given)
    if made.asks:
        raise ConfigError(f"of: loss '{kind}' changes the head's outputs, which a teacher does not have. Name another loss.")
    return made


def _softened(outputs: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    student, wanted = ((scores / temperature).log_softmax(-1) for scores in (outputs, teacher))
    return temperature**2 * F.kl_div(student, wanted, reduction="none", log_target=True).sum(-1)


def _each_label(outputs: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    student, wanted = outputs / temperature, teacher / temperature
    own = F.binary_cross_entropy_with_logits(wanted, wanted.sigmoid(), reduction="none")  # the teacher's entropy
    return temperature**2 * (F.binary_cross_entropy_with_logits(student, wanted.sigmoid(), reduction="none") - own).mean(-1)


def _squared(outputs: Tensor, teacher: Tensor, _: float) -> Tensor:
    error = (outputs - teacher).square()
    return error if error.ndim == 1 else error.mean(-1)


# Target -> its usual loss, and the distance of two models' outputs.
OWN: dict[str, tuple[str, Callable[[Tensor, Tensor, float], Tensor]]] = {
    "labels": ("cross_entropy", _softened),
    "label_set": ("binary_cross_entropy", _each_label),
    "target": ("mse", _squared),
}
