"""`fastsmtp top`: the queue by state, age and destination, rates, latencies, refusals,
and processes of the running server. On a terminal it goes on until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

from fastsmtp.cli import MISUSED, OK, Failure
from fastsmtp.cli.terminal import config_argument, json_argument, plain
from fastsmtp.config import Config

CLEAR: Final = "\x1b[H\x1b[J"  # ECMA-48: cursor to the corner, erase what follows
BOLD, DIM, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"
RED: Final = "\x1b[31m"
AGE_COLORS: Final = (32, 32, 92, 93, 33, 33, 91, 31, 31)
STATE_COLORS: Final = (34, 32, 33, 31, 35)
BAR: Final = 28  # characters
LINES: Final = 8  # destinations and refusals at most


def arguments(parser: argparse.ArgumentParser) -> None:
    config_argument(parser)
    json_argument(parser)
    parser.add_argument(
        "--every",
        type=float,
        default=2.0,
        metavar="SECONDS",
        help="time between two readings, over which rates are taken (2)",
    )
    parser.add_argument(
        "--once", action="store_true", help="one picture, after one such time"
    )


def run(args: argparse.Namespace) -> int:
    from fastsmtp.cli.remote import running_config

    if not 0.1 <= args.every <= 3600:
        raise Failure(f"--every {args.every:g} is not from 0.1 to 3600", code=MISUSED)
    _, config = running_config(args.config)
    live = sys.stdout.isatty() and not args.once and not args.json
    old = asyncio.run(read(config))
    try:
        while True:
            time.sleep(args.every)
            new = asyncio.run(read(config))
            if args.json:
                print(json.dumps(facts(old, new), ensure_ascii=False), flush=True)
            else:
                show(old, new, live)
            if args.once or not (live or args.json):
                return OK
            old = new
    except KeyboardInterrupt:
        if live:
            print()
            return OK
        raise


async def read(config: Config) -> Any:
    """The figures of now, from the running server."""
    from fastsmtp.cli.remote import ask, steering
    from fastsmtp.glance.figures import Figures, Worker
    from fastsmtp.steering import Status

    async with steering(config) as server:
        found = dict(await ask(server, "figures", Status()))
    found["workers"] = [Worker(*worker) for worker in found["workers"]]
    found["destinations"] = [tuple(each) for each in found["destinations"]]
    return Figures(**found)


def facts(old: Any, new: Any) -> dict[str, Any]:
    """For programs: the figures, and what happened since the last ones."""
    from fastsmtp.glance.figures import between, refusing

    return {
        "at": new.at,
        "states": new.states,
        "octets": new.octets,
        "ages": new.ages,
        "oldest": new.oldest,
        "destinations": dict(new.destinations),
        "rates": between(old, new)._asdict(),
        "refusing": dict(refusing(old, new)),
        "store": new.store,
        "workers": [worker._asdict() for worker in new.workers],
    }


def show(old: Any, new: Any, live: bool) -> None:
    colored = sys.stdout.isatty()
    text = "\n".join(picture(old, new, colored))
    if live:
        rows = shutil.get_terminal_size().lines
        text = CLEAR + "\n".join(text.split("\n")[: rows - 1])
    print(text, flush=True)


def picture(old: Any, new: Any, colored: bool) -> list[str]:
    """The lines of one picture."""
    from fastsmtp.glance.figures import between, refusing
    from fastsmtp.glance.page import ago, octets
    from fastsmtp.glance.plots import seconds

    def mark(code: str, text: str) -> str:
        return f"{code}{text}{PLAIN}" if colored else text

    rates = between(old, new)
    at = time.strftime("%H:%M:%S", time.localtime(new.at))
    oldest = ago(new.oldest, new.at) if new.oldest else "-"
    size = octets(sum(new.octets.values()))
    free = octets(new.store["disk_free"]) if new.store["disk_free"] else "-"
    return [
        f"{mark(BOLD, f'{new.waiting:,} in the queue')}, {size}, oldest {oldest}"
        f"      {mark(DIM, at)}",
        "",
        *beside(
            bars("by state", new.states, STATE_COLORS, colored),
            bars("by age", named(new.ages), AGE_COLORS, colored),
        ),
        "",
        f"accepted {rates.accepted:9,.1f}/s    queued {rates.queued:9,.1f}/s"
        f"    accept p50 {seconds(rates.accept_p50):>8}    p99"
        f" {seconds(rates.accept_p99):>8}",
        f"refused  {rates.refused:9,.1f}/s    left   {rates.left:9,.1f}/s"
        f"    flush  p99 {seconds(rates.flush_p99):>8}    disk {free:>8}",
        "",
        *beside(
            listed("destination", new.destinations, "{:,}"),
            listed("refused now", refusing(old, new), "{:,.1f}/s"),
        ),
        "",
        *processes(old, new, mark),
    ]


def named(ages: dict[str, int]) -> dict[str, int]:
    return {f"<= {age}" if age != "+Inf" else "older": n for age, n in ages.items()}


def bars(
    title: str, counts: dict[str, int], colors: Sequence[int], colored: bool
) -> list[str]:
    most = max(*counts.values(), 1)
    lines = [f"{title:<10}{'messages':>11}"]
    for (name, count), color in zip(counts.items(), colors, strict=True):
        bar = "#" * (-(-count * BAR // most))
        drawn = f"\x1b[{color}m{bar}{PLAIN}" if colored else bar
        lines.append(f"{name:<10}{count:>11,}  {drawn}{' ' * (BAR - len(bar))}")
    return lines


def listed(title: str, rows: Iterable[tuple[str, float]], form: str) -> list[str]:
    lines = [f"{title:<36}"]
    for name, count in [row for row in rows if row[1]][:LINES]:
        lines.append(f"{plain(name or '(none)')[:26]:<26}{form.format(count):>10}")
    return lines if len(lines) > 1 else [*lines, f"{'-':<36}"]


def beside(left: Sequence[str], right: Sequence[str]) -> list[str]:
    """Two columns; the left one's lines are of one width."""
    width = len(left[-1]) if "\x1b" not in left[-1] else 51
    rows = max(len(left), len(right))
    blank = " " * width
    first = [line.ljust(width) for line in left] + [blank] * (rows - len(left))
    second = [*right, *[""] * (rows - len(right))]
    return [f"{a}   {b}".rstrip() for a, b in zip(first, second, strict=True)]


def processes(old: Any, new: Any, mark: Any) -> list[str]:
    before = {worker.pid: worker for worker in old.workers}
    lines = ["process     pid  state      CPU   clients   accepted"]
    for worker in new.workers:
        was = before.get(worker.pid, worker)
        busy = max(0.0, worker.cpu - was.cpu) / max(new.at - old.at, 0.001)
        line = f"{worker.role:<9}{worker.pid:>6}  {worker.state:<8}{busy:>6.0%}"
        line += f"{worker.clients:>10,}{worker.accepted:>11,}"
        trouble = f"  {plain(worker.trouble)}" if worker.trouble else ""
        lines.append(line + mark(RED, trouble) if trouble else line)
    return lines
