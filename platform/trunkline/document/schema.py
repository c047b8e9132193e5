"""Strict schemas over documents: every mistake of a file becomes a sentence with its place, all reported together."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Protocol, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, ValidationError, model_validator

from trunkline.document.composer import Place
from trunkline.document.reader import Document, Route, route_text
from trunkline.errors import ConfigError, Problems, TrunklineError, nearest

Schema = TypeVar("Schema", bound=BaseModel)
ANY = "*"  # stands for a list index in a field's route
REFERENCE = re.compile(r"\$\{\w+\}")
PASSWORD = re.compile(r"://[^/\s@:]*:[^/\s@]+@")
SECRET = re.compile(r"(?i)(^|_)(api_?key|secret|password|token|credentials?)$")


class Strict(BaseModel):
    """A section whose keys are all known; text is never taken for a number."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, validate_default=True)


class Open(BaseModel):
    """A section whose further keys are the arguments of the part it names."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    @property
    def arguments(self) -> dict[str, Any]:
        """What the file says to the part itself."""
        return dict(self.model_extra or {})


class Short(BaseModel):
    """A section that may be written as its first key's text alone."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {next(iter(cls.model_fields)): value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, handler(core_schema)]}


class Part(Short, Open):
    """A registered name and that part's own arguments; in YAML `{kind: name, ...}` or just the name."""

    kind: str = Field(min_length=1, description="a registered name, see `trunkline parts`")


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Names = Annotated[list[str], BeforeValidator(_listed, json_schema_input_type=str | list[str])]


class Named(Protocol):
    """What knows its names and refuses others: a part registry."""

    def check_name(self, name: str, *, where: str | None = None) -> None: ...


class Findings:
    """The mistakes of one document, told in the order of its lines.

    moved: first step of a route -> where what it names stands in this document, for a part of it that reads as a whole.
    """

    def __init__(self, document: Document, moved: Mapping[str, Route] | None = None) -> None:
        self.document, self.moved = document, dict(moved or {})
        self.errors: list[tuple[Place, TrunklineError]] = []

    def view(self, moved: Mapping[str, Route]) -> Findings:
        """A part of the same document; what is found there is found here."""
        view = Findings(self.document, moved)
        view.errors = self.errors
        return view

    def route(self, route: Route) -> Route:
        """Where the route leads in the document."""
        first = route[0] if route else ""
        return (*self.moved[first], *route[1:]) if isinstance(first, str) and first in self.moved else tuple(route)

    def get(self, route: Route) -> Any:
        """The value at a route, None where there is none."""
        return self.document.get(self.route(route))

    def add(self, route: Route, message: str, *, key: bool = False) -> None:
        self.note(route, ConfigError(message, where=self.where(route, key=key)), key=key)

    def note(self, route: Route, error: TrunklineError, *, key: bool = False) -> None:
        place = self.document.place(self.route(route), key=key)
        self.errors.append((place if isinstance(place, Place) else Place(0, 0), error))

    def where(self, route: Route, *, key: bool = False) -> str:
        """`file:line:col: route`, the start of every message."""
        route = self.route(route)
        where = self.document.where(route, key=key)
        return f"{where}: {route_text(route)}" if route else where

    def check_name(self, registry: Named, route: Route) -> None:
        """Notes an unknown part name at `route`, which holds a name or a mapping with `kind`."""
        value = self.get(route)
        if isinstance(value, Mapping):
            route, value = (*route, "kind"), value.get("kind")
        if isinstance(value, str) and value:
            try:
                registry.check_name(value, where=self.where(route))
            except ConfigError as error:
                self.note(route, error)

    def raise_if_any(self) -> None:
        problems = Problems()
        for _, error in sorted(self.errors, key=lambda pair: pair[0][:2]):
            problems.add(error)
        problems.raise_if_any()


def validate(
    schema: type[Schema], findings: Findings, elsewhere: Mapping[str, str], data: Mapping[str, Any] | None = None
) -> Schema | None:
    """The document as `schema`, or None with every mistake noted. elsewhere: key -> where it belongs, for keys of other files.

    data: instead of the whole document what `findings`, a view of it, is about.
    """
    stated = findings.document.data if data is None else data
    _note_texts(findings, stated)
    try:
        return schema.model_validate(stated)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            _note(schema, findings, elsewhere, detail)
        return None


