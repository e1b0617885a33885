"""Plots as SVG, in a few lines of our own. They are readable on light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

COLOURS = ("#2563eb", "#0d9488", "#d97706", "#9333ea", "#dc2626", "#65a30d", "#0891b2", "#be185d")
INK = "#6b7280"
WIDTH, LEFT, RIGHT, ROW = 800, 260, 90, 30
LEGEND = 3
"""Names a line."""
PLOT = WIDTH - LEFT - RIGHT


@dataclass(frozen=True)
class Bar:
    label: str
    value: float
    least: float
    most: float


def bars(title: str, rows: Sequence[Bar], unit: str) -> str:
    """One bar a row, on a logarithmic scale, with a whisker from the least to the most of the rounds."""
    positive = [row for row in rows if row.least > 0]
    low = 10 ** math.floor(math.log10(min(row.least for row in positive)) - 0.001)
    high = 10 ** math.ceil(math.log10(max(row.most for row in positive)) + 0.001)

    def x(value: float) -> float:
        return LEFT + PLOT * math.log10(value / low) / math.log10(high / low)

    bottom = 44 + ROW * len(positive)
    parts = []
    for power in range(round(math.log10(low)), round(math.log10(high)) + 1):
        at = x(10.0**power)
        parts += [_line(at, 36, at, bottom, 0.3), _text(at, bottom + 16, _number(10.0**power), "middle")]
    for index, row in enumerate(positive):
        top = 40 + index * ROW
        colour = COLOURS[index % len(COLOURS)]
        parts += [
            _text(LEFT - 8, top + 16, row.label, "end"),
            f'<rect x="{LEFT}" y="{top + 4}" width="{x(row.value) - LEFT:.1f}" height="{ROW - 12}" fill="{colour}"/>',
            _line(x(row.least), top + 13, x(row.most), top + 13, 1),
            _text(x(row.most) + 6, top + 17, f"{_number(row.value)} {unit}", "start"),
        ]
    return _svg(title, parts, bottom + 26)


def stacks(title: str, rows: Sequence[tuple[str, Mapping[str, float]]], unit: str) -> str:
    """One bar a row, made of its parts."""
    names = list(dict.fromkeys(name for _, parts in rows for name in parts))
    high = max(sum(parts.values()) for _, parts in rows) or 1.0
    out = []
    for index, (label, parts) in enumerate(rows):
        top, at = 40 + index * ROW, float(LEFT)
        out.append(_text(LEFT - 8, top + 16, label, "end"))
        for name, value in parts.items():
            width, colour = PLOT * value / high, COLOURS[names.index(name) % len(COLOURS)]
            box = f'x="{at:.1f}" y="{top + 4}" width="{width:.1f}" height="{ROW - 12}"'
            out.append(
                f'<rect {box} fill="{colour}"><title>{escape(f"{name}: {_number(value)} {unit}")}</title></rect>'
            )
            at += width
        out.append(_text(at + 6, top + 17, f"{_number(sum(parts.values()))} {unit}", "start"))
    bottom = 48 + ROW * len(rows)
    return _svg(title, [*out, *_legend(names, bottom)], bottom + 20 * math.ceil(len(names) / LEGEND) + 8)


def lines(title: str, series: Mapping[str, Sequence[tuple[float, float]]], across: str, up: str) -> str:
    """One line for each name, over (across, up) points; the scale upwards is logarithmic."""
    points = [point for line in series.values() for point in line if point[1] > 0]
    right = max(point[0] for point in points) or 1.0
    low = 10 ** math.floor(math.log10(min(point[1] for point in points)) - 0.001)
    high = 10 ** math.ceil(math.log10(max(point[1] for point in points)) + 0.001)
    left, top, bottom, width = 80, 40, 280, WIDTH - 100

    def place(at: float, value: float) -> tuple[float, float]:
        share = math.log10(max(value, low) / low) / math.log10(high / low)
        return left + width * at / right, bottom - (bottom - top) * share

    out = []
    for power in range(round(math.log10(low)), round(math.log10(high)) + 1):
        y = place(0, 10.0**power)[1]
        out += [_line(left, y, left + width, y, 0.3), _text(left - 6, y + 4, _number(10.0**power), "end")]
    for quarter in range(5):
        out.append(_text(left + width * quarter / 4, bottom + 16, _number(right * quarter / 4), "middle"))
    out += [_text(left + width / 2, bottom + 32, across, "middle"), _text(WIDTH - 12, 20, up, "end")]
    for index, line in enumerate(series.values()):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in line))
        out.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[index % len(COLOURS)]}" stroke-width="2"/>')
    names = list(series)
    return _svg(title, [*out, *_legend(names, bottom + 44)], bottom + 52 + 20 * math.ceil(len(names) / LEGEND))


def _legend(names: Sequence[str], top: float) -> list[str]:
    out = []
    for index, name in enumerate(names):
        x, y = 20 + (index % LEGEND) * 255, top + 20 * (index // LEGEND)
        out.append(f'<rect x="{x}" y="{y}" width="12" height="12" rx="2" fill="{COLOURS[index % len(COLOURS)]}"/>')
        out.append(_text(x + 18, y + 11, name, "start"))
    return out


def _svg(title: str, parts: Sequence[str], height: float) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="{INK}">'
    )
    label = f'<title>{escape(title)}</title><text x="12" y="20" font-weight="600" font-size="15">{escape(title)}</text>'
    return "\n".join([head, label, *parts, "</svg>", ""])


def _line(x1: float, y1: float, x2: float, y2: float, opacity: float) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{INK}" stroke-opacity="{opacity}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _number(value: float) -> str:
    """Three digits that matter, without an exponent."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"
