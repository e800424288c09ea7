"""`fastsmtp status`: the processes of the running server, its queue, how it is."""

import argparse
import asyncio
import json
from typing import Any, Final

from fastsmtp.cli import FAILED, OK
from fastsmtp.cli.terminal import config_argument, json_argument, listing
from fastsmtp.config import Config

COLUMNS: Final = {
    "role": "role",
    "slot": "slot",
    "pid": "pid",
    "state": "state",
    "age": "up",
    "connections": "clients",
    "epoch": "epoch",
    "trouble": "trouble",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    config_argument(parser)
    json_argument(parser)


def run(args: argparse.Namespace) -> int:
    from fastsmtp.cli.remote import running_config

    _, running = running_config(args.config)
    server, rows = asyncio.run(_ask(running))
    if args.json:
        print(json.dumps({**server, "processes": rows}))
    else:
        show(server, rows)
    troubled = any(row["trouble"] for row in rows)
    return OK if server["state"] == "serving" and not troubled else FAILED


async def _ask(config: Config) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    from fastsmtp.cli.remote import steering
    from fastsmtp.serve.control import Summary
    from fastsmtp.steering import Status

    rows = []
    last = Summary()
    async with steering(config) as server:
        async for item in server.call("processes", Status()):
            if isinstance(item, Summary):
                last = item
            else:
                rows.append(item)
    return last, rows


def show(server: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    print(f"fastsmtp {server['version']}, pid {server['pid']}: {server['state']}")
    print(f"configuration: {server['config']}, read {age(server['config_age'])} ago")
    if not server["config_good"]:
        print("    a later reload was refused: `fastsmtp check` says why")
    queue = ", ".join(f"{count} {state}" for state, count in server["queue"].items())
    print(f"queue: {queue}\nclients: {server['connections']}\n")
    shown = ({**row, "age": age(row["uptime"])} for row in rows)
    listing(shown, False, COLUMNS, "no processes")


def age(seconds: float) -> str:
    """The two largest units: `3d 4h`."""
    whole = int(seconds)
    parts = ((whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "m"))
    named = [f"{count}{unit}" for count, unit in (*parts, (whole % 60, "s")) if count]
    return " ".join(named[:2]) or "0s"
