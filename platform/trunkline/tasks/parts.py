"""A joint card: several kinds of task over one row, each part stated below `head.parts` and read as a card of its own."""

from __future__ import annotations

from typing import Any, Final

from trunkline.document.reader import Document, Route
from trunkline.document.schema import Findings

JOINT: Final = "joint"
PART_KEYS = ("target", "loss", "metrics", "teacher", "head_of")
PARTS_ARE = "{topic: {kind: classification, target: topic, labels: [a, b]}, tags: {kind: tagging, target: tags, labels: [O, X]}}"


def part_views(document: Document) -> dict[str, tuple[dict[str, Any], dict[str, Route]]]:
    """Part -> what its card states, and where that stands in the document; none if it is no joint card of sound parts."""
    head = document.get(("head",))
    parts = head.get("parts") if isinstance(head, dict) and head.get("kind") == JOINT else None
    if not isinstance(parts, dict) or not all(isinstance(part, dict) for part in parts.values()):
        return {}
    data = document.data
    shared = {key: value for key, value in data.items() if key not in ("name", "head", *PART_KEYS)}
    views = {}
    for number, (part, stated) in enumerate(parts.items()):
        place: Route = ("head", "parts", part)
        own = {key: value for key, value in stated.items() if key in PART_KEYS}
        rows = {"rows_of": f"{data.get('name')}_{next(iter(parts))}"} if number else {}
        kept = {key: value for key, value in shared.items() if not number or key not in ("data", "inputs")}
        kind = {key: value for key, value in stated.items() if key not in PART_KEYS}
        card = {**kept, **rows, **own, "name": f"{data.get('name')}_{part}", "head": kind}
        views[part] = (card, {"head": place, "name": place, **{key: (*place, key) for key in PART_KEYS}})
    return views


def check_joint(findings: Findings) -> None:
    """Notes parts that are missing, and keys that belong into them."""
    head = findings.document.get(("head",))
    if head == JOINT or (isinstance(head, dict) and head.get("kind") == JOINT):
        parts = head.get("parts") if isinstance(head, dict) else None
        if not isinstance(parts, dict) or not parts or not all(isinstance(part, dict) for part in parts.values()):
            findings.add(("head", "parts"), f"expected a kind of task for each name, such as {PARTS_ARE}.")
        for key in PART_KEYS:
            if key in findings.document.data:
                findings.add((key,), "stands in each part of a joint task. Move it into head.parts.", key=True)
        for key in head if isinstance(head, dict) else ():
            if key not in ("kind", "parts"):
                findings.add(("head", key), "stands in each part of a joint task. Move it into head.parts.", key=True)
