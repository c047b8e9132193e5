"""Plain data as YAML text that `reader` reads back equal."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from trunkline.document.composer import scalar

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./+-]*( [A-Za-z0-9_./+-]+)*")
UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
WIDTH = 110


def render(data: Mapping[str, Any]) -> str:
    """Block style for mappings that hold mappings or do not fit on a line, flow style for the rest; keys in their order."""
    return "".join(_block(key, value, 0) for key, value in data.items())


def _block(key: str, value: Any, indent: int) -> str:
    head = f"{' ' * indent}{render_value(key)}:"
    line = f"{head} {render_value(value)}\n"
    if len(line) <= WIDTH or not isinstance(value, Mapping | list) or not value:
        return line
    if isinstance(value, Mapping):
        return f"{head}\n" + "".join(_block(name, item, indent + 2) for name, item in value.items())
    return f"{head}\n" + "".join(f"{' ' * indent}  - {render_value(item)}\n" for item in value)


def render_value(value: Any) -> str:
    """One value in flow style, on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{render_value(key)}: {render_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(render_value(item) for item in value) + "]"
    if isinstance(value, str):
        return value if PLAIN.fullmatch(value) and scalar(value) == value else _quoted(value)
    return json.dumps(value, allow_nan=False)


def _quoted(text: str) -> str:
    return UNPRINTABLE.sub(lambda match: f"\\u{ord(match.group()):04x}", json.dumps(text, ensure_ascii=False))
