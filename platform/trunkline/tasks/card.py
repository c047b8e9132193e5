"""A card: the YAML file that states a task. Strict; knows part names but imports no part until it is asked to check them."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, PrivateAttr, field_validator, model_validator

from trunkline.document import reader, writer
from trunkline.document.reader import Document, Route
from trunkline.document.schema import Findings, Names, Open, Part, Strict, check_version, shown_value, validate
from trunkline.errors import ConfigError, nearest
from trunkline.registry import ENCODINGS, HEADS, LOSSES, METRICS, REQUIRED, SOURCES, Registry

SCHEMA_VERSION: Final = 1
NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
NAME_RULE = "A name is 1 to 63 of a-z, 0-9 and _, and starts with a letter."
RECIPE_FILE = "It belongs in a recipe (recipes/<name>.yaml)."
RECIPE_KEYS = (
    "tasks",
    "trunk",
    "tokenizer",
    "decontaminate",
    "sampling",
    "weighting",
    "optim",
    "train",
    "engine",
    "workers",
    "track",
    "seed",
    "lr",
)
ELSEWHERE = dict.fromkeys(RECIPE_KEYS, RECIPE_FILE)

Percent = Annotated[int, Field(ge=0, le=100)]


class Split(Strict):
    """How `data.rows` is dealt into splits: by a stable hash of the text in the columns `by`."""

    by: Names = Field(min_length=1, description="columns whose text decides, such as text")
    validation: Percent = 10
    test: Percent = 10

    @model_validator(mode="after")
    def _train_left(self) -> Split:
        if self.validation + self.test >= 100:
            raise ValueError(f"validation {self.validation} % and test {self.test} % leave no training rows. Lower one.")
        return self


class Data(Open):
    """Where the rows are; further keys are the source's own arguments."""

    format: str = Field(min_length=1, description="a source format, such as csv; see `trunkline parts sources`")
    train: Names | None = None
    validation: Names | None = None
    test: Names | None = None
    rows: Names | None = None
    split: Split | None = None
    columns: dict[str, str] = Field(default_factory=dict, description="column wanted -> its name in the file")
    on_null: Literal["error", "drop"] = "error"
    lists: dict[str, str] = Field(default_factory=dict, description="column wanted -> what stands between the items of its text")
    nulls: list[str] = Field(default_factory=list, description="texts that mean no value, such as '' or NA")

    def files(self) -> dict[str, list[str]]:
        """What the card names for each split."""
        named = {"train": self.train, "validation": self.validation, "test": self.test, "rows": self.rows}
        return {split: list(paths) for split, paths in named.items() if paths is not None}


NOWHERE: Final = Data(format="none")
ROWS_ARE = "where the rows are, such as {format: csv, train: train.csv, validation: validation.csv}"
INPUTS_ARE = "the text column, or two for a pair"


