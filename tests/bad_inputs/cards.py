"""Rows 21 to 32: cards."""

from __future__ import annotations

import os
from collections.abc import Callable

from bad_inputs.project import DATA, ROWS, SCORE, TOPIC, Case, Outcome, Project

CHECK = ("task", "check", "one")
CARD = f"name: one\ndata: {{{DATA}}}\n{TOPIC}\n"


def card(parts: str, data: str = DATA) -> Callable[[Project], Outcome]:
    def act(project: Project) -> Outcome:
        project.card(parts, data)
        return project.run(*CHECK)

    return act


def text(content: str) -> Callable[[Project], Outcome]:
    def act(project: Project) -> Outcome:
        project.write("tasks/one/card.yaml", content)
        return project.run("task", "check", "tasks/one")

    return act


def labels(given: str) -> Callable[[Project], Outcome]:
    return card(TOPIC.replace("[warm, cold]", given))


def added(content: str) -> Callable[[Project], Outcome]:
    """A card of the same name from elsewhere."""

    def act(project: Project) -> Outcome:
        project.write("elsewhere/one/card.yaml", content)
        project.write("elsewhere/one/rows.jsonl", (project.folder / "tasks/one/rows.jsonl").read_bytes())
        return project.run("task", "add", "elsewhere/one")

    return act


def twice(project: Project) -> Outcome:
    project.write("elsewhere/two/card.yaml", CARD.replace("name: one", "name: two"))
    project.write("elsewhere/two/rows.jsonl", (project.folder / "tasks/one/rows.jsonl").read_bytes())
    project.run("task", "add", "elsewhere/two")
    return project.run("task", "add", "elsewhere/two")


def plugin(code: str) -> Callable[[Project], Outcome]:
    def act(project: Project) -> Outcome:
        project.write("tasks/one/plugin.py", code)
        project.card(TOPIC + "\nloss: mine")
        return project.run(*CHECK)

    return act


def leak(project: Project) -> Outcome:
    """Validation on the rows of training."""
    project.card(TOPIC, "format: jsonl, train: rows.jsonl, validation: rows.jsonl")
    return project.run("train", "recipes/r.yaml", "--in-process")


def some_leak(project: Project) -> Outcome:
    project.card(TOPIC, "format: jsonl, train: rows.jsonl, validation: dev.jsonl")
    project.rows([ROWS[0], {"text": "house house", "label": "warm"}], "dev.jsonl")
    return project.run("train", "recipes/r.yaml", "--in-process")


def pipe(project: Project) -> Outcome:
    os.mkfifo(project.folder / "tasks/one/pipe.jsonl")
    return card(TOPIC, "format: jsonl, train: pipe.jsonl")(project)


NAMES = ("../x", "'a b'", "CON", "a" * 300, "''", "<script>", '"a\\n"', "null", "1")
BROKEN = "raise RuntimeError('mine is broken')\n"
TAKEN = "from trunkline.registry import LOSSES\n\n\n@LOSSES.register('cross_entropy')\nclass Mine:\n    '''A loss.'''\n"
CASES = [
    *(
        Case(21, f"no {key}", text("\n".join(line for line in CARD.splitlines() if not line.startswith(key))), 3, said)
        for key, said in (("name", "name: is missing"), ("inputs", "inputs: is missing"), ("head", "head: is missing"))
    ),
    Case(21, "no target", text(CARD.replace("target: label\n", "")), 3, r"card\.yaml.*target"),
    *(Case(22, f"the name {name[:20]}", text(CARD.replace("name: one", f"name: {name}")), 3, r"name: ") for name in NAMES),
    Case(23, "a card added twice", twice, 0, r"same card is in the catalog already"),
    Case(23, "another card of the same name", added(CARD.replace("warm, cold", "warm, cool")), 3, r"(?s)-.*cold.*\+.*cool"),
    Case(
        24, "an unknown kind", card(TOPIC.replace("classification", "clasification")), 3, r"no head named 'clasification'\. Did"
    ),
    Case(
        24, "an unknown metric", card(TOPIC + "\nmetrics: [acuracy]"), 3, r"metrics\.0: no metric named 'acuracy'\. Did you mean"
    ),
    Case(24, "an unknown loss", card(TOPIC + "\nloss: cross_entorpy"), 3, r"no loss named 'cross_entorpy'\. Did you mean"),
    Case(25, "a plugin that fails", plugin(BROKEN), 3, r"plugin\.py.*mine is broken"),
    Case(25, "a plugin that takes a name", plugin(TAKEN), 3, r"plugin\.py.*cross_entropy"),
    Case(26, "a label twice", labels("[warm, cold, warm]"), 3, r"label 'warm' is already"),
    Case(26, "no label", labels("[]"), 3, r"at least 2 labels, found 0"),
    Case(26, "one label", labels("[warm]"), 3, r"at least 2 labels, found 1"),
    Case(26, "labels of two types", labels("[1, '1']"), 3, r"labels mix text and numbers"),
    Case(27, "num_labels", card(TOPIC.replace("labels: [warm, cold]", "labels: [warm, cold], num_labels: 3")), 3, r"num_labels"),
    Case(28, "training rows for validation", leak, 4, r"one: every validation row is a training row too", keeps=True),
    Case(28, "some training rows for validation", some_leak, 0, r"1 of 2 validation rows read the same", keeps=True, slow=True),
    Case(28, "a split that is not there", card(TOPIC, DATA + ", validation: dev.jsonl"), 4, r"dev\.jsonl"),
    *(Case(29, f"the weight {w}", card(TOPIC + f"\nweight: {w}"), 3, r"weight: ") for w in ("0", "-2", ".nan")),
    Case(30, "a metric of another kind", card(SCORE + "\nmetrics: [macro_f1]"), 3, r"macro_f1.*(fit|Known|needs|mse|spearman)"),
    Case(30, "a loss of another kind", card(SCORE + "\nloss: cross_entropy"), 3, r"cross_entropy.*(mse|fit|Known|needs)"),
    Case(31, "a card of the future", card(TOPIC + "\nschema_version: 9"), 3, r"schema_version: found 9.*Upgrade"),
    Case(
        32,
        "a web address",
        card(TOPIC, "format: jsonl, train: 'http://127.0.0.1:9/rows.jsonl'"),
        4,
        r"no file system for this URI",
    ),
    Case(32, "a device", card(TOPIC, "format: jsonl, train: /dev/zero"), 4, r"/dev/zero"),
    Case(32, "a pipe", pipe, 4, r"pipe\.jsonl"),
    Case(32, "a private file", card(TOPIC, "format: jsonl, train: /etc/shadow-not-here"), 4, r"shadow-not-here"),
]
assert len(ROWS)
