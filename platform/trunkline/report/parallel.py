"""Parallel coordinates as SVG text: an axis for each setting and figure, a line for each trial."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from trunkline.report.svg import number

GAP, HEIGHT, TOP, BOTTOM, SIDE = 130, 320, 40, 300, 60
WIDE_RANGE = 20  # from so many times the least on, an axis is logarithmic
PLAIN, BEST = "#8899aa", "#d1481f"


def parallel(axes: Sequence[str], lines: Sequence[Sequence[Any]], best: int) -> str:
    """A drawing that stands alone. lines: a value for each axis, None where there is none. best: the line that stands out.

    Numbers lie on a scale from their least (below) to their greatest, others evenly, in order of their names.
    """
    width = 2 * SIDE + GAP * max(len(axes) - 1, 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{HEIGHT}" fill="#ffffff"/>',
    ]
    places: list[Callable[[Any], float]] = []
    for column, name in enumerate(axes):
        place, marks = _axis([line[column] for line in lines if line[column] is not None])
        places.append(place)
        x = SIDE + GAP * column
        parts.append(f'<path d="M{x} {TOP}V{BOTTOM}" stroke="#59636e"/>')
        parts.append(f'<text x="{x}" y="{TOP - 16}" text-anchor="middle">{escape(name)}</text>')
        parts += [f'<text x="{x + 5}" y="{place(mark) + 4:.1f}" fill="#59636e">{escape(_said(mark))}</text>' for mark in marks]
    for row in sorted(range(len(lines)), key=lambda own: own == best):  # the best one last, above the others
        points = [
            f"{SIDE + GAP * column},{places[column](value):.1f}" for column, value in enumerate(lines[row]) if value is not None
        ]
        stroke = f'stroke="{BEST}" stroke-width="2.5"' if row == best else f'stroke="{PLAIN}" stroke-opacity="0.7"'
        parts.append(f'<polyline points="{" ".join(points)}" fill="none" {stroke}/>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _axis(values: Sequence[Any]) -> tuple[Callable[[Any], float], list[Any]]:
    """Where a value stands, and which are marked."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        low, high = min(values, default=0.0), max(values, default=0.0)
        scale: Callable[[float], float] = math.log if low > 0 and high >= WIDE_RANGE * low else float
        reach = scale(high) - scale(low)
        return lambda value: _y((scale(value) - scale(low)) / reach if reach else 0.5), [low, high] if reach else [low]
    names = sorted({_said(value) for value in values})
    return lambda value: _y(names.index(_said(value)) / max(len(names) - 1, 1)), names


def _y(share: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * share


def _said(value: Any) -> str:
    return number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
