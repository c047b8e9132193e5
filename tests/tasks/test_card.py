"""A card: what it says, its fingerprint, and the sentence every mistake gets."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from trunkline.document import reader
from trunkline.errors import ConfigError
from trunkline.registry import ENCODINGS
from trunkline.tasks.card import check_parts, json_schema, load_card
from trunkline.tasks.plugin import load_plugin

CARD = """\
name: entailment
summary: Does the second sentence follow from the first?
data: {format: tsv, train: train.tsv, validation: dev.tsv}
inputs: [premise, hypothesis]
target: label
head: {kind: classification, labels: [entailment, neutral, contradiction]}
loss: {kind: cross_entropy, label_smoothing: 0.1}
metrics: [accuracy, macro_f1]
weight: 1.0
"""


@pytest.fixture
def card(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(**changes: str) -> Path:
        text = CARD
        for key, line in changes.items():
            rows = [line if row.startswith(f"{key}:") else row for row in text.splitlines()]
            assert rows != text.splitlines(), f"no line {key}"
            text = "\n".join(rows) + "\n"
        Path("card.yaml").write_text(text, encoding="utf-8")
        return Path("card.yaml")

    return write


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_card(path)
    return str(caught.value)


def test_a_card_is_read_with_its_types(card):
    loaded = load_card(card())
    assert loaded.data.files() == {"train": ["train.tsv"], "validation": ["dev.tsv"]}
    assert loaded.inputs == ["premise", "hypothesis"]
    assert loaded.head.kind == "classification"
    assert loaded.loss is not None and loaded.loss.arguments == {"label_smoothing": 0.1}
    assert [metric.kind for metric in loaded.metrics] == ["accuracy", "macro_f1"]
    assert loaded.where("head", "kind") == "card.yaml:6:14: head.kind"


def test_a_card_folder_is_as_good_as_its_file(card, tmp_path):
    assert load_card(card()).model_dump() == load_card(tmp_path).model_dump()


def test_further_keys_of_data_are_the_sources_own(card):
    loaded = load_card(card(data="data: {format: csv, rows: [a.csv, b.csv], split: {by: text}, delimiter: ;}"))
    assert loaded.data.arguments == {"delimiter": ";"}
    assert loaded.data.split is not None
    assert (loaded.data.split.by, loaded.data.split.validation, loaded.data.split.test) == (["text"], 10, 10)


def test_the_json_schema_accepts_what_the_reader_accepts(card):
    validator = jsonschema.Draft202012Validator(json_schema())
    validator.validate(reader.read(card()).data)
    validator.validate(reader.read(card(inputs="inputs: text", loss="loss: mse", head="head: regression")).data)


BAD = [
    pytest.param({"name": "summary: x"}, "card.yaml:2:1: summary: the key is given twice", id="5 duplicate key"),
    pytest.param({"name": "weight: 1"}, "weight: the key is given twice, in line 1 and in line 9", id="5 both lines"),
    pytest.param({"name": "# none"}, "name: is missing: what recipes call the task.", id="21 name"),
    pytest.param({"inputs": "# none"}, "inputs: is missing: the text column", id="21 inputs"),
    pytest.param({"head": "# none"}, "head: is missing: the kind of task", id="21 head"),
    pytest.param({"data": "# none"}, "data: is missing: where the rows are", id="21 data"),
    pytest.param({"inputs": "inputs: []"}, "inputs: must not be empty.", id="21 no input"),
    pytest.param({"inputs": "inputs: [a, b, c]"}, "inputs: takes at most 2 entries, found 3.", id="21 three inputs"),
    pytest.param({"inputs": "inputs: [a, a]"}, "inputs: names 'a' twice.", id="21 one input twice"),
    pytest.param({"target": "target: premise"}, "target: 'premise' is also an input.", id="21 target among inputs"),
    pytest.param(
        {"data": "data: {format: cvs, train: a}"}, "data.format: no source format named 'cvs'. Did you mean", id="24 source"
    ),
    pytest.param(
        {"head": "head: clasification"}, "6:7: head: no head named 'clasification'. Did you mean 'classification'?", id="24 head"
    ),
    pytest.param(
        {"loss": "loss: cross_entorpy"}, "loss: no loss named 'cross_entorpy'. Did you mean 'cross_entropy'?", id="24 loss"
    ),
    pytest.param(
        {"metrics": "metrics: [acuracy]"}, "8:11: metrics.0: no metric named 'acuracy'. Did you mean 'accuracy'?", id="24 metric"
    ),
    pytest.param(
        {"head": "head: {kind: classification, labels: [a, b, a]}"},
        "6:45: head.labels.2: label 'a' is already",
        id="26 duplicates",
    ),
    pytest.param(
        {"head": "head: {kind: classification, labels: [1, '1']}"}, "head.labels: labels mix text and numbers", id="26 mixed"
    ),
    pytest.param(
        {"head": "head: {kind: classification, labels: []}"},
        "head.labels: a choice needs at least 2 labels, found 0",
        id="26 empty",
    ),
    pytest.param(
        {"head": "head: {kind: classification, labels: [a]}"},
        "head.labels: a choice needs at least 2 labels, found 1",
        id="26 one",
    ),
    pytest.param(
        {"head": "head: {kind: classification, labels: a}"}, "head.labels: expected a list of labels, found 'a'", id="26 no list"
    ),
    pytest.param(
        {"head": "head: {kind: classification, labels: [1.5, 2.5]}"}, "labels must be text or whole numbers", id="26 fractions"
    ),
    pytest.param({"weight": "weight: 0"}, "9:9: weight: must be above 0, found 0.", id="29 zero"),
    pytest.param({"weight": "weight: -2"}, "weight: must be above 0, found -2.", id="29 negative"),
    pytest.param({"weight": "weight: .nan"}, "weight: expected a finite number", id="29 nan"),
    pytest.param(
        {"summary": "schema_version: 9"},
        "2:17: schema_version: found 9, but this trunkline reads up to 1. Upgrade",
        id="31 future",
    ),
    pytest.param({"weight": "train: {}"}, "train: does not belong here. It belongs in a recipe", id="15 recipe key"),
    pytest.param({"weight": "labels: [a, b]"}, "labels: unknown key. ", id="7 labels outside the head"),
    pytest.param({"data": "data: {format: csv, rows: a.csv}"}, "data.rows: needs data.split", id="rows without split"),
    pytest.param(
        {"data": "data: {format: csv, rows: a, split: {by: text}, train: b}"},
        "data.train: stands beside data.rows",
        id="rows and train",
    ),
    pytest.param(
        {"data": "data: {format: csv, rows: a, split: {by: t, validation: 60, test: 40}}"},
        "leave no training rows",
        id="no train share",
    ),
]


@pytest.mark.parametrize(("changes", "said"), BAD)
def test_a_wrong_card_gets_a_sentence_with_its_place(card, changes, said):
    message = refusal(card(**changes))
    assert said in message
    assert message.startswith("card.yaml:")


@pytest.mark.parametrize("name", ["../x", "'a b'", "CON", "a" * 300, "''", "<script>", "9a", '"a\\n"', "é", "null", "1"])
def test_a_name_that_is_no_name_is_refused(card, name):
    assert "name: " in refusal(card(name=f"name: {name}"))


def test_several_mistakes_are_reported_together_in_line_order(card):
    lines = refusal(card(weight="weight: 0", name="name: A", loss="loss: x")).splitlines()
    assert [line.split(":")[1] for line in lines] == ["1", "7", "9"]


def test_labels_are_matched_by_their_text(card):
    assert load_card(card(head="head: {kind: classification, labels: [0, 1]}")).head_arguments == {"labels": ["0", "1"]}


def test_the_parts_of_a_sound_card_take_its_arguments(card):
    check_parts(load_card(card()))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"target": "weight: 2", "weight": ""}, "target: is missing: the column a classification task learns."),
        (
            {"loss": "loss: {kind: cross_entropy, smoothing: 1}"},
            "card.yaml:7:29: loss.smoothing: loss 'cross_entropy' takes no 'smoothing'.",
        ),
        (
            {"head": "head: {kind: classification, label: [a, b]}"},
            "head 'classification' takes no 'label'. Did you mean 'labels'?",
        ),
        ({"head": "head: {kind: classification}"}, "head.labels: is missing: head 'classification' needs it."),
        ({"head": "head: {kind: classification, labels: [a, b], num_labels: 3}"}, "takes no 'num_labels'"),
        (
            {"head": "head: {kind: classification, labels: [a, b], dropout: 2}"},
            "card.yaml:6:55: head.dropout: must be below 1, found 2.",
        ),
        ({"loss": "loss: {kind: focal, gamma: x}"}, "loss.gamma: a number is needed, found 'x'."),
        ({"metrics": "metrics: [accuracy, {kind: calibration_error, num_bins: 0}]"}, "num_bins: must be at least 1, found 0."),
        ({"data": "data: {format: text, trian: a}"}, "data.trian: source format 'text' takes no 'trian'. Did you mean 'train'?"),
        ({"data": "data: {format: tsv, train: a, delimeter: x}"}, "data.delimeter: source format 'tsv' takes no 'delimeter'."),
    ],
)
def test_arguments_that_no_part_takes_are_refused_with_their_place(card, changes, said):
    with pytest.raises(ConfigError) as caught:
        check_parts(load_card(card(**changes)))
    assert said in str(caught.value)


def test_the_fingerprint_ignores_what_extend_allows_to_change(card):
    origin = load_card(card()).fingerprint()
    for changes in (
        {"loss": "loss: cross_entropy"},
        {"weight": "weight: 3"},
        {"metrics": "metrics: [macro_f1]"},
        {"summary": "summary: y"},
    ):
        assert load_card(card(**changes)).fingerprint() == origin


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": "inputs: [hypothesis, premise]"},
        {"target": "target: gold"},
        {"head": "head: {kind: classification, labels: [neutral, entailment, contradiction]}"},
        {"head": "head: {kind: tagging, labels: [entailment, neutral, contradiction]}"},
        {"data": "data: {format: tsv, train: train.tsv, validation: dev.tsv, columns: {premise: sentence1}}"},
        {"data": "data: {format: tsv, train: train.tsv, validation: dev.tsv, gather: {by: premise, lists: hypothesis}}"},
    ],
)
def test_the_fingerprint_changes_with_what_the_head_means(card, changes):
    origin = load_card(card()).fingerprint()
    assert load_card(card(**changes)).fingerprint() != origin


@pytest.mark.parametrize(
    ("gather", "said"),
    [
        ("{by: premise}", "data.gather.lists: is missing"),
        ("{by: premise, list: hypothesis}", "Did you mean 'lists'?"),
        ("{by: [], lists: hypothesis}", "data.gather.by"),
        ("premise", "data.gather"),
    ],
)
def test_a_gather_that_says_too_little_is_refused(card, gather, said):
    with pytest.raises(ConfigError) as caught:
        load_card(card(data=f"data: {{format: tsv, train: train.tsv, gather: {gather}}}"))
    assert said in str(caught.value)


def test_an_argument_at_its_default_leaves_the_fingerprint_alone(card):
    head = "head: {kind: masked_language%s}"
    share = ENCODINGS.arguments("masked_language")["mask_share"]
    plain = load_card(card(head=head % "")).fingerprint()
    assert load_card(card(head=head % f", mask_share: {share}")).fingerprint() == plain
    assert load_card(card(head=head % ", mask_share: 0.3")).fingerprint() != plain


PLUGIN = """\
from trunkline.registry import SOURCES

