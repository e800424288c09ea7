"""`fastsmtp queue top`: where most waits, and for how long. On a terminal it goes on
until Ctrl-C."""

import argparse
import asyncio
import sys
import time
from typing import Any, Final

from fastsmtp.cli import OK
from fastsmtp.cli.terminal import above_zero, listing
from fastsmtp.config import Config

PAUSE: Final = 2.0  # seconds between two readings
SHARE: Final = 0.1  # of the time that reading may take
CLEAR: Final = "\x1b[H\x1b[J"  # ECMA-48: cursor to the corner, erase what follows


def run(config: Config, args: argparse.Namespace) -> int:
    above_zero("limit", args.limit)
    live = sys.stdout.isatty() and not args.once and not args.json
    try:
        while True:
            began = time.monotonic()
            rows = asyncio.run(_rows(config, args.limit))
            if live:
                now = time.strftime("%H:%M:%S")
                sys.stdout.write(f"{CLEAR}{now}, by age; Ctrl-C ends\n\n")
            _print(rows, args.json)
            if not live:
                return OK
            sys.stdout.flush()
            took = time.monotonic() - began
            time.sleep(max(PAUSE, took / SHARE))
    except KeyboardInterrupt:
        if live:
            print()
            return OK
        raise


async def _rows(config: Config, most: int) -> list[dict[str, Any]]:
    from fastsmtp.cli.reading import reading
    from fastsmtp.queue.shape import shapes

    async with reading(config) as store:
        found = await shapes(store, most, time.time_ns() // 1_000_000)
    return [
        {
            "destination": one.name or "(none)",
            "messages": one.messages,
            "octets": one.octets,
            "held": one.held,
            "suspended": one.suspended,
            "ages": one.ages,
        }
        for one in found
    ]


def _print(rows: list[dict[str, Any]], as_json: bool) -> None:
    from fastsmtp.queue.listing import NAMES

    if as_json:
        listing(rows, True, {}, "")
        return
    table = []
    for row in rows:
        ages = {name: row["ages"].get(name, "") for name in NAMES}
        notes = [f"{row['held']:,} on hold"] if row["held"] else []
        notes += ["suspended"] if row["suspended"] else []
        table.append({**row, **ages, "notes": ", ".join(notes)})
    columns = {"destination": "destination", "messages": "messages"}
    columns |= {name: f"≤{name}" if name != "+Inf" else "older" for name in NAMES}
    listing(table, False, {**columns, "notes": ""}, "nothing waits")
