"""Fixed weights."""

from __future__ import annotations

from torch import Tensor

from trunkline.registry import WEIGHTINGS
from trunkline.weighting.base import Weighting


@WEIGHTINGS.register("static")
class Static(Weighting):
    """combined = sum over tasks of weight * loss. Well-tuned, it is hard to beat: Xin et al., NeurIPS 2022."""

    def coefficients(self) -> Tensor:
        return self.weights
