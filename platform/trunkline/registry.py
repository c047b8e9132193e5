"""Parts by name: found without importing them, loaded on first use, open to third parties.

A room's `__init__.py` holds a literal table name -> module. A package outside adds a part through an entry point in the
group `trunkline.<room>`; a task's `plugin.py` registers its own with the decorator. What a part takes from the recipe or
card are its keyword-only arguments; positional ones are handed to it by `build`.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.metadata
import inspect
import json
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from trunkline.errors import ConfigError, UnknownPart, nearest

Part = TypeVar("Part")
REQUIRED = inspect.Parameter.empty
# Bounds of a part's keyword-only arguments, told with the place of the value that passes them.
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "null"}

FIRST_SENTENCE = re.compile(r".+?\S\.(?=\s|$)")


@dataclass(frozen=True)
class Listed:
    """One line of `trunkline parts`.

    kind: the room's noun. source: trunkline, a distribution, or the file of a plugin. file: of the module, from the source
    root on; for an entry point its module. summary: what the part says of itself first, where that can be read without importing.
    """

    room: str
    name: str
    kind: str
    source: str
    file: str
    summary: str = ""


class Registry:
    """Name -> part for one room.

    room: plural noun, also the entry-point group `trunkline.<room>`. table: `package:NAME` of the literal mapping
    name -> module (relative to the package). named_by: where a user writes the name, in Markdown.
    """

    def __init__(self, room: str, noun: str, table: str, named_by: str = "") -> None:
        self.room, self.noun, self.named_by = room, noun, named_by
        self.package, self.table_name = table.split(":")
        self._loaded: dict[str, Any] = {}
        self._owners: dict[str, str] = {}

    @functools.cached_property
    def _table(self) -> dict[str, str]:
        return dict(getattr(importlib.import_module(self.package), self.table_name))

    @functools.cached_property
    def _entry_points(self) -> dict[str, importlib.metadata.EntryPoint]:
        found = importlib.metadata.entry_points(group=f"trunkline.{self.room}")
        return {point.name: point for point in found}

    def register(self, name: str) -> Callable[[Part], Part]:
        """Decorator. Raises ConfigError if another module holds the name already."""

        def keep(part: Part) -> Part:
            owner = f"{getattr(part, '__module__', '?')}.{getattr(part, '__qualname__', name)}"
            taken = self._owners.get(name)
            if taken is None and name in self._table and not owner.startswith("trunkline."):
                taken = f"{self.package}.{self._table[name]}"
            if taken is not None and taken != owner:
                raise ConfigError(f"{self.noun} '{name}' is already registered by {taken}. Choose another name for {owner}.")
            self._loaded[name] = part
            self._owners[name] = owner
            return part

        return keep

    def names(self) -> list[str]:
        """Every known name, sorted; imports no part."""
        return sorted({*self._table, *self._entry_points, *self._loaded})

    def listing(self) -> Iterator[Listed]:
        """Every part, in the order of names; imports none of them."""
        root = Path(importlib.import_module(self.package).__file__ or "").parents[len(self.package.split("."))]
        for name in self.names():
            if name in self._table:
                file = "/".join([*self.package.split("."), *self._table[name].split(".")]) + ".py"
                summary = registered(root / file).get((self.table_name, name), "")
                yield Listed(self.room, name, self.noun, "trunkline", file, summary)
            elif name in self._entry_points:
                point = self._entry_points[name]
                source = point.dist.name if point.dist else "entry point"
                yield Listed(self.room, name, self.noun, source, point.module)
            else:
                module = self._owners[name].rsplit(".", 1)[0]
                file = getattr(sys.modules.get(module), "__file__", None) or module
                yield Listed(self.room, name, self.noun, file, file)

    def check_name(self, name: str, *, where: str | None = None) -> None:
        """Raises UnknownPart with the nearest names; imports no part."""
        if name not in self.names():
            raise UnknownPart(f"no {self.noun} named '{name}'. {nearest(name, self.names())}", where=where)

    def get(self, name: str, *, where: str | None = None) -> Any:
        """The part itself, imported on first use."""
        if name not in self._loaded:
            self.check_name(name, where=where)
            if name in self._table:
                importlib.import_module(f"{self.package}.{self._table[name]}")
            else:
                self._loaded[name] = self._entry_points[name].load()
        return self._loaded[name]

    def arguments(self, name: str) -> dict[str, Any]:
        """What configuration may say to this part: keyword-only argument -> default (`REQUIRED` if none)."""
        parameters = inspect.signature(self.get(name)).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}

    def check(
        self, name: str, given: Mapping[str, Any], *, where: str | None = None, also: Mapping[str, Any] | None = None
    ) -> None:
        """Raises ConfigError if `given` has a key that is no argument, or lacks a required one.

        also: arguments another part takes from the same mapping (a card's `head` feeds the encoding too).
        """
        known = {**self.arguments(name), **(also or {})}
        prefix = f"{where}: " if where else ""
        for key in given:
            if key not in known:
                raise ConfigError(f"{prefix}{self.noun} '{name}' takes no '{key}'. {nearest(key, known)}")
        for key, said in self.unfit(name, given):
            raise ConfigError(f"{prefix}{self.noun} '{name}': {key}: {said}")
        missing = [key for key, default in known.items() if default is REQUIRED and key not in given]
        if missing:
            raise ConfigError(f"{prefix}{self.noun} '{name}' needs {', '.join(map(repr, missing))}.")

    def unfit(self, name: str, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Argument and sentence for each value of `given` that is not of the argument's type, or beyond its bounds."""
        part = self.get(name)
        try:
            hints = get_type_hints(part if inspect.isfunction(part) else part.__init__, include_extras=True)
        except NameError:  # a part from outside may name types that only a type checker knows
            hints = {}
        for key in self.arguments(name):
            if key in given and key in hints and (said := _misfit(hints[key], given[key])):
                yield key, said


def _misfit(hint: Any, value: Any) -> str | None:
    """What is wrong with a value from a file where `hint` is wanted, None if it fits. Text is never taken for a number."""
    try:
        _adapter(hint).validate_json(json.dumps(value, default=str), strict=True)
    except ValidationError as error:
        bounds = {"greater_than": "above", "greater_than_equal": "at least", "less_than": "below", "less_than_equal": "at most"}
        found = error.errors(include_url=False)[0]
        if found["type"] in bounds:
            return f"must be {bounds[found['type']]} {next(iter(found['ctx'].values())):g}, found {value!r}."
        return f"{_words(hint)} is needed, found {value!r}."
    return None


@functools.lru_cache(maxsize=256)
def _adapter(hint: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(hint, config=ConfigDict(allow_inf_nan=False))
    except PydanticSchemaGenerationError:  # a type of a part from outside
        return TypeAdapter(Any)


def _words(hint: Any) -> str:
    """A type in words: `int | None` is "a whole number or null"."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _words(inner[0])
    if origin in (Union, types.UnionType):
        return " or ".join(_words(one) for one in inner)
    if origin is Literal:
        return " or ".join(map(repr, inner))
    if hint in WORDS:
        return WORDS[hint]
    of = f" of {WORDS[inner[-1]]} each" if inner and inner[-1] in WORDS else ""
    return f"{'keys and values' if issubclass(origin or hint, Mapping) else 'a list'}{of}"


def registered(file: Path) -> dict[tuple[str, str], str]:
    """(registry's name, part's name) -> the first sentence of its docstring, for what `@LOSSES.register("mse")` stands above.

    The file is read, not run. Raises SyntaxError where it is no Python, OSError where it can not be read.
    """
    return _registered(file, file.stat().st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _registered(file: Path, changed: int) -> dict[tuple[str, str], str]:
    del changed  # of the cache's key
    found = {}
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        if not isinstance(node, ast.ClassDef | ast.FunctionDef):
            continue
        for call in node.decorator_list:
            match call:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id=table), attr="register"), args=[ast.Constant(value=str(name))]
                ):
                    found[table, name] = _first_sentence(ast.get_docstring(node) or "")
    return found


def _first_sentence(text: str) -> str:
    paragraph = " ".join(text.split("\n\n")[0].split())
    sentence = FIRST_SENTENCE.match(paragraph)
    return sentence[0] if sentence else paragraph.rstrip(":")


SOURCES = Registry("sources", "source format", "trunkline.data.sources:SOURCES", "a card's `data.format`")
ENCODINGS = Registry(
    "encodings", "kind of task", "trunkline.data.encoding:ENCODINGS", "a card's `head.kind`: columns to rows and targets"
)
TOKENIZERS = Registry("tokenizers", "tokenizer", "trunkline.data:TOKENIZERS", "a recipe's `tokenizer`")
SAMPLERS = Registry("samplers", "sampling schedule", "trunkline.sampling:SAMPLERS", "a recipe's `sampling`")
TRUNKS = Registry("trunks", "trunk", "trunkline.models:TRUNKS", "a recipe's `trunk`")
POOLINGS = Registry("poolings", "pooling", "trunkline.models:POOLINGS", "a card's `head.pooling`")
HEADS = Registry("heads", "head", "trunkline.models.heads:HEADS", "a card's `head.kind`: token states to outputs")
LOSSES = Registry("losses", "loss", "trunkline.losses:LOSSES", "a card's `loss`")
WEIGHTINGS = Registry("weightings", "weighting", "trunkline.weighting:WEIGHTINGS", "a recipe's `weighting`")
METRICS = Registry("metrics", "metric", "trunkline.metrics:METRICS", "a card's `metrics`")
OPTIMIZERS = Registry("optimizers", "optimizer", "trunkline.training:OPTIMIZERS", "a recipe's `optim`")
PASSES = Registry("passes", "pass", "trunkline.training:PASSES", "a recipe's `passes`")
VECTORS = Registry("vectors", "method", "trunkline.vectors:VECTORS", "`trunkline vectors train --method`")


def metric_of(name: str) -> Any:
    """The class of a metric by its name among results: `ndcg@5` is an `ndcg`."""
    return METRICS.get(name.partition("@")[0])


REGISTRIES: tuple[Registry, ...] = (
    SOURCES, ENCODINGS, TOKENIZERS, SAMPLERS, TRUNKS, POOLINGS, HEADS, LOSSES, WEIGHTINGS, METRICS, OPTIMIZERS,
    PASSES, VECTORS,
)  # fmt: skip
