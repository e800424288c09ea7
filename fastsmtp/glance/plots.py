"""Lines and stacked areas over time as SVG, for a page without scripts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from html import escape
from math import floor, log10
from typing import Final, NamedTuple

WIDTH: Final = 560
HEIGHT: Final = 190
LEFT: Final = 58
RIGHT: Final = 8
TOP: Final = 8
BOTTOM: Final = 22
Label = Callable[[float], str]


class Curve(NamedTuple):
    name: str
    color: str
    values: Sequence[float]


def short(value: float) -> str:
    """A number in little room: 1.2 k, 35 M."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if abs(value) >= limit:
            size = limit if unit != " k" else 1e3
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}" if value != int(value) else f"{int(value)}"


def seconds(value: float) -> str:
    """A time in the unit that fits."""
    if value >= 1:
        return f"{value:.3g} s"
    return f"{value * 1e3:.3g} ms" if value >= 0.001 else f"{value * 1e6:.3g} µs"


def ticks(top: float, wanted: int = 4) -> list[float]:
    """Round numbers from 0 to at least `top`."""
    if top <= 0:
        return [0.0, 1.0]
    size = 10.0 ** floor(log10(top / wanted))
    steps = (m * size for m in (1, 2, 2.5, 5, 10))
    step = next(s for s in steps if s * wanted >= top * 0.999)
    return [n * step for n in range(int(-(-top * 0.999 // step)) + 1)]


def plot(
    at: Sequence[float], curves: Sequence[Curve], stacked: bool, unit: str = ""
) -> str:
    """at       seconds of the wall clock, ascending
    curves   as many values each; stacked from the first up
    unit     "s" for times, else numbers"""
    if len(at) < 2:
        return "<p class=later>A plot comes with the second reading, in 20 s.</p>"
    columns = list(zip(*(curve.values for curve in curves), strict=True))
    highest = max((sum(c) if stacked else max(c)) for c in columns)
    marks = ticks(highest)
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(moment: float) -> str:
        return f"{LEFT + width * (moment - at[0]) / (at[-1] - at[0]):.1f}"

    def y(value: float) -> str:
        return f"{TOP + height * (1 - value / marks[-1]):.1f}"

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">']
    parts += _grid(marks, y, seconds if unit == "s" else short)
    parts += _clock(at, x)
    below = [0.0] * len(at)
    for curve in curves:
        values = [b + v for b, v in zip(below, curve.values, strict=True)]
        upper = [f"{x(t)},{y(v)}" for t, v in zip(at, values, strict=True)]
        if stacked:
            lower = [f"{x(t)},{y(v)}" for t, v in zip(at, below, strict=True)]
            points = " ".join((*upper, *reversed(lower)))
            parts.append(f'<polygon points="{points}" fill="{curve.color}"/>')
            below = values
        else:
            points = " ".join(upper)
            parts.append(f'<polyline points="{points}" stroke="{curve.color}"/>')
    parts.append("</svg>")
    return "".join(parts) + _legend(curves, unit)


def _grid(marks: Sequence[float], y: Label, label: Label) -> list[str]:
    return [
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(m)}" y2="{y(m)}"/>'
        f'<text x="{LEFT - 6}" y="{y(m)}" dy="4" text-anchor="end">{label(m)}</text>'
        for m in marks
    ]


def _clock(at: Sequence[float], x: Label) -> list[str]:
    wanted = [at[0] + (at[-1] - at[0]) * share for share in (0.0, 0.5, 1.0)]
    form = "%H:%M" if at[-1] - at[0] > 600 else "%H:%M:%S"
    return [
        f'<text x="{x(moment)}" y="{HEIGHT - 6}" text-anchor="{anchor}">'
        f"{time.strftime(form, time.gmtime(moment))}</text>"
        for moment, anchor in zip(wanted, ("start", "middle", "end"), strict=True)
    ]


def _legend(curves: Sequence[Curve], unit: str) -> str:
    label = seconds if unit == "s" else short
    return (
        "<p class=legend>"
        + " ".join(
            f'<span><i style="background:{curve.color}"></i>{escape(curve.name)} '
            f"<b>{label(curve.values[-1])}</b></span>"
            for curve in curves
        )
        + "</p>"
    )
