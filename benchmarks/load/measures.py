"""Which function measures which figure."""

from __future__ import annotations

from importlib import import_module
from typing import Any

ROOMS = {
    "commands": ("L1", "L2", "L3", "L13"),
    "streaming": ("L5", "L6"),
    "disk": ("L7", "L8", "L9"),
    "tracking": ("L10",),
    "training": ("L4", "L18"),
}


def measured(name: str) -> dict[str, Any]:
    """got: in words; met; note: the cause of a miss, or a smaller scale; values: the numbers."""
    room = next(room for room, names in ROOMS.items() if name in names)
    found: dict[str, Any] = getattr(import_module(f"benchmarks.load.{room}"), name.lower())()
    return found


def told(got: str, met: bool, note: str = "", **values: Any) -> dict[str, Any]:
    return {"got": got, "met": met, **({"note": note} if note else {}), "values": values}
