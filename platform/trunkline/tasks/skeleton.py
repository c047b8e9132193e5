"""What `task new` writes: a short card of each kind with a few example rows to replace."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from trunkline.errors import UsageError, nearest

Row = tuple[str, ...]


@dataclass(frozen=True)
class Example:
    """One kind's skeleton. card: the lines below `data:`. columns, train, validation: the example rows."""

    card: str
    columns: Row
    train: Sequence[Row]
    validation: Sequence[Row]


EXAMPLES = {
    "classification": Example(
        "inputs: [text]                         # two columns make a pair\n"
        "target: label\n"
        "head: {kind: classification, labels: [negative, positive]}\n"
        "metrics: [accuracy, macro_f1]          # the first is the headline\n",
        ("text", "label"),
        (
            ("The film was a joy from start to end.", "positive"),
            ("I left after twenty minutes.", "negative"),
            ("A warm and clever story.", "positive"),
            ("The plot made no sense at all.", "negative"),
            ("Wonderful actors, and I would see it again.", "positive"),
            ("Dull, long and badly lit.", "negative"),
        ),
        (("One of the best films this year.", "positive"), ("A waste of an evening.", "negative")),
    ),
    "multilabel": Example(
        "inputs: [text]                         # two columns make a pair\n"
        "target: labels                         # any number of them, with a comma between\n"
        "head: {kind: multilabel, labels: [food, price, service]}\n"
        "metrics: [micro_f1, macro_f1]          # the first is the headline\n",
        ("text", "labels"),
        (
            ("The soup was cold and the waiter rude.", "food, service"),
            ("Great bread.", "food"),
            ("Too dear for what it is.", "price"),
            ("Friendly staff, fair prices.", "price, service"),
            ("We came by bus.", ""),
            ("A fine meal for little money.", "food, price"),
        ),
        (("Good wine at a good price.", "food, price"), ("We waited for an hour.", "service")),
    ),
    "regression": Example(
        "inputs: [text]                         # two columns make a pair\n"
        "target: score\n"
        "head: {kind: regression}\n"
        "metrics: [spearman, mae]               # the first is the headline\n",
        ("text", "score"),
        (
            ("The soup was excellent.", "4.8"),
            ("The soup was fine.", "3.1"),
            ("The soup was cold.", "1.4"),
            ("Friendly staff and quick service.", "4.5"),
            ("We waited for an hour.", "1.1"),
            ("Nothing special.", "2.7"),
        ),
        (("Great bread.", "4.2"), ("The waiter was rude.", "1.0"), ("It was all right.", "3.0")),
    ),
    "tagging": Example(
        "inputs: [words]                        # words, with a space between them\n"
        "target: tags                           # one tag for each word\n"
        "head: {kind: tagging, labels: [O, PLACE, PERSON]}\n"
        "metrics: [accuracy]\n",
        ("words", "tags"),
        (
            ("Anna lives in Lisbon", "PERSON O O PLACE"),
            ("The train to Oslo is late", "O O O PLACE O O"),
            ("Ask Omar about it", "O PERSON O O"),
            ("Rome is warm today", "PLACE O O O"),
            ("Mira flew from Quito", "PERSON O O PLACE"),
        ),
        (("Jonas works in Kyoto", "PERSON O O PLACE"), ("It rains here", "O O O")),
    ),
    "ranking": Example(
        "inputs: [question]\n"
        "target: answer                         # other rows' answers are the wrong ones\n"
        "head: {kind: ranking}\n"
        "metrics: [recall_at_1, mrr]            # the first is the headline\n",
        ("question", "answer"),
        (
            ("How do I reset my password?", "Open the settings and choose a new password."),
            ("When does the shop open?", "The shop opens at nine."),
            ("Where is my order?", "You find the state of your order under Orders."),
            ("Can I return a gift?", "Gifts can be returned within 30 days."),
            ("Do you ship abroad?", "We ship to forty countries."),
            ("How can I pay?", "We take cards and bank transfer."),
        ),
        (("What are your hours?", "The shop opens at nine."), ("May I pay by card?", "We take cards and bank transfer.")),
    ),
    "joint": Example(
        "inputs: [words]                        # words, with a space between them\n"
        "head:\n"
        "  kind: joint                          # several tasks over one row, in one pass; each part as in its own card\n"
        "  parts:\n"
        "    intent: {kind: classification, target: intent, labels: [ask, tell], metrics: [accuracy]}\n"
        "    slots: {kind: tagging, target: tags, labels: [O, PLACE, PERSON], metrics: [accuracy]}\n",
        ("words", "intent", "tags"),
        (
            ("Anna lives in Lisbon", "tell", "PERSON O O PLACE"),
            ("Is the train to Oslo late", "ask", "O O O O PLACE O"),
            ("Ask Omar about it", "tell", "O PERSON O O"),
            ("Where does Mira live", "ask", "O O PERSON O"),
            ("Rome is warm today", "tell", "PLACE O O O"),
        ),
        (("Jonas works in Kyoto", "tell", "PERSON O O PLACE"), ("Does it rain in Quito", "ask", "O O O O PLACE")),
    ),
    "masked_language": Example(
        "inputs: [text]\nhead: {kind: masked_language}\nmetrics: [perplexity, masked_accuracy] # the first is the headline\n",
        ("text",),
        (
            ("The river runs past the old mill and down to the sea.",),
            ("In winter the harbour freezes and the boats stay on land.",),
            ("She put the letters back into the drawer and closed it.",),
            ("A good knife is sharp, light and easy to clean.",),
        ),
        (("The boats leave the harbour in spring.",), ("He closed the drawer of the old table.",)),
    ),
}


def skeleton(name: str, kind: str) -> dict[str, str]:
    """File name -> text of a new card's folder. Raises UsageError for a kind that has no example."""
    if kind not in EXAMPLES:
        raise UsageError(f"no example for a task of kind '{kind}'. {nearest(kind, EXAMPLES)}")
    example = EXAMPLES[kind]
    card = (
        f"name: {name}\n"
        "summary: Say in one sentence what is learned\n"
        "data: {format: csv, train: train.csv, validation: validation.csv}\n"
        f"{example.card}"
        "weight: 1.0\n"
    )
    return {
        "card.yaml": card,
        "train.csv": table(example.columns, example.train),
        "validation.csv": table(example.columns, example.validation),
    }


def table(columns: Row, rows: Sequence[Row]) -> str:
    """Rows as CSV with a header."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([columns, *rows])
    return out.getvalue()