class Card(Strict):
    """A whole card. loss and metrics may be empty: the kind's own then hold.

    A card with `rows_of` has no data and maybe no inputs until `sharing` gives it those of the other task (a catalog does).
    """

    model_config = ConfigDict(title="trunkline task card")

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str = Field(description="what recipes call the task")
    summary: str | None = None
    data: Data = Field(default=NOWHERE, validate_default=False, description=f"{ROWS_ARE}. Or give rows_of")
    rows_of: str | None = Field(default=None, description="instead of data and inputs: the task whose rows these are too")
    inputs: Names = Field(default=[], validate_default=False, min_length=1, max_length=2, description=INPUTS_ARE)
    target: str | None = None
    row_weight: str | None = Field(default=None, description="a column of numbers from 0 up: factor of the row's loss")
    head: Part = Field(description="the kind of task, such as {kind: classification, labels: [yes, no]}")
    head_of: str | None = Field(default=None, description="a task of the same kind and arguments, whose head this task uses")
    loss: Part | None = None
    metrics: list[Part] = Field(default_factory=list, description="the first is the headline")
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    licence: str | None = None
    language: Names | None = None

    _path: Path = PrivateAttr(default=Path("card.yaml"))
    _document: Document = PrivateAttr(default_factory=lambda: Document("card.yaml", "", {}))
    _host: Card | None = PrivateAttr(default=None)

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError(f"{shown_value(value)} is not a task name. {NAME_RULE}")
        return value

    @property
    def path(self) -> Path:
        return self._path

    @property
    def folder(self) -> Path:
        return self._path.parent

    @property
    def plugin(self) -> Path | None:
        """The plugin.py beside the card, if there is one."""
        path = self.folder / "plugin.py"
        return path if path.is_file() else None

    @property
    def document(self) -> Document:
        return self._document

    @property
    def text(self) -> str:
        """The card file as it was read."""
        return self._document.text

    @property
    def host(self) -> Card:
        """The card whose data this task reads: its own, or that of the task it shares rows with."""
        return self._host or self

    def sharing(self, other: Card) -> Card:
        """This card with the data and inputs of the task it names in `rows_of`. Raises ConfigError if it states other inputs."""
        if self.inputs and self.inputs != other.inputs:
            raise ConfigError(
                f"rows of '{other.name}' have the inputs {', '.join(other.inputs)}, found {', '.join(self.inputs)}. "
                "Leave inputs out, or write the same.",
                where=self.where("inputs"),
            )
        card = self.model_copy(update={"data": other.data, "inputs": other.inputs, "rows_of": other.host.name})
        card._host = other.host
        _raise_wrong_columns(card)
        return card

    @property
    def portable(self) -> str:
        """The card's text with its inputs stated, for a model folder: the task it shares rows with may not be there."""
        stated = self._document.data
        return self.text if "inputs" in stated else writer.render({**stated, "inputs": self.inputs})

    @property
    def head_arguments(self) -> dict[str, Any]:
        """The head's arguments; labels as text, for rows are matched by their text."""
        given = self.head.arguments
        return {**given, "labels": [str(label) for label in given["labels"]]} if isinstance(given.get("labels"), list) else given

    def where(self, *route: str | int) -> str:
        """`file:line:col: route`, for messages about this card."""
        return Findings(self._document).where(route)

    def fingerprint(self) -> str:
        """SHA-256 of what `extend` compares: inputs, target, kind, the encoding's arguments, column mapping.

        Arguments left at their defaults count as not given. Loads the encoding (and needs the card's plugin loaded).
        """
        defaults = ENCODINGS.arguments(self.head.kind)
        encoding = {key: value for key, value in self.head_arguments.items() if key in defaults and value != defaults[key]}
        stated = [self.inputs, self.target, self.head.kind, encoding, self.data.columns]
        if self.data.lists:
            stated.append(self.data.lists)
        return hashlib.sha256(json.dumps(stated, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def load_card(path: Path | str, *, with_data: bool = True) -> Card:
    """The card at `path` (card.yaml or its folder). Raises ConfigError that names every mistake.

    A name that no registry holds is a mistake, unless a plugin.py beside the card may register it (`check_parts` then tells).
    with_data: False for the card of a trained model, whose rows may be read by a plugin that is not at hand.
    """
    path = Path(path)
    path = path / "card.yaml" if path.is_dir() else path
    document = reader.read(path)
    findings = Findings(document)
    check_version(findings, SCHEMA_VERSION)
    card = validate(Card, findings, ELSEWHERE)
    if not (path.parent / "plugin.py").is_file():
        _check_names(findings, with_data=with_data)
    _check_labels(findings)
    _check_data(findings)
    if card is not None:
        _check_columns(card, findings)
    findings.raise_if_any()
    assert card is not None
    card._path, card._document = path, document
    return card


def check_parts(card: Card) -> None:
    """Loads the card's parts and checks names and arguments against their signatures. Its plugin must be loaded before.

    Raises ConfigError that names every mistake. Imports torch (heads and losses are modules).
    """
    findings = Findings(card.document)
    _check_names(findings)
    findings.raise_if_any()
    kind = card.head.kind
    if card.rows_of is None:
        _check_arguments(findings, SOURCES, ("data",), card.data.format, {**card.data.files(), **card.data.arguments})
    _check_arguments(findings, HEADS, ("head",), kind, card.head_arguments, also=ENCODINGS.arguments(kind))
    _check_kind(card, findings)
    if card.loss is not None:
        _check_arguments(findings, LOSSES, ("loss",), card.loss.kind, card.loss.arguments)
    for index, metric in enumerate(card.metrics):
        _check_arguments(findings, METRICS, ("metrics", index), metric.kind, metric.arguments)
    findings.raise_if_any()


def json_schema() -> dict[str, Any]:
    """The JSON schema of a card, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Card.model_json_schema()}


def _check_names(findings: Findings, *, with_data: bool = True) -> None:
    metrics = findings.document.get(("metrics",))
    if with_data and "data" in findings.document.data:
        findings.check_name(SOURCES, ("data", "format"))
    before = len(findings.errors)
    findings.check_name(HEADS, ("head",))
    if len(findings.errors) == before:
        findings.check_name(ENCODINGS, ("head",))
    findings.check_name(LOSSES, ("loss",))
    for index in range(len(metrics) if isinstance(metrics, list) else 0):
        findings.check_name(METRICS, ("metrics", index))


def _check_arguments(
    findings: Findings, registry: Registry, route: Route, name: str, given: dict[str, Any], also: dict[str, Any] | None = None
) -> None:
    known = {**registry.arguments(name), **(also or {})}
    for key in given:
        if key not in known:
            findings.add((*route, key), f"{registry.noun} '{name}' takes no '{key}'. {nearest(key, known)}", key=True)
    required = {key for key, default in known.items() if default is REQUIRED and key not in given}
    for key in sorted(required):
        findings.add((*route, key), f"is missing: {registry.noun} '{name}' needs it.")


def _check_kind(card: Card, findings: Findings) -> None:
    encoding = ENCODINGS.get(card.head.kind)
    if encoding.needs_target and card.target is None:
        findings.add(("target",), f"is missing: the column a {card.head.kind} task learns.")
    if len(card.inputs) not in encoding.num_inputs:
        wanted = " or ".join(map(str, encoding.num_inputs))
        findings.add(("inputs",), f"a {card.head.kind} task reads {wanted} text columns, found {len(card.inputs)}.")


def _check_labels(findings: Findings) -> None:
    route = ("head", "labels")
    labels = findings.document.get(route)
    if labels is None:
        return
    if not isinstance(labels, list):
        findings.add(route, f"expected a list of labels, found {shown_value(labels)}.")
        return
    kinds = {type(label) for label in labels}
    if not kinds <= {str, int, bool}:
        findings.add(route, "labels must be text or whole numbers. Write each in quotes.")
    elif len(kinds) > 1:
        findings.add(route, "labels mix text and numbers. Write all of them in quotes.")
    elif len(labels) < 2:
        findings.add(route, f"a choice needs at least 2 labels, found {len(labels)}.")
    first: dict[str, int] = {}
    for index, label in enumerate(labels):
        if str(label) in first:
            findings.add((*route, index), f"label {shown_value(label)} is already head.labels.{first[str(label)]}. Keep one.")
        first.setdefault(str(label), index)


def _check_data(findings: Findings) -> None:
    stated = findings.document.data
    if "rows_of" in stated and "data" in stated:
        findings.add(("rows_of",), "stands beside data. The rows are the other task's: give one of the two.", key=True)
    for key, about in (("data", ROWS_ARE), ("inputs", INPUTS_ARE)):
        if key not in stated and "rows_of" not in stated:
            findings.add((key,), f"is missing: {about}.")
    data = findings.document.get(("data",))
    if not isinstance(data, dict):
        return
    if "rows" in data and "split" not in data:
        findings.add(("data", "rows"), "needs data.split to deal its rows into splits, such as split: {by: text}.")
    for split in ("train", "validation", "test"):
        if split in data and "rows" in data:
            findings.add(("data", split), "stands beside data.rows. Give files per split, or rows with split, not both.")


def _raise_wrong_columns(card: Card) -> None:
    findings = Findings(card.document)
    _check_columns(card, findings)
    findings.raise_if_any()


def _check_columns(card: Card, findings: Findings) -> None:
    if len(set(card.inputs)) != len(card.inputs):
        findings.add(("inputs",), f"names '{card.inputs[0]}' twice. A pair needs two columns.")
    if card.target in card.inputs:
        findings.add(("target",), f"'{card.target}' is also an input. Name another column.")
