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
    """One kind's skeleton. card: the lines below `data:`. columns, train, validation: the example rows. data: more of `data:`."""

    card: str
    columns: Row
    train: Sequence[Row]
    validation: Sequence[Row]
    data: str = ""


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
    "span": Example(
        "inputs: [question, context]            # long contexts are read in several windows\n"
        "target: answer                         # the text as it stands in the context\n"
        "head: {kind: span}                     # starts: COLUMN says where it stands, if its text comes more than once\n"
        "metrics: [exact_match, answer_f1]      # the first is the headline\n",
        ("question", "context", "answer"),
        (
            ("When does the shop open?", "The shop opens at nine. It closes at six.", "nine"),
            ("When does the shop close?", "The shop opens at nine. It closes at six.", "six"),
            ("Who wrote the letter?", "The letter that Anna wrote came on Monday.", "Anna"),
            ("When did the letter come?", "The letter that Anna wrote came on Monday.", "Monday"),
            ("Where does the river end?", "From the hills the river runs down to the sea.", "the sea"),
        ),
        (
            ("Where does the river begin?", "From the hills the river runs down to the sea.", "the hills"),
            ("When does the train leave?", "The train leaves at noon from Oslo.", "noon"),
        ),
    ),
    "contrastive": Example(
        "inputs: [question]\n"
        "target: answer                         # other rows' answers are the wrong ones\n"
        "head: {kind: contrastive}              # negatives: COLUMN names texts that look right and are not\n"
        "loss: {kind: infonce, group: 4}        # rows compared with each other: more are harder\n"
        "metrics: [retrieval_recall, retrieval_mrr]            # the first is the headline\n",
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
    "generation": Example(
        "inputs: [english]                      # two columns make a pair\n"
        "target: german                         # the text to be written\n"
        "head: {kind: generation, vocabulary: bytes}\n"
        "metrics: [bleu, chrf, perplexity]      # the first is the headline\n",
        ("english", "german"),
        (
            ("A dog runs through the snow.", "Ein Hund läuft durch den Schnee."),
            ("Two children play in the park.", "Zwei Kinder spielen im Park."),
            ("A man reads a newspaper.", "Ein Mann liest eine Zeitung."),
            ("The woman sings on the stage.", "Die Frau singt auf der Bühne."),
            ("Three boats lie in the harbour.", "Drei Boote liegen im Hafen."),
            ("A girl eats an apple.", "Ein Mädchen isst einen Apfel."),
        ),
        (("A man plays in the snow.", "Ein Mann spielt im Schnee."), ("Two dogs run.", "Zwei Hunde laufen.")),
    ),
    "ranking": Example(
        "inputs: [question, passage]            # lines of one question become a list of passages\n"
        "target: grade                          # 0 is wrong, more is better\n"
        "head: {kind: ranking}\n"
        "metrics: [ndcg, map]                   # the first is the headline\n",
        ("question", "passage", "grade"),
        (
            ("When does the shop open?", "The shop opens at nine.", "2"),
            ("When does the shop open?", "On Sundays it is closed.", "1"),
            ("When does the shop open?", "We ship to forty countries.", "0"),
            ("How can I pay?", "Gifts can be returned within 30 days.", "0"),
            ("How can I pay?", "We take cards and bank transfer.", "1"),
            ("Do you ship abroad?", "We ship to forty countries.", "1"),
            ("Do you ship abroad?", "The shop opens at nine.", "0"),
        ),
        (
            ("May I pay by card?", "On Sundays it is closed.", "0"),
            ("May I pay by card?", "We take cards and bank transfer.", "1"),
        ),
        ", gather: {by: [question], lists: [passage, grade]}",
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
    "causal_language": Example(
        "inputs: [text]\nhead: {kind: causal_language}         # looks back only\nmetrics: [perplexity, accuracy]\n",
        ("text",),
        (
            ("Once there was a miller who had three sons.",),
            ("The eldest went out to see the world.",),
            ("The second stayed at the mill and ground the corn.",),
            ("The youngest had nothing but a cat.",),
        ),
        (("The cat went out to see the mill.",), ("Once there was a cat who had a miller.",)),
    ),
    "bilm": Example(
        "inputs: [text]\nhead: {kind: bilm}                    # reads every text twice: forth and back\nmetrics: [perplexity]\n",
        ("text",),
        (
            ("Salt the water before it boils.",),
            ("Cut the onions and let them soften in butter.",),
            ("Add the rice, and stir until it is dry.",),
            ("Pour in the wine and wait until it is gone.",),
        ),
        (("Cut the butter and add it to the rice.",), ("Stir until the water is gone.",)),
    ),
    "replaced_token": Example(
        "inputs: [text]\nhead: {kind: replaced_token}          # replace: 0.15 of the tokens\nmetrics: [auroc, macro_f1]\n",
        ("text",),
        (
            ("The post office closes at noon on Saturdays.",),
            ("You need a stamp for each of these letters.",),
            ("The parcel was too heavy for the scales.",),
            ("Letters to the islands take a day longer.",),
        ),
        (("The office was closed on Saturdays.",), ("A parcel to the islands needs a stamp.",)),
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
        f"data: {{format: csv, train: train.csv, validation: validation.csv{example.data}}}\n"
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
