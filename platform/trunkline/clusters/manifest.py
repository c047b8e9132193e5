"""Plain data as block YAML that every reader reads alike: all text is quoted, so that no `on` or `1e3` becomes something else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
PLAIN_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}  # YAML 1.1 reads them as something else


def render(documents: Iterable[Mapping[str, Any]]) -> str:
    """Documents, one below the other."""
    return "---\n".join("".join(f"{line}\n" for line in _mapping(document)) for document in documents)


def _mapping(data: Mapping[str, Any]) -> Iterator[str]:
    for key, value in data.items():
        yield from _entry(f"{_key(key)}:", value)


def _entry(head: str, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        yield head
        yield from (f"  {line}" for line in _mapping(value))
    elif isinstance(value, list | tuple) and value:
        yield head
        for item in value:
            lines = list(_mapping(item)) if isinstance(item, Mapping) and item else [_scalar(item)]
            yield f"  - {lines[0]}"
            yield from (f"    {line}" for line in lines[1:])
    else:
        yield f"{head} {_scalar(value)}"


def _key(key: str) -> str:
    return key if PLAIN_KEY.fullmatch(key) and key.lower() not in WORDS else quoted(key)


def _scalar(value: Any) -> str:
    return quoted(value) if isinstance(value, str) else json.dumps(value, allow_nan=False)


def quoted(text: str) -> str:
    """Text in double quotes, every odd character escaped."""
    return UNPRINTABLE.sub(lambda match: f"\\u{ord(match.group()):04x}", json.dumps(text, ensure_ascii=False))
