"""python -m grafana.pictures URL FOLDER [SECONDS]: draw the dashboards without Grafana.

The questions of every panel are asked of the Prometheus at URL, over the last SECONDS
(600), and what it answers is drawn where the panel stands, in the panel's colours. It
shows the data, and only about how Grafana would show it. Needs matplotlib.
"""

from __future__ import annotations

import json
import math
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Final, NamedTuple

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.ticker import FuncFormatter

DARK: Final = "#111217"
PANEL: Final = "#181b1f"
TEXT: Final = "#ccccdc"
LINE: Final = "#2c3235"
PALETTE: Final = (
    *("#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff"),
    *("#fade2a", "#c8f2c2", "#ff7383", "#56a64b", "#e0b400", "#3274d9", "#a352cc"),
)
NAMED: Final = {
    "green": "#73bf69",
    "blue": "#5794f2",
    "orange": "#ff9830",
    "red": "#f2495c",
    "purple": "#b877d9",
    "yellow": "#fade2a",
}
ROW: Final = 0.235  # inches of a row of the grid
COLUMN: Final = 0.66
POINTS: Final = 240
SHOWN: Final = 8  # names in a legend
DPI: Final = 110


class Line(NamedTuple):
    name: str
    color: str
    at: list[float]
    values: list[float]


class Prometheus(NamedTuple):
    """What it answers over a span of time, at steps."""

    url: str
    start: float
    end: float
    instances: str = ".*"

    def ask(self, expr: str, instant: bool) -> list[dict[str, Any]]:
        step = max(1.0, (self.end - self.start) / POINTS)
        window = f"{max(15, int(4 * step))}s"
        expr = expr.replace("$instance", self.instances)
        expr = expr.replace("$listener", ".*").replace("$worker", ".*")
        words: dict[str, Any] = {"query": expr.replace("$__rate_interval", window)}
        if instant:
            what, words["time"] = "query", self.end
        else:
            what = "query_range"
            words |= {"start": self.start, "end": self.end, "step": step}
        data = urllib.parse.urlencode(words).encode()
        with urllib.request.urlopen(f"{self.url}/api/v1/{what}", data) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return found

    def lines(self, panel: dict[str, Any], instant: bool = False) -> list[Line]:
        colors = {
            o["matcher"]["options"]: o["properties"][0]["value"]["fixedColor"]
            for o in panel["fieldConfig"].get("overrides", ())
        }
        found = []
        for target in panel["targets"]:
            for series in self.ask(target["expr"], instant):
                name = target["legendFormat"]
                for label, value in series["metric"].items():
                    name = name.replace("{{" + label + "}}", value)
                points = series["values"] if not instant else [series["value"]]
                pairs = [(float(t), float(v)) for t, v in points]
                color = colors.get(name, PALETTE[len(found) % len(PALETTE)])
                line = Line(
                    name,
                    NAMED.get(color, color),
                    [t for t, _ in pairs],
                    [v for _, v in pairs],
                )
                found.append(line)
        return found


def worded(value: float, unit: str) -> str:
    """A number in the panel's unit, short."""
    if not math.isfinite(value):
        return "-"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s" and 0 < abs(value) < 1:
        return f"{value * 1e3:.3g} ms"
    if unit == "s" and abs(value) >= 120:
        return f"{value / 60:.3g} min" if value < 7200 else f"{value / 3600:.3g} h"
    if unit in ("bytes", "Bps"):
        names, base = ("B", "KiB", "MiB", "GiB", "TiB"), 1024.0
    else:
        names, base = ("", " K", " M", " G", " T"), 1000.0
    place = 0
    while abs(value) >= base and place < 4:
        value, place = value / base, place + 1
    end = {"s": " s", "cps": " /s", "Bps": "/s", "h": " h", "d": " d"}.get(unit, "")
    space = " " if unit in ("bytes", "Bps") else ""
    return f"{value:.3g}{space}{names[place]}{end}"


def on_grid(axes: Axes, prometheus: Prometheus, unit: str) -> None:
    axes.set_xlim(prometheus.start, prometheus.end)
    clock = FuncFormatter(lambda t, _: time.strftime("%H:%M:%S", time.gmtime(t)))
    axes.xaxis.set_major_formatter(clock)
    axes.locator_params(axis="x", nbins=5, prune="upper")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: worded(v, unit)))
    axes.grid(color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)


