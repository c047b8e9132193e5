"""A weighting of one's own: every task counts in inverse proportion to its recent loss.

python examples/custom_weighting.py FOLDER
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import trunkline
from trunkline import api
from trunkline.registry import WEIGHTINGS
from trunkline.weighting.base import SMALLEST, Weighting


@WEIGHTINGS.register("inverse")
class Inverse(Weighting):
    """weight / mean loss, so that all tasks pull alike. decay: of the moving mean, from 0 up to 1."""

    def __init__(self, tasks: Sequence[str], weights: Sequence[float], *, decay: float = 0.9) -> None:
        super().__init__(tasks, weights)
        self.decay, self.means = decay, torch.ones(len(self.tasks), dtype=torch.float64)

    def coefficients(self) -> Tensor:
        return self.weights / self.means.clamp(min=SMALLEST)

    def observe(self, losses: Tensor, present: Tensor) -> None:
        moved = self.decay * self.means + (1 - self.decay) * losses.double()
        self.means = torch.where(present, moved, self.means)

    def state(self) -> dict[str, object]:
        """What a resumed run goes on with."""
        return {"means": self.means.tolist()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.means = torch.tensor(state["means"], dtype=torch.float64)


def main(folder: Path) -> None:
    project = api.init(folder)
    overrides = ["weighting={kind: inverse, decay: 0.8}", "train.steps=20", "train.log_every=1"]
    result = trunkline.train(project / "recipes" / "first.yaml", overrides=overrides, in_process=True)
    logged = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in logged if "weight/topic" in line][-1]
    print({name: round(value, 3) for name, value in last.items() if name.startswith("weight/")})


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "example-weighting"))
