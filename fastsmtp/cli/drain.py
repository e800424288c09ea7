"""`fastsmtp drain`: take no new mail, but stay: clients are told 421 and come back.

Before maintenance, or to take a machine out of a pool. What is in flight is finished,
and the queue goes on. `--undo` takes mail again; so does a restart.
"""

import argparse
import asyncio
import math
import time
from typing import Final

from fastsmtp.cli import FAILED, MISUSED, OK, Failure
from fastsmtp.cli.terminal import config_argument
from fastsmtp.config import Config

LOOK: Final = 0.1  # seconds between looks whether all have gone


def arguments(parser: argparse.ArgumentParser) -> None:
    config_argument(parser)
    parser.add_argument("--undo", action="store_true", help="take mail again")
    parser.add_argument(
        "--wait",
        metavar="SECONDS",
        type=float,
        default=0.0,
        help="until no client is left and all mail is in the index, at most so long",
    )


def run(args: argparse.Namespace) -> int:
    from fastsmtp.cli.remote import running_config

    if not 0 <= args.wait < math.inf:
        raise Failure(f"--wait {args.wait:g} is no number of seconds", code=MISUSED)
    _, running = running_config(args.config)
    return asyncio.run(_drain(running, args.undo, args.wait))


async def _drain(config: Config, undo: bool, wait: float) -> int:
    from fastsmtp.cli.remote import ask, steering
    from fastsmtp.steering import Drain, Status

    async with steering(config) as server:
        await ask(server, "drain", Drain(undo))
        if undo:
            print("taking mail again")
            return OK
        print("taking no new mail; `fastsmtp drain --undo` takes it again")
        deadline = time.monotonic() + wait
        while wait:
            now = await ask(server, "processes", Status())
            clients, incoming = now["connections"], now["queue"]["incoming"]
            if not clients and not incoming:
                print("no client is left")
                return OK
            if time.monotonic() > deadline:
                print(f"{clients} clients are left, {incoming} messages not filed yet")
                return FAILED
            await asyncio.sleep(LOOK)
    return OK