def draw_lines(axes: Axes, panel: dict[str, Any], prometheus: Prometheus) -> None:
    unit = panel["fieldConfig"]["defaults"]["unit"]
    custom = panel["fieldConfig"]["defaults"].get("custom", {})
    found = [x for x in prometheus.lines(panel) if any(map(math.isfinite, x.values))]
    on_grid(axes, prometheus, unit)
    if custom.get("stacking", {}).get("mode") == "normal":
        grid = sorted({t for line in found for t in line.at})
        rows = [dict(zip(x.at, x.values, strict=True)) for x in found]
        heights = [[row.get(t, 0.0) for t in grid] for row in rows]
        if grid:
            colors = [x.color for x in found]
            axes.stackplot(grid, heights, colors=colors, alpha=0.8, linewidth=0)
    else:
        for line in found:
            axes.plot(line.at, line.values, color=line.color, linewidth=1.1)
            axes.fill_between(line.at, line.values, color=line.color, alpha=0.06)
    axes.set_ylim(bottom=0)
    if unit in ("bytes", "Bps"):
        top = axes.get_ylim()[1]
        step = 2.0 ** round(math.log2(top / 4))
        axes.set_yticks([n * step for n in range(int(top / step) + 1)])
    if not found:
        axes.text(
            0.5, 0.5, "no data", transform=axes.transAxes, color="#777", ha="center"
        )
    legend(axes, found, panel)


