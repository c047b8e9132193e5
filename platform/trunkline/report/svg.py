"""Charts as SVG text: lines and heat maps in the page's own colours. Every name is escaped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from trunkline.report.series import Curve

NARROW, WIDE = (420, 190), (1100, 300)  # a chart among others, and one alone
LEFT, RIGHT, TOP, BOTTOM = 66, 10, 10, 26
ABOVE = 16  # characters of a name above a column; the square's title has it whole
COLOURS = 10  # classes c0 to c9 of the page's style


def lines(
    curves: Sequence[Curve],
    *,
    label: str,
    dashed: Sequence[int] = (),
    faint: Sequence[int] = (),
    colours: Sequence[int] | None = None,
    size: tuple[int, int] = NARROW,
    unit: str = "step",
) -> str:
    """A chart of curves over steps, or another unit. dashed, faint: which are drawn so; colours: the class of each, else its
    number."""
    drawn = [curve.thinned() for curve in curves if len(curve.steps)]
    if not drawn:
        return ""
    numbers = [number for number, curve in enumerate(curves) if len(curve.steps)]
    low_x, high_x = _range([step for curve in drawn for step in curve.steps])
    low, high = _range([value for curve in drawn for value in curve.values])
    frame = Frame(low_x, high_x, low, high, *size, unit)
    parts = [f'<svg viewBox="0 0 {size[0]} {size[1]}" role="img" aria-label="{escape(label)}"><title>{escape(label)}</title>']
    parts += frame.axes()
    for number, curve in zip(numbers, drawn, strict=True):
        colour = (colours[number] if colours is not None else number) % COLOURS
        places = [(frame.x(step), frame.y(value)) for step, value in zip(curve.steps, curve.values, strict=True)]
        dash = (" dash" if number in dashed else "") + (" faint" if number in faint else "")
        name = escape(curve.name)
        if len(places) == 1:
            parts.append(
                f'<circle class="p{colour}" cx="{places[0][0]}" cy="{places[0][1]}" r="3"><title>{name}</title></circle>'
            )
        else:
            points = " ".join(f"{x},{y}" for x, y in places)
            parts.append(f'<polyline class="c{colour}{dash}" points="{points}"><title>{name}</title></polyline>')
    return "".join([*parts, "</svg>"])


def heat(
    rows: Sequence[str], columns: Sequence[str], values: Mapping[tuple[str, str], float], *, label: str, reach: float
) -> str:
    """A square for each pair that has a value: red below 0, blue above, full at `reach`; the number stands in it."""
    size, side = 46, 10 + 7 * max((len(name) for name in rows), default=0)
    side, top = min(side, 220), 12 + 5 * min(max((len(name) for name in columns), default=0), ABOVE)
    width, height = side + size * len(columns) + 70, top + size * len(rows) + 8
    frame = f'class="heat" style="max-width:{width}px" viewBox="0 0 {width} {height}"'
    parts = [f'<svg {frame} role="img" aria-label="{escape(label)}"><title>{escape(label)}</title>']
    for column, name in enumerate(columns):
        x = side + size * column + size / 2
        place = f"translate({x:.0f},{top - 6}) rotate(-40)"
        parts.append(f'<text class="name" transform="{place}">{escape(_short(name, ABOVE))}</text>')
    for row, name in enumerate(rows):
        y = top + size * row
        parts.append(f'<text class="name end" x="{side - 6}" y="{y + size / 2 + 4:.0f}">{escape(_short(name))}</text>')
        for column, other in enumerate(columns):
            value = values.get((name, other))
            if value is None:
                continue
            x, strength = side + size * column, min(abs(value) / reach, 1.0) if reach else 0.0
            kind = "warm" if value < 0 else "cold"
            parts.append(
                f'<rect class="{kind}" x="{x}" y="{y}" width="{size - 2}" height="{size - 2}" '
                f'fill-opacity="{0.08 + 0.8 * strength:.2f}">'
                f"<title>{escape(name)} / {escape(other)}: {value:+.3f}</title></rect>"
                f'<text class="cell" x="{x + size / 2 - 1:.0f}" y="{y + size / 2 + 4:.0f}">{value:+.2f}</text>'
            )
    return "".join([*parts, "</svg>"])


def bars(values: Mapping[str, float], *, label: str, whole: float) -> str:
    """A bar for each name, as long as its share of `whole`; the number and the share stand behind it."""
    line, side = 22, min(10 + 7 * max(map(len, map(_short, values))), 150)
    height, room = line * len(values) + 6, NARROW[0] - side - 100
    parts = [f'<svg viewBox="0 0 {NARROW[0]} {height}" role="img" aria-label="{escape(label)}"><title>{escape(label)}</title>']
    largest = max(values.values()) or 1
    for place, (name, value) in enumerate(values.items()):
        y, width = 4 + line * place, round(room * value / largest, 1)
        parts.append(
            f'<text class="end" x="{side - 6}" y="{y + 13}">{escape(_short(name, 20))}<title>{escape(name)}</title></text>'
        )
        parts.append(f'<rect class="p0" x="{side}" y="{y}" width="{width}" height="{line - 6}"/>')
        share = f" ({value / whole:.0%})" if whole else ""
        parts.append(f'<text x="{side + width + 6}" y="{y + 13}">{value:,.0f}{share}</text>')
    return "".join([*parts, "</svg>"])


def number(value: float) -> str:
    """Four significant digits, thousands apart."""
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.4g}"
    return f"{value:,.0f}" if abs(value) < 1e9 and abs(value) >= 1e4 else f"{value:.2e}"


def _short(name: str, most: int = 28) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low == high:
        room = abs(low) * 0.1 or 1.0
        return low - room, high + room
    return low, high


@dataclass(frozen=True)
class Frame:
    """Where steps and values stand in a chart."""

    first: float
    last: float
    low: float
    high: float
    width: int
    height: int
    unit: str = "step"

    def x(self, step: float) -> float:
        return round(LEFT + (step - self.first) / (self.last - self.first) * (self.width - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        return round(TOP + (self.high - value) / (self.high - self.low) * (self.height - TOP - BOTTOM), 1)

    def axes(self) -> list[str]:
        parts = []
        for value, shown in ticks(self.low, self.high):
            y = self.y(value)
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{self.width - RIGHT}" y1="{y}" y2="{y}"/>')
            parts.append(f'<text class="tick end" x="{LEFT - 6}" y="{y + 4}">{shown}</text>')
        for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
            step = self.first + share * (self.last - self.first)
            place = f'x="{self.x(step)}" y="{self.height - 8}"'
            shown = f"{step:,.0f}" if self.last - self.first > 9 else number(step)
            told = f"step {shown}" if self.unit == "step" else f"{shown} {self.unit}".rstrip()
            parts.append(f'<text class="tick" text-anchor="{anchor}" {place}>{told}</text>')
        return parts


def ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Three to six round values between low and high, and how they are written."""
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    small = digits > 4
    return [
        (n * step, f"{n * step:.1e}" if small and n else f"{n * step:,.{0 if small else digits}f}")
        for n in range(first, last + 1)
    ]
