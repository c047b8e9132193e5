"""The fallback trunk for encoders without packed attention."""

from __future__ import annotations

from typing import ClassVar

from trunkline.models.transformer import Transformer
from trunkline.registry import TRUNKS


@TRUNKS.register("padded")
class Padded(Transformer):
    """The encoders of `transformer` over rows padded to the longest: tokens [N] of a pack -> hidden [N, D].

    For those that have no packed attention (MPNet, DeBERTa-v2), and to compare: equal to the packed pass within rounding, at the
    cost of the padding. Rows are read whole only, without low-rank changes or prompts.
    """

    may_pack: ClassVar[bool] = False
