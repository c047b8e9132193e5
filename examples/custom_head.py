"""A head of one's own: it pools by a gate that each token learns, and is named in a card like any other.

    python examples/custom_head.py FOLDER

The class lives in the task's `plugin.py`, so that `trunkline evaluate`, `predict` and `serve` find it too.
"""

import sys
from pathlib import Path

import trunkline
from trunkline import api

PLUGIN = '''
"""A head that learns how much each token counts."""

import torch
from torch import Tensor, nn

from trunkline.batch import RowIndex
from trunkline.data.encoding.classification import Classification
from trunkline.models.heads.base import Head
from trunkline.registry import ENCODINGS, HEADS, POOLINGS


@HEADS.register("gated")
class Gated(Head):
    """logits = W mean over tokens of sigmoid(g h) h. Rows carry one label in 0..C-1. hidden [n, D] -> [R, C]."""

    def __init__(self, width: int, num_labels: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.gate, self.pool = nn.Linear(width, 1), POOLINGS.get("mean")(width)
        self.dropout, self.out = nn.Dropout(dropout), nn.Linear(width, num_labels)

    def forward(self, hidden: Tensor, rows: RowIndex) -> Tensor:
        return self.out(self.dropout(self.pool(torch.sigmoid(self.gate(hidden)) * hidden, rows)))


ENCODINGS.register("gated")(Classification)  # its rows are those of a classification
'''


def main(folder: Path) -> None:
    project = api.init(folder)
    task = project / "tasks" / "topic"
    (task / "plugin.py").write_text(PLUGIN.lstrip())
    card = (task / "card.yaml").read_text()
    card = card.replace("kind: classification", "kind: gated").replace(", pooling: mean", "")
    (task / "card.yaml").write_text(card)

    result = trunkline.train(project / "recipes" / "first.yaml", overrides=["train.steps=20"], in_process=True)
    model = trunkline.load(result.model, catalog=project / "tasks")
    print(type(model.network.head("topic")).__name__, model.predict("topic", ["Where is my parcel?"])[0]["label"])


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "example-head"))
