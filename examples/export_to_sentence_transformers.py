"""A contrastive task is trained, written for sentence-transformers, opened there, and gives the same vectors.

python examples/export_to_sentence_transformers.py FOLDER
"""

import sys
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

import trunkline
from trunkline import api

CARD = """
name: alike
summary: Which messages are on the same topic?
data: {format: tsv, rows: rows.tsv, split: {by: text, validation: 25, test: 0}}
inputs: [text]
target: other
head: {kind: contrastive}
loss: {kind: infonce, group: 4}
"""
TOPICS = {"parcel": "delivery", "invoice": "payment", "password": "login", "courier": "delivery", "refund": "payment"}


def main(folder: Path) -> None:
    project = api.init(folder)
    task = project / "tasks" / "alike"
    task.mkdir()
    (task / "card.yaml").write_text(CARD.lstrip())
    rows = [f"my {word} number {n}\tthe {topic} of {word} {n}" for word, topic in TOPICS.items() for n in range(12)]
    (task / "rows.tsv").write_text("\n".join(["text\tother", *rows]) + "\n")

    overrides = ["tasks=[topic, alike]", "train.steps=20"]
    result = trunkline.train(project / "recipes" / "first.yaml", overrides=overrides, in_process=True)
    exported = api.export(result.model, "sentence-transformers", project / "exported", tasks=["alike"])

    texts = ["where is my parcel", "a refund, please"]
    theirs = SentenceTransformer(str(exported), device="cpu").encode(texts)
    ours = trunkline.load(result.model).embed(texts, task="alike")
    print(theirs.shape, f"apart by {np.abs(theirs - ours).max():.1e}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "example-vectors"))
