"""/status: how the server is, on one page that needs nothing but a browser.

No script, no other file: figures, tables, and plots as SVG; the browser loads it again
every few seconds. Names that strangers chose (destinations) are escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Final, NamedTuple

from fastsmtp.glance.figures import Figures
from fastsmtp.glance.history import HOURS, History, Moment
from fastsmtp.glance.plots import Curve, plot, seconds, short
from fastsmtp.live import AGES, STATES_OF_QUEUE

RELOAD: Final = 5  # seconds until the browser asks again
POINTS: Final = 360  # of a plot
KIND: Final = "text/html; charset=utf-8"
STATE_COLORS: Final = ("#5794f2", "#73bf69", "#ff9830", "#f2495c", "#b877d9")
AGE_COLORS: Final = (
    *("#37872d", "#73bf69", "#c8f2c2", "#ffee52", "#fade2a"),
    *("#ff9830", "#fa6400", "#f2495c", "#8f1b2e"),
)
STYLE: Final = """
:root{color-scheme:light dark;--line:#8884;--dim:#888;--bad:#d33;--good:#2a2}
body{font:14px/1.45 system-ui,sans-serif;margin:1.2em auto;max-width:76em;padding:0 1em}
h1{font-size:1.4em;margin:.2em 0}h2{font-size:1.05em;margin:1.4em 0 .3em}
.glance{display:flex;flex-wrap:wrap;gap:.6em;margin:1em 0}
.glance div{border:1px solid var(--line);border-radius:8px;padding:.5em .9em}
.glance b{display:block;font-size:1.5em}
.glance span,.later,.note{color:var(--dim)}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(30em,1fr));gap:0 2em}
svg{width:100%;height:auto;font-size:11px}svg text{fill:var(--dim)}
svg line{stroke:var(--line)}polyline{fill:none;stroke-width:1.6}
.tables{display:flex;flex-wrap:wrap;gap:0 3em}
.legend{margin:.2em 0;display:flex;flex-wrap:wrap;gap:.1em 1em}
.legend i{display:inline-block;width:.8em;height:.8em;border-radius:2px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
td,th{padding:.15em .9em .15em 0;text-align:right;border-bottom:1px solid var(--line)}
td:first-child,th:first-child{text-align:left}th{font-weight:600}
.bad{color:var(--bad)}.good{color:var(--good)}.wide{overflow-x:auto}
"""


class Server(NamedTuple):
    """What is known of the server besides its figures.

    trouble   why no mail is taken; None: it is
    reloaded  when the configuration in use was read, and whether a later was refused
    """

    name: str
    version: str
    commit: str
    started: float
    trouble: str | None
    reloaded: float
    refused: bool


def octets(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.3g} {unit}" if count < 100 else f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.3g} TiB"


def ago(then: float, now: float) -> str:
    """How long ago, in the two largest units."""
    whole = max(0, int(now - then))
    parts = (
        (whole // 86400, "d"),
        (whole // 3600 % 24, "h"),
        (whole // 60 % 60, "min"),
    )
    named = [f"{n} {unit}" for n, unit in (*parts, (whole % 60, "s")) if n]
    return " ".join(named[:2]) or "0 s"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["".join(f"<th>{escape(head)}</th>" for head in heads)]
    lines += ["".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<div class=wide><table>{body}</table></div>"


def tile(name: str, value: str, note: str = "", kind: str = "") -> str:
    mark = f" class={kind}" if kind else ""
    return (
        f"<div>{escape(name)}<b{mark}>{escape(value)}</b>"
        f"<span>{escape(note) or '&nbsp;'}</span></div>"
    )


def plots(moments: Sequence[Moment]) -> str:
    at = [m.at for m in moments]

    def areas(names: Sequence[str], colors: Sequence[str], which: str) -> str:
        values = [getattr(m, which) for m in moments]
        return plot(
            at,
            [
                Curve(name, color, [v[n] for v in values])
                for n, (name, color) in enumerate(zip(names, colors, strict=True))
            ],
            stacked=True,
        )

    def rates(unit: str, **lines: str) -> str:
        curves = [
            Curve(
                field.replace("_", " "),
                color,
                [getattr(m.rates, field) for m in moments],
            )
            for field, color in lines.items()
        ]
        return plot(at, curves, stacked=False, unit=unit)

    ages = [f"≤ {age}" if age != "+Inf" else "older" for age in AGES]
    drawn = {
        "Queue depth by state": areas(STATES_OF_QUEUE, STATE_COLORS, "states"),
        "Queue depth by age": areas(ages, AGE_COLORS, "ages"),
        "Messages a second": rates(
            "", accepted="#73bf69", refused="#f2495c", queued="#5794f2", left="#b877d9"
        ),
        "Latencies": rates(
            "s", accept_p50="#73bf69", accept_p99="#ff9830", flush_p99="#5794f2"
        ),
    }
    return (
        "<div class=plots>"
        + "".join(f"<div><h2>{name}</h2>{svg}</div>" for name, svg in drawn.items())
        + "</div>"
    )


class Page:
    """Makes the page. `look` gives the figures of now, `server` what else is known."""

    def __init__(
        self,
        look: Callable[[], Figures],
        history: History,
        server: Callable[[], Server],
    ) -> None:
        self._look = look
        self._history = history
        self._server = server

    def text(self, hours: float) -> str:
        """The HTML, with plots of the last `hours`."""
        now, server = self._look(), self._server()
        moments = self._history.since(hours * 3600, POINTS)
        title = f"{server.name}: {now.waiting} in the queue"
        other = 1 if hours > 1 else HOURS
        link = "/status/6h" if other > 1 else "/status"
        return "".join(
            (
                "<!doctype html><html lang=en><meta charset=utf-8>",
                f'<meta http-equiv=refresh content="{RELOAD}">',
                '<meta name=viewport content="width=device-width">',
                f"<title>{escape(title)}</title><style>{STYLE}</style>",
                f"<h1>{escape(server.name)}</h1>",
                self._about(now, server),
                self._glance(now, server, moments),
                plots(moments),
                f"<p class=note>The last {hours:g} h, UTC; "
                f"<a href={link}>the last {other} h</a>.</p>",
                "<div class=tables>",
                *self._queue(now),
                f"<div>{self._workers(now)}</div><div>{self._store(now)}</div></div>",
                "</html>\n",
            )
        )

    def _about(self, now: Figures, server: Server) -> str:
        text = f"fastsmtp {server.version} {server.commit}, up "
        text += f"{ago(server.started, now.at)}; configuration read "
        text += f"{ago(server.reloaded, now.at)} ago"
        line = f"<p class=note>{escape(text)}</p>"
        if server.refused:
            line += (
                "<p class=bad>A later configuration was refused: "
                "<code>fastsmtp check</code> says why.</p>"
            )
        return line

    def _glance(self, now: Figures, server: Server, moments: Sequence[Moment]) -> str:
        kind = "good" if server.trouble is None else "bad"
        tiles = [
            tile(
                "Mail",
                "taken" if kind == "good" else "not taken",
                server.trouble or "",
                kind,
            ),
            tile("In the queue", short(now.waiting), octets(sum(now.octets.values()))),
            tile("Oldest", ago(now.oldest, now.at) if now.oldest else "–"),
        ]
        if moments:
            rates = moments[-1].rates
            tiles += [
                tile("Accepted", f"{short(rates.accepted)}/s"),
                tile("Refused", f"{short(rates.refused)}/s"),
                tile("Accept time", seconds(rates.accept_p99), "p99"),
                tile("Flush", seconds(rates.flush_p99), "p99"),
            ]
        tiles.append(tile("Free disk", octets(now.store["disk_free"])))
        return f"<div class=glance>{''.join(tiles)}</div>"

    def _queue(self, now: Figures) -> list[str]:
        states = [
            (state, f"{count:,}", octets(now.octets[state]))
            for state, count in now.states.items()
        ]
        named = [
            ("older" if age == "+Inf" else f"≤ {age}", f"{count:,}")
            for age, count in now.ages.items()
        ]
        parts = [
            ("Queue by state", table(("state", "messages", "octets"), states)),
            ("Queue by age", table(("age", "messages"), named)),
        ]
        if now.destinations:
            rows = [(name or "(none)", f"{n:,}") for name, n in now.destinations if n]
            shown = table(("destination", "messages"), rows)
            parts.append(("Fullest destinations", shown))
        if now.refusals:
            most = sorted(now.refusals.items(), key=lambda each: -each[1])[:10]
            shown = table(("why", "count"), [(w, f"{n:,}") for w, n in most])
            parts.append(("Refusals since the start", shown))
        return [f"<div><h2>{name}</h2>{shown}</div>" for name, shown in parts]

    def _workers(self, now: Figures) -> str:
        rows = [
            (
                *(w.role, w.slot, w.pid, w.state, ago(w.started, now.at)),
                *(seconds(w.cpu), f"{w.clients:,}", f"{w.accepted:,}", w.trouble),
            )
            for w in now.workers
        ]
        heads = ("process", "slot", "pid", "state", "up", "CPU", "clients", "accepted")
        return "<h2>Processes</h2>" + table((*heads, ""), rows)

    def _store(self, now: Figures) -> str:
        kept = now.store
        rows = [
            (
                "index in use",
                f"{octets(kept['map_used'])} of {octets(kept['map_size'])}",
            ),
            ("log, live", octets(kept["log_live"])),
            ("log, dead", octets(kept["log_dead"])),
            ("segments of the log", kept["segments"]),
            ("free disk", octets(kept["disk_free"])),
        ]
        return "<h2>Store</h2>" + table(("", ""), rows)
