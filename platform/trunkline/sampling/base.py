"""What every sampling schedule is: task sizes in, rates out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping


class Sampler(ABC):
    """Rates per task, a pure function of the step unless a subclass keeps state.

    sizes: rows of each task's training split. A rate is the share of ROWS a task is meant to get (they need not sum to
    one); a task that draws groups of G rows is drawn G times less often.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.sizes = dict(sizes)

    @abstractmethod
    def rates(self, step: int) -> Mapping[str, float]: ...

    def state(self) -> dict[str, object]:
        return {}

    def load_state(self, state: Mapping[str, object]) -> None:
        assert not state, f"{type(self).__name__} keeps no state, found {sorted(state)}"
