"""Any number of labels per row."""

from __future__ import annotations

from typing import ClassVar

from trunkline.models.heads.classification import Classification
from trunkline.registry import HEADS


@HEADS.register("multilabel")
class Multilabel(Classification):
    """Pool each row, then one affine map to C logits, each a yes-or-no of its own. Rows carry a set of the C labels."""

    stock: ClassVar[tuple[str, str | None] | None] = ("sequence", "multi_label_classification")
