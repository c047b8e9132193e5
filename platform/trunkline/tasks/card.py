"""A card: the YAML file that states a task. Strict; knows part names but imports no part until it is asked to check them."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import ConfigDict, Field, PrivateAttr, field_validator

from trunkline.document import reader, writer
from trunkline.document.reader import Document, Route
from trunkline.document.schema import Findings, Names, Part, Strict, check_version, shown_value, validate
from trunkline.errors import ConfigError, nearest
from trunkline.registry import ENCODINGS, HEADS, LOSSES, METRICS, REQUIRED, SOURCES, Registry
from trunkline.tasks.parts import check_joint, part_views
from trunkline.tasks.section import INPUTS_ARE, NOWHERE, ROWS_ARE, Data, Teacher, check_data

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
OF_EVERY_HEAD: Final = {"layer_mix": False}  # what any head takes beside its own arguments, and the default


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
    teacher: Teacher | None = Field(default=None, description="a column of scores to learn from, or {model: folder}")
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
    _whole: Card | None = PrivateAttr(default=None)
    _stated: dict[str, Any] = PrivateAttr(default_factory=dict)
    _moved: dict[str, Route] = PrivateAttr(default_factory=dict)

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
    def whole(self) -> Card:
        """The card as its file states it: itself, or the joint card it is a part of."""
        return self._whole or self

    @property
    def parts(self) -> dict[str, Card]:
        """Of a joint card: part -> the card of a task named `<card>_<part>`, all over the rows of the first; of others none."""
        parts = {}
        for part, (stated, moved) in part_views(self._document).items() if self._whole is None else ():
            card = Card.model_validate(stated)
            card._path, card._document, card._whole, card._stated, card._moved = self._path, self._document, self, stated, moved
            parts[part] = card
        return parts

    @property
    def portable(self) -> str:
        """The card's text with its inputs stated, for a model folder: the task it shares rows with may not be there."""
        stated = self._stated or self._document.data
        return (
            self.text
            if stated is self._document.data and "inputs" in stated
            else writer.render({**stated, "inputs": self.inputs})
        )

    @property
    def findings(self) -> Findings:
        """For mistakes of this card, told with their place."""
        return Findings(self._document, self._moved)

    @property
    def head_arguments(self) -> dict[str, Any]:
        """The head's arguments; labels as text, for rows are matched by their text."""
        given = self.head.arguments
        return {**given, "labels": [str(label) for label in given["labels"]]} if isinstance(given.get("labels"), list) else given

    def where(self, *route: str | int) -> str:
        """`file:line:col: route`, for messages about this card."""
        return self.findings.where(route)

    def fingerprint(self) -> str:
        """SHA-256 of what `extend` compares: inputs, target, kind, the encoding's arguments, column mapping.

        Arguments left at their defaults count as not given. Loads the encoding (and needs the card's plugin loaded).
        """
        defaults = ENCODINGS.arguments(self.head.kind)
        encoding = {key: value for key, value in self.head_arguments.items() if key in defaults and value != defaults[key]}
        stated = [self.inputs, self.target, self.head.kind, encoding, self.data.columns]
        if self.data.lists:
            stated.append(self.data.lists)
        if self.data.gather is not None:
            stated.append(self.data.gather.model_dump())
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
    plugin = (path.parent / "plugin.py").is_file()
    if with_data and not plugin and "data" in document.data:
        findings.check_name(SOURCES, ("data", "format"))
    check_joint(findings)
    check_data(findings)
    views = part_views(document) if card is not None and not findings.errors else {}
    for stated, moved in views.values() or [(document.data, {})]:
        view = findings.view(moved)
        one = validate(Card, view, ELSEWHERE, stated) if views else card
        if not plugin:
            _check_names(view)
        _check_labels(view)
        if one is not None:
            _check_columns(one, view)
    findings.raise_if_any()
    assert card is not None
    card._path, card._document = path, document
    return card


def check_parts(card: Card) -> None:
    """Loads the card's parts and checks names and arguments against their signatures. Its plugin must be loaded before.

    Raises ConfigError that names every mistake. Imports torch (heads and losses are modules).
    """
    for part in card.parts.values():
        check_parts(part)
    if card.parts:
        return
    findings = card.findings
    if card.rows_of is None:
        findings.check_name(SOURCES, ("data", "format"))
    _check_names(findings)
    findings.raise_if_any()
    kind = card.head.kind
    if card.rows_of is None:
        _check_arguments(findings, SOURCES, ("data",), card.data.format, {**card.data.files(), **card.data.arguments})
    _check_arguments(findings, HEADS, ("head",), kind, card.head_arguments, also={**OF_EVERY_HEAD, **ENCODINGS.arguments(kind)})
    for key, said in ENCODINGS.unfit(kind, card.head_arguments):
        findings.add(("head", key), said)
    _check_kind(card, findings)
    if card.loss is not None:
        _check_arguments(findings, LOSSES, ("loss",), card.loss.kind, card.loss.arguments)
    for index, metric in enumerate(card.metrics):
        _check_arguments(findings, METRICS, ("metrics", index), metric.kind, metric.arguments)
    findings.raise_if_any()


def json_schema() -> dict[str, Any]:
    """The JSON schema of a card, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Card.model_json_schema()}


def _check_names(findings: Findings) -> None:
    metrics = findings.get(("metrics",))
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
    for key, said in registry.unfit(name, given):
        findings.add((*route, key), said)
    required = {key for key, default in known.items() if default is REQUIRED and key not in given}
    for key in sorted(required):
        findings.add((*route, key), f"is missing: {registry.noun} '{name}' needs it.")


def _check_kind(card: Card, findings: Findings) -> None:
    encoding = ENCODINGS.get(card.head.kind)
    if not isinstance(mixes := card.head_arguments.get("layer_mix", False), bool):
        findings.add(("head", "layer_mix"), f"expected true or false, found {shown_value(mixes)}.")
    if encoding.needs_target and card.target is None:
        findings.add(("target",), f"is missing: the column a {card.head.kind} task learns.")
    if card.inputs and len(card.inputs) not in encoding.num_inputs:
        wanted = " or ".join(map(str, encoding.num_inputs))
        findings.add(("inputs",), f"a {card.head.kind} task reads {wanted} text columns, found {len(card.inputs)}.")


def _check_labels(findings: Findings) -> None:
    route = ("head", "labels")
    labels = findings.get(route)
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


def _raise_wrong_columns(card: Card) -> None:
    findings = card.findings
    _check_columns(card, findings)
    findings.raise_if_any()


def _check_columns(card: Card, findings: Findings) -> None:
    if len(set(card.inputs)) != len(card.inputs):
        findings.add(("inputs",), f"names '{card.inputs[0]}' twice. A pair needs two columns.")
    if card.target in card.inputs:
        findings.add(("target",), f"'{card.target}' is also an input. Name another column.")
