"""A card's name, kind and summary without a YAML parser: what makes a thousand cards list in a blink."""

from __future__ import annotations

import re

from trunkline.document.composer import scalar
from trunkline.tasks.card import NAME

TOP_KEY = re.compile(r"^([a-z_]+):(?: +(.*?))? *$")
PLAIN = re.compile(r"[A-Za-z][^:#{}\[\]\"'\t]*")
KIND = re.compile(r"\{ *kind: *([a-z_0-9]+) *[,}]")
NOT_PLAIN = frozenset("\"'|>&*!\t\\")


def at_a_glance(text: str) -> tuple[str, str, str | None] | None:
    """(name, kind, summary) of a card written plainly, without a YAML parser; None where that would take one."""
    blocks: dict[str, list[str]] = {}
    block: list[str] = []
    for line in text.splitlines():
        if line[:1] not in ("", " ", "#"):
            match = TOP_KEY.match(line)
            if match is None or match[1] in blocks:
                return None
            block = blocks[match[1]] = [match[2] or ""]
        elif line[:1] == " " and line.strip():
            block.append(line)
    if not all(_closed(lines) for key, lines in blocks.items() if key != "summary"):
        return None
    name = _plain(blocks.get("name"))
    head = blocks.get("head")
    summary = _plain(blocks.get("summary")) if "summary" in blocks else None
    kind = _kind(head) if head else None
    if name is None or not NAME.fullmatch(name) or kind is None or ("summary" in blocks and summary is None):
        return None
    return name, kind, summary


def _closed(lines: list[str]) -> bool:
    text = "\n".join(lines)
    balanced = all(text.count(opened) == text.count(closed) for opened, closed in ("{}", "[]"))
    return balanced and not NOT_PLAIN & set(text)


def _plain(lines: list[str] | None) -> str | None:
    if lines is None or len(lines) != 1:
        return None
    text = lines[0].split(" #", 1)[0].strip()
    return text if PLAIN.fullmatch(text) and scalar(text) == text else None


def _kind(lines: list[str]) -> str | None:
    first = lines[0].split(" #", 1)[0].strip()
    if first.startswith("{"):
        match = KIND.match(first)
        kind = match[1] if match else None
    elif first:
        kind = _plain(lines)
    else:
        kinds = [line.split("kind:", 1)[1].split(" #", 1)[0].strip() for line in lines[1:] if line.startswith("  kind: ")]
        kind = kinds[0] if len(kinds) == 1 else None
    return kind if kind is not None and NAME.fullmatch(kind) and scalar(kind) == kind else None
