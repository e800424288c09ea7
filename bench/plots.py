"""Plots as SVG text, for a page without scripts: lines, stacked areas, bars."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10
from typing import Final

WIDTH: Final = 640
HEIGHT: Final = 260
LEFT: Final = 64
RIGHT: Final = 14
TOP: Final = 12
BOTTOM: Final = 34
HALF_LETTER: Final = 3.4  # the width of half a letter
COLORS: Final = 8  # classes c0 … c7 of the style sheet
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Series:
    """A name and its points, by x; `wanted`: what was to be, not what was."""

    name: str
    points: Points
    wanted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """What the axes mean.

    x_label   under the plot
    unit      behind the numbers of the y axis
    y_least   the y axis goes at least so far
    x_ticks   (place, text), when the ticks are not round numbers
    """

    x_label: str
    unit: str = ""
    y_least: float = 0.0
    x_ticks: Sequence[tuple[float, str]] | None = None


def number(value: float) -> str:
    """Short, for an axis."""
    if value and abs(value) < 0.01:
        return f"{value:.1g}"
    if abs(value) >= 1e6:
        return f"{value / 1e6:g} M"
    if abs(value) >= 1e5:
        return f"{value / 1e3:g} k"
    return f"{value:,.10g}"


def ticks(top: float, wanted: int = 5) -> list[float]:
    """Round numbers from 0 to at least `top`."""
    if top <= 0:
        return [0.0, 1.0]
    raw = top / wanted
    size = 10 ** floor(log10(raw))
    step = next(m * size for m in (1, 2, 2.5, 5, 10) if m * size >= raw * 0.999)
    count = 1
    while step * count < top * 0.999:
        count += 1
    return [round(step * n, 10) for n in range(count + 1)]


class Frame:
    """Axes with a grid, and the way from values to places."""

    def __init__(self, xs: tuple[float, float], top: float, axes: Axes) -> None:
        self.axes, (self.x0, self.x1) = axes, xs
        self.rows = ticks(max(top, axes.y_least))

    def x(self, value: float) -> float:
        span = (self.x1 - self.x0) or 1.0
        return LEFT + (value - self.x0) / span * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - value / self.rows[-1] * (HEIGHT - TOP - BOTTOM)

    def at(self, x: float, y: float) -> str:
        return f"{self.x(x):.1f},{self.y(y):.1f}"

    def grid(self) -> str:
        parts = []
        for row in self.rows:
            y = self.y(row)
            parts.append(
                f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" '
                f'y1="{y:.1f}" y2="{y:.1f}"/>'
            )
            text = f"{number(row)}{self.axes.unit}"
            parts.append(
                f'<text x="{LEFT - 8}" y="{y + 4:.1f}" class="right">'
                f"{escape(text)}</text>"
            )
        given = self.axes.x_ticks
        columns = given or [(t, number(t)) for t in ticks(self.x1, 6)]
        end = 0.0  # of the text before
        for place, text in columns:
            x, half = self.x(place), len(text) * HALF_LETTER
            # what stands at the edge would be cut off
            kind = "right" if x + half > WIDTH else "middle"
            x = x if kind == "middle" else WIDTH - 2
            begin = x - half * (1 if kind == "middle" else 2)
            if place > self.x1 or begin < end:
                continue
            end = x + half
            parts.append(
                f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" '
                f'class="{kind}">{escape(text)}</text>'
            )
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(
            f'<text x="{middle}" y="{HEIGHT - 3}" class="middle label">'
            f"{escape(self.axes.x_label)}</text>"
        )
        return "".join(parts)


def picture(inside: str, names: Sequence[str]) -> str:
    """With a legend, unless there is no name."""
    keys = "".join(
        f'<span class="key"><i class="b{n % COLORS}"></i>{escape(name)}</span>'
        for n, name in enumerate(names)
    )
    legend = f'<div class="legend">{keys}</div>' if names else ""
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{inside}</svg>'
    return legend + svg


def _range(series: Sequence[Series]) -> tuple[float, float]:
    xs = [x for one in series for x, _ in one.points]
    return (min(0.0, *xs), max(xs)) if xs else (0.0, 1.0)


def lines(series: Sequence[Series], axes: Axes) -> str:
    top = max((y for one in series for _, y in one.points), default=0.0)
    frame = Frame(_range(series), top, axes)
    parts = [frame.grid()]
    for n, one in enumerate(series):
        way = " ".join(frame.at(x, y) for x, y in one.points)
        dashes = " wanted" if one.wanted else ""
        parts.append(f'<polyline class="line s{n % COLORS}{dashes}" points="{way}"/>')
        parts += (_dot(frame, n, one.name, x, y) for x, y in one.points)
    names = [one.name for one in series]
    return picture("".join(parts), names if len(names) > 1 else [])


def _dot(frame: Frame, n: int, name: str, x: float, y: float) -> str:
    """Not seen; says what is there when the pointer is over it."""
    said = f"{name}: {number(round(y, 3))}{frame.axes.unit} at {number(round(x, 2))}"
    place = f'cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}"'
    return f'<circle {place} r="7" class="dot"><title>{escape(said)}</title></circle>'


def stacked(series: Sequence[Series], axes: Axes) -> str:
    """Areas on top of each other; all series have the same x."""
    if not series or not series[0].points:
        return lines([], axes)
    xs = [x for x, _ in series[0].points]
    floor_ = [0.0] * len(xs)
    layers = []
    for one in series:
        roof = [a + y for a, (_, y) in zip(floor_, one.points, strict=True)]
        layers.append((one.name, floor_, roof))
        floor_ = roof
    frame = Frame(_range(series), max(floor_), axes)
    parts = [frame.grid()]
    for n, (name, low, high) in enumerate(layers):
        there = [frame.at(x, y) for x, y in zip(xs, high, strict=True)]
        back = [frame.at(x, y) for x, y in zip(xs, low, strict=True)]
        way = " ".join(there + back[::-1])
        parts.append(
            f'<polygon class="area f{n % COLORS}" points="{way}">'
            f"<title>{escape(name)}</title></polygon>"
        )
    return picture("".join(parts), [one.name for one in series])


def bars(values: Sequence[tuple[str, float]], axes: Axes) -> str:
    """One bar for each (name, value)."""
    top = max((value for _, value in values), default=0.0)
    count = max(len(values), 1)
    names = [(n + 0.5, name) for n, (name, _) in enumerate(values)]
    marked = Axes(x_label=axes.x_label, unit=axes.unit, x_ticks=names)
    frame = Frame((0.0, float(count)), top, marked)
    parts = [frame.grid()]
    for n, (name, value) in enumerate(values):
        left, right, y = frame.x(n + 0.12), frame.x(n + 0.88), frame.y(value)
        said = escape(f"{name}: {number(value)}{axes.unit}")
        parts.append(
            f'<rect class="area f0" x="{left:.1f}" y="{y:.1f}" '
            f'width="{right - left:.1f}" height="{HEIGHT - BOTTOM - y:.1f}">'
            f"<title>{said}</title></rect>"
        )
    return picture("".join(parts), [])


RANKED: Final = """\
<style>
text { font: 13px system-ui, sans-serif; fill: #24292f }
.soft { fill: #667 } .yes { fill: #2f6fde } .no { fill: #b8c0ca }
@media (prefers-color-scheme: dark) { text { fill: #e6e9ed }
.soft { fill: #9aa4b1 } .yes { fill: #6ea1ff } .no { fill: #4a535e } }
</style>
"""
ROW: Final = 26
NAME_WIDTH: Final = 170


def ranking(title: str, rows: Sequence[tuple[str, float, bool]]) -> str:
    """An SVG file: a bar for each (name, value, whether it is one of the good)."""
    top = max((value for _, value, _ in rows), default=1.0)
    height = ROW * len(rows) + 54
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}">{RANKED}',
        f'<text x="0" y="16" font-weight="600">{escape(title)}</text>',
    ]
    for x, kind, text in ((0, "yes", "durable"), (90, "no", "not durable")):
        left = NAME_WIDTH + x
        square = f'x="{left}" y="{height - 18}" width="11" height="11"'
        parts.append(f'<rect class="{kind}" {square}/>')
        parts.append(
            f'<text class="soft" x="{left + 17}" y="{height - 8}">{text}</text>'
        )
    for n, (name, value, good) in enumerate(rows):
        y = 28 + n * ROW
        width = value / top * (WIDTH - NAME_WIDTH - 80)
        right = NAME_WIDTH + width + 7
        parts.append(f'<text x="0" y="{y + 15}">{escape(name)}</text>')
        parts.append(
            f'<rect class="{"yes" if good else "no"}" x="{NAME_WIDTH}" y="{y + 2}" '
            f'width="{width:.1f}" height="{ROW - 8}" rx="2"/>'
        )
        parts.append(f'<text x="{right:.1f}" y="{y + 15}">{value:,.0f}</text>')
    return "\n".join([*parts, "</svg>\n"])
