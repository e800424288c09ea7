"""fastsmtp-bench compare A.json B.json: what changed between two runs, beyond noise.

Noise is what the intervals of each run scatter around their median. A change counts
when it is larger than twice the noise of both together, and than 3 %: that much the
same server differs from one minute to the next on one machine. The generator does the
same work for each message in both: what its CPU changed by is the machine's, and no
server is judged by less.
"""

import json
import sys
from dataclasses import dataclass
from math import sqrt
from statistics import median
from typing import Any, Final

from fastsmtp_bench import arguments

FLOOR: Final = 0.03  # of the value; less than that is never a change
SCALAR_FLOOR: Final = 0.05  # of values that a run gives only once
NORMAL: Final = 1.4826 * 1.2533  # from the median deviation to the error of a median
OTHER: Final = "the machine was not the same"
AKIN: Final = 1.5  # intervals that follow each other are not independent


@dataclass(frozen=True, slots=True)
class Change:
    """One measure in both runs.

    noise   as a part of the value
    better  whether a larger value is
    """

    what: str
    before: float
    after: float
    noise: float
    better: bool

    @property
    def ratio(self) -> float:
        return self.after / self.before - 1 if self.before else 0.0

    @property
    def verdict(self) -> str:
        if abs(self.ratio) <= self.noise:
            return "no change beyond noise"
        return "better" if (self.ratio > 0) == self.better else "worse"

    def row(self) -> list[str]:
        return [
            self.what,
            f"{self.before:,.4g}" if self.before < 1000 else f"{self.before:,.0f}",
            f"{self.after:,.4g}" if self.after < 1000 else f"{self.after:,.0f}",
            f"{self.ratio:+.1%}",
            f"±{self.noise:.1%}",
            self.verdict,
        ]


def error(values: list[float]) -> float:
    """How uncertain the median of these is, as a part of it."""
    if len(values) < 2 or not median(values):
        return 0.0
    middle = median(values)
    spread = median(abs(value - middle) for value in values) * NORMAL
    return AKIN * spread / sqrt(len(values)) / middle


def inner(phase: dict[str, Any], name: str) -> list[float]:
    """A measure of each interval but the first and the last."""
    return [one[name] for one in phase["slices"][1:-1]]


def phases(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The closed loop, and the last one at a fixed rate, if there are such."""
    found = {}
    for one in document["phases"]:
        found["fixed rate" if one["offered"] else "closed loop"] = one
    return found


def over_intervals(
    what: str, before: list[float], after: list[float], better: bool
) -> Change:
    noise = 2 * sqrt(error(before) ** 2 + error(after) ** 2)
    middle = [median(v) if v else 0.0 for v in (before, after)]
    return Change(what, middle[0], middle[1], max(noise, FLOOR), better)


def changes(a: dict[str, Any], b: dict[str, Any]) -> list[Change]:
    """Every measure that both runs have."""
    found: list[Change] = []
    one, two = phases(a), phases(b)
    for name in one.keys() & two.keys():
        before, after = one[name], two[name]
        if name == "closed loop":
            rates = inner(before, "rate"), inner(after, "rate")
            found.append(over_intervals(f"{name}: messages/s", *rates, better=True))
        for part in ("p50", "p99"):
            times = [[v * 1e3 for v in inner(x, part)] for x in (before, after)]
            what = f"{name}: {part} ms"
            found.append(over_intervals(what, times[0], times[1], better=False))
        pair = before["server_cpu_us"], after["server_cpu_us"]
        if all(pair):
            noise = SCALAR_FLOOR + abs(machine(before, after))
            found.append(Change(f"{name}: server CPU µs", *pair, noise, better=False))
    held = [d["verdict"]["rate"] for d in (a, b)]
    found.append(Change("held messages/s", held[0], held[1], SCALAR_FLOOR, better=True))
    return sorted(found, key=lambda change: change.what)


def machine(before: dict[str, Any], after: dict[str, Any]) -> float:
    """How much more CPU the generator needed for a message, as a part of it."""
    one, two = before["generator_cpu_us"], after["generator_cpu_us"]
    return two / one - 1 if one and two else 0.0


def unlike(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Why the two should not be compared, if there is a reason."""
    found = []
    for key in ("machine", "processes"):
        if a[key] != b[key]:
            found.append(f"{key}: {a[key]} and {b[key]}")
    if a["profile"] != b["profile"]:
        found.append(f"profile: {a['profile']['name']} and {b['profile']['name']}")
    ceilings = sorted((a["ceiling"], b["ceiling"]))
    if ceilings[0] and ceilings[1] / ceilings[0] > 1.1:
        text = " and ".join(f"{d['ceiling']:,.0f}" for d in (a, b))
        found.append(f"the generator itself reached {text} messages/s: {OTHER}")
    one, two = phases(a), phases(b)
    for name in sorted(one.keys() & two.keys()):
        if abs(machine(one[name], two[name])) > SCALAR_FLOOR:
            pair = one[name]["generator_cpu_us"], two[name]["generator_cpu_us"]
            text = " and ".join(f"{us:.1f}" for us in pair)
            found.append(f"the generator took {text} µs a message, {name}: {OTHER}")
    return found


def text(a: dict[str, Any], b: dict[str, Any]) -> str:
    """The whole answer, for a terminal."""
    found = changes(a, b)
    rows = [["", "A", "B", "change", "noise", ""], *(c.row() for c in found)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    out = []
    for row in rows:
        cells = [
            cell.ljust(width) if n in (0, 5) else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        out.append("  ".join(cells).rstrip())
    out += [f"not alike: {why}" for why in unlike(a, b)]
    moved = [c for c in found if c.verdict in ("better", "worse")]
    said = ", ".join(f"{c.what} {c.verdict} ({c.ratio:+.1%})" for c in moved)
    out.append(said or "nothing changed beyond noise")
    return "\n".join(out)


def main(words: list[str] | None = None) -> int:
    parser = arguments.parser("compare", __doc__)
    parser.add_argument("a", type=arguments.file, metavar="A.json")
    parser.add_argument("b", type=arguments.file, metavar="B.json")
    options = parser.parse_args(words)
    try:
        a, b = (json.loads(path.read_text()) for path in (options.a, options.b))
        print(text(a, b))
    except OSError as why:
        sys.stderr.write(f"fastsmtp-bench compare: {why}\n")
        return 2
    except (ValueError, KeyError, TypeError) as why:
        sys.stderr.write(f"fastsmtp-bench compare: not reports of two runs: {why!r}\n")
        return 2
    return 1 if any(change.verdict == "worse" for change in changes(a, b)) else 0
