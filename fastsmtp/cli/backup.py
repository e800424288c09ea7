"""`fastsmtp backup`: a copy that holds everything acknowledged before it began."""

import argparse
import asyncio
import os

from fastsmtp.cli import OK
from fastsmtp.cli.terminal import config_argument
from fastsmtp.config import Config


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "dir", metavar="DIR", help="a new folder; written by the user that serves"
    )
    config_argument(parser)


def run(args: argparse.Namespace) -> int:
    from fastsmtp import config

    loaded = config.load(config.find(args.config))
    target = os.path.abspath(args.dir)
    asyncio.run(_backup(loaded, target))
    print(f"{target}: written; to restore, name it as data and start")
    return OK


async def _backup(config: Config, target: str) -> None:
    from fastsmtp.cli.access import operations
    from fastsmtp.cli.remote import ask
    from fastsmtp.serve.operations import Backup

    async with operations(config) as caller:
        await ask(caller, "backup", Backup(target))
