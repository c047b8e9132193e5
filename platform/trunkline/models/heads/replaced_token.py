"""Was this token replaced?"""

from __future__ import annotations

from torch import Tensor, nn

from trunkline.batch import RowIndex
from trunkline.models.heads.base import Head
from trunkline.registry import HEADS, Dropout


@HEADS.register("replaced_token")
class ReplacedToken(Head):
    """Affine map and GELU at every ordinary token, then logits [K, 2] of original and replaced.

    Source: Clark et al., arXiv:2003.10555, section 2; the layers are those of ELECTRA's released discriminator, with two logits
    for its one, so that the losses over classes and their weights apply.
    """

    def __init__(self, width: int, num_labels: int = 2, *, dropout: Dropout = 0.0) -> None:
        super().__init__()
        self.transform = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout))
        self.out = nn.Linear(width, num_labels)

    def forward(self, hidden: Tensor, rows: RowIndex) -> Tensor:
        return self.out(self.transform(hidden[rows.positions]))  # [K, 2]