RUNS = []
RUNS.append(1)

@SOURCES.register("made_up_for_this_test")
class Made:
    def __init__(self, context, *, shade: int = 1, train: str = "") -> None: ...
"""


def test_a_plugin_beside_the_card_brings_its_parts_and_runs_once(card, tmp_path):
    (tmp_path / "plugin.py").write_text(PLUGIN)
    loaded = load_card(card(data="data: {format: made_up_for_this_test, shade: 3}"))
    load_plugin(loaded)
    load_plugin(loaded)
    check_parts(loaded)


def test_a_name_that_the_plugin_does_not_bring_is_refused_when_parts_are_checked(card, tmp_path):
    (tmp_path / "plugin.py").write_text("x = 1\n")
    loaded = load_card(card(data="data: {format: never_registered}"))
    load_plugin(loaded)
    with pytest.raises(ConfigError, match=r"data.format: no source format named 'never_registered'"):
        check_parts(loaded)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import nothing_of_that_name\n", "plugin.py:1: the plugin of task 'entailment' failed. ModuleNotFoundError"),
        ("x = 1\ny = x / 0\n", "plugin.py:2: the plugin of task 'entailment' failed. ZeroDivisionError: division by zero."),
        ("x = (\n", "SyntaxError"),
        ("raise SystemExit(0)\n", "SystemExit: 0"),
        (
            "from trunkline.registry import SOURCES\nSOURCES.register('csv')(type('Mine', (), {}))\n",
            "'csv' is already registered by",
        ),
    ],
)
def test_a_plugin_that_fails_is_named_with_its_own_error(card, tmp_path, code, said):
    (tmp_path / "plugin.py").write_text(code)
    loaded = load_card(card())
    for _ in range(2):  # a failed plugin is not taken for loaded
        with pytest.raises(ConfigError) as caught:
            load_plugin(loaded)
        assert said in str(caught.value)
