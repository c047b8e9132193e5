"""A project, a task of its own from a CSV file, and a model that learned it beside the two that were there.

python examples/add_a_task.py FOLDER
"""

import csv
import sys
from pathlib import Path

import trunkline
from trunkline import api

CARD = """
name: complaint
summary: Is the writer of a message angry?
data: {format: csv, rows: rows.csv, split: {by: text, validation: 25, test: 0}}
inputs: [text]
target: label
head: {kind: classification, labels: [calm, angry]}
"""
ROWS = {
    "angry": ["This is the third time I write!", "Unbelievable, nothing works!", "Give my money back now!", "I have had enough!"],
    "calm": ["Thank you, all is well.", "When do you open?", "A small question on my order.", "Please send the bill by mail."],
}


def main(folder: Path) -> None:
    project = api.init(folder)
    task = project / "tasks" / "complaint"
    task.mkdir()
    (task / "card.yaml").write_text(CARD.lstrip())
    with (task / "rows.csv").open("w", newline="") as file:
        rows = [(f"{text} ({number})", label) for label, texts in ROWS.items() for text in texts for number in range(4)]
        csv.writer(file).writerows([("text", "label"), *rows])

    tasks = "tasks=[topic, urgency, complaint]"
    result = trunkline.train(project / "recipes" / "first.yaml", overrides=[tasks, "train.steps=20"], in_process=True)
    for row in result.tasks:
        print(row["task"], row["metric"], row["value"])
    print(trunkline.load(result.model).predict("complaint", ["Nothing works, I have had enough!"]))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "example-task"))