def _note_texts(findings: Findings, value: Any, route: Route = ()) -> None:
    """Notes every `${NAME}`, which would be taken for text, and every address with a password in it."""
    below = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in below:
        _note_texts(findings, inner, (*route, step))
    if isinstance(value, str) and (found := REFERENCE.search(value)):
        findings.add(route, f"'{found[0]}' is not filled in: a file means the same wherever it is read. Write the value itself.")
    if isinstance(value, str) and PASSWORD.search(value):
        findings.add(route, "an address with a password in it. Give that through the environment, and remove it here.")


def check_version(findings: Findings, newest: int) -> None:
    """Raises ConfigError at once if the document was written for a newer trunkline."""
    version = findings.document.data.get("schema_version", newest)
    if isinstance(version, int) and not isinstance(version, bool) and version > newest:
        findings.add(("schema_version",), f"found {version}, but this trunkline reads up to {newest}. Upgrade trunkline.")
        findings.raise_if_any()


def _note(schema: type[BaseModel], findings: Findings, elsewhere: Mapping[str, str], detail: Any) -> None:
    route: Route = tuple(detail["loc"])
    if detail["type"] == "extra_forbidden":
        findings.add(route, _unknown_key(schema, route, elsewhere), key=True)
    elif detail["type"] == "missing":
        about = _fields(schema).get(_pattern(route))
        findings.add(route, f"is missing{f': {about}' if about else ''}.")
    elif detail["type"] != "default_factory_not_called":
        findings.add(route, _sentence(detail, shown_value(detail["input"], route)))


def shown_value(value: Any, route: Route = ()) -> str:
    """A value in a message: short, in YAML's words, never a secret."""
    if route and isinstance(route[-1], str) and SECRET.search(route[-1]):
        return "a value"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value if len(str(value)) <= 60 else f"{str(value)[:57]}...") if isinstance(value, str) else str(value)[:60]


TYPES = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "model_attributes_type": "keys and values",
    "finite_number": "a finite number",
}
BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}


def _sentence(detail: Any, found: str) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in TYPES:
        comma = isinstance(detail["input"], str) and re.fullmatch(r"[-+]?\d+,\d+", detail["input"])
        hint = " Write a point, not a comma." if comma and "number" in TYPES[kind] else ""
        return f"expected {TYPES[kind]}, found {found}.{hint}"
    if kind in BOUNDS:
        bound, word = BOUNDS[kind]
        return f"must be {word} {_number(context[bound])}, found {found}."
    if kind == "literal_error":
        known = [word.strip("'") for word in re.split(r", | or ", context["expected"])]
        return f"unknown value {found}. {nearest(str(detail['input']), known)}"
    if kind in ("too_short", "string_too_short"):
        return "must not be empty."
    if kind == "too_long":
        return f"takes at most {context['max_length']} entries, found {context['actual_length']}."
    if kind == "value_error":
        return str(context["error"])
    return f"{detail['msg']}, found {found}."


def _number(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _unknown_key(schema: type[BaseModel], route: Route, elsewhere: Mapping[str, str]) -> str:
    key, fields, pattern = str(route[-1]), _fields(schema), _pattern(route)
    if key in elsewhere:
        return f"does not belong here. {elsewhere[key]}"
    if SECRET.search(key):
        return "a secret does not belong in a file. Give it through the environment, and remove it here."
    here = [other[-1] for other in fields if other[:-1] == pattern[:-1]]
    levels = [route_text([step if step != ANY else "N" for step in other]) for other in fields if other[-1] == key]
    if levels and not difflib.get_close_matches(key, here, n=1, cutoff=0.85):
        return f"unknown key at this level. Did you mean {' or '.join(repr(level) for level in levels)}?"
    return f"unknown key. {nearest(key, here)}"


def _pattern(route: Route) -> tuple[str, ...]:
    return tuple(ANY if isinstance(step, int) else step for step in route)


def _fields(schema: type[BaseModel]) -> dict[tuple[str, ...], str | None]:
    """Every field's route below `schema` (list indices as `*`) -> its description."""
    return dict(_walk(schema, ()))


def _walk(schema: type[BaseModel], above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str | None]]:
    for name, field in schema.model_fields.items():
        yield (*above, name), field.description
        for model, steps in _models(field.annotation):
            yield from _walk(model, (*above, name, *steps))


def _models(annotation: Any) -> Iterator[tuple[type[BaseModel], tuple[str, ...]]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, ()
    elif get_origin(annotation) in (Union, types.UnionType, Annotated):
        for inner in get_args(annotation):
            yield from _models(inner)
    elif get_origin(annotation) is list:
        for model, steps in _models(get_args(annotation)[0]):
            yield model, (ANY, *steps)