def legend(axes: Axes, lines: list[Line], panel: dict[str, Any]) -> None:
    """In two lines under the plot: names, and the last value that is a number."""
    unit = panel["fieldConfig"]["defaults"]["unit"]
    columns = round(panel["gridPos"]["w"] / 2.8)
    most = sorted(lines, key=lambda line: -max(line.values))[: 2 * columns][:SHOWN]
    for n, line in enumerate([x for x in lines if x in most]):
        x, y = n % columns / columns - 0.04, -0.22 - 0.13 * (n // columns)
        known = [value for value in line.values if math.isfinite(value)]
        text = f"{line.name[:18]} {worded(known[-1], unit)}"
        mark = {"transform": axes.transAxes, "va": "center"}
        axes.text(x, y, "■", color=line.color, fontsize=8, **mark)
        axes.text(x + 0.1 / columns, y, text, color=TEXT, fontsize=6.5, **mark)


def draw_number(axes: Axes, panel: dict[str, Any], prometheus: Prometheus) -> None:
    axes.axis("off")
    unit = panel["fieldConfig"]["defaults"]["unit"]
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    named = panel["options"]["textMode"] == "name"
    found = prometheus.lines(panel, instant=named)
    text, color, size = "no data", "#777", 11
    if found and named:
        text, size = found[0].name.replace(" Python", "\nPython"), 7
        color = NAMED["green"]
    elif found:
        value = found[0].values[-1]
        text, size = worded(value, unit), 16
        passed = [s["color"] for s in steps[1:] if value >= s["value"]]
        color = NAMED.get((passed or [steps[0]["color"]])[-1], TEXT)
        low = axes.inset_axes((0, 0, 1, 0.35))
        low.axis("off")
        low.fill_between(found[0].at, found[0].values, color=color, alpha=0.25)
    axes.text(0.5, 0.6, text, color=color, fontsize=size, ha="center", va="center")


def draw_bars(axes: Axes, panel: dict[str, Any], prometheus: Prometheus) -> None:
    unit = panel["fieldConfig"]["defaults"]["unit"]
    found = prometheus.lines(panel, instant=True)[:10][::-1]
    values = [x.values[-1] for x in found]
    axes.barh(range(len(found)), values, color=[x.color for x in found], height=0.7)
    axes.set_yticks(range(len(found)), [x.name[:16] for x in found])
    axes.xaxis.set_visible(False)
    for n, value in enumerate(values):
        axes.text(
            value, n, f" {worded(value, unit)}", color=TEXT, va="center", fontsize=7
        )
    axes.set_xlim(0, max([*values, 1]) * 1.2)


def draw_heat(axes: Axes, panel: dict[str, Any], prometheus: Prometheus) -> None:
    unit = panel["fieldConfig"]["defaults"]["unit"]
    found = sorted(
        prometheus.lines(panel), key=lambda x: float(x.name.replace("+Inf", "inf"))
    )
    on_grid(axes, prometheus, unit)
    if not found:
        return
    grid = sorted({t for line in found for t in line.at})
    rows, below = [], dict.fromkeys(grid, 0.0)
    for line in found:
        now = dict(zip(line.at, line.values, strict=True))
        rows.append([max(0.0, now.get(t, 0.0) - below[t]) for t in grid])
        below = {t: now.get(t, 0.0) for t in grid}
    axes.pcolormesh(
        *(grid, range(len(found)), rows),
        cmap="inferno",
        norm=PowerNorm(0.5),
        shading="nearest",
    )
    marks = range(0, len(found), max(1, len(found) // 6))
    words = [worded(float(found[n].name.replace("+Inf", "inf")), unit) for n in marks]
    axes.set_yticks(list(marks), words)


DRAW: Final = {
    "timeseries": draw_lines,
    "stat": draw_number,
    "bargauge": draw_bars,
    "heatmap": draw_heat,
}


def picture(
    board: dict[str, Any], prometheus: Prometheus, first: int, last: int
) -> Any:
    """Rows `first` to `last` of the grid."""
    high = (last - first) * ROW + 0.5
    shown = pyplot.figure(figsize=(24 * COLUMN, high), facecolor=DARK, dpi=DPI)
    shown.text(0.01, 1 - 0.3 / high, board["title"], color=TEXT, fontsize=14)
    for panel in board["panels"]:
        at = panel["gridPos"]
        x, y = at.get("x", 0) / 24, at["y"] - first
        if not first <= at["y"] < last:
            continue
        top = 1 - (0.5 + y * ROW) / high
        if panel["type"] == "row":
            shown.text(0.01, top - 0.17 / high, f"▾ {panel['title']}", color=TEXT)
            continue
        tall, wide = at["h"] * ROW / high, at["w"] / 24
        box = shown.add_axes((x + 0.002, top - tall, wide - 0.004, tall - 0.06 / high))
        box.set(facecolor=PANEL, xticks=[], yticks=[])
        small = at["h"] < 6
        left, low = (0.02, 0.02) if small else (0.6 / (at["w"] * COLUMN), 0.27)
        inner = shown.add_axes(
            (
                *(x + 0.002 + wide * left, top - tall * (1 - low)),
                *(wide * (0.97 - left), tall * (0.86 - low) - 0.12 / high),
            ),
            facecolor=PANEL,
        )
        inner.tick_params(colors="#9a9aa5", labelsize=6.5, length=0)
        for side in (*box.spines.values(), *inner.spines.values()):
            side.set_color(LINE)
        place = (x + 0.006, top - 0.19 / high)
        shown.text(*place, panel["title"], color=TEXT, fontsize=8.5, weight="bold")
        DRAW[panel["type"]](inner, panel, prometheus)
    return shown


def pages(board: dict[str, Any], most: int = 44) -> list[tuple[int, int]]:
    """Where to cut a long dashboard: between its rows."""
    starts = [p["gridPos"]["y"] for p in board["panels"] if p["type"] == "row"]
    end = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in board["panels"])
    cuts = [0]
    for start, after in zip(starts, [*starts[1:], end], strict=True):
        if after - cuts[-1] > most and start > cuts[-1]:
            cuts.append(start)
    return list(zip(cuts, [*cuts[1:], end], strict=True))


def main(url: str, folder: str, seconds: str = "600") -> None:
    now = time.time()
    prometheus = Prometheus(url.rstrip("/"), now - float(seconds), now)
    ours = prometheus.ask("fastsmtp_build_info", instant=False)
    names = {series["metric"]["instance"] for series in ours}
    prometheus = prometheus._replace(instances="|".join(sorted(names)))
    for path in sorted((Path(__file__).parent / "dashboards").glob("*.json")):
        board = json.loads(path.read_text())
        for number, (first, last) in enumerate(pages(board), 1):
            name = Path(folder) / f"{path.stem}-{number}.png"
            shown = picture(board, prometheus, first, last)
            shown.savefig(name, facecolor=DARK)
            pyplot.close(shown)
            print(name, name.stat().st_size)


if __name__ == "__main__":
    main(*sys.argv[1:])
