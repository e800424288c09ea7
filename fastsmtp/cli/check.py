"""`fastsmtp check`: every mistake of a configuration at once.

Offline, unless `--online` asks whether the world finds this server, too.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from typing import Final

from fastsmtp.cli import FAILED, MISUSED, OK
from fastsmtp.cli.terminal import config_argument, json_argument
from fastsmtp.config import Config

ALL: Final = 1 << 30


def arguments(parser: argparse.ArgumentParser) -> None:
    config_argument(parser)
    json_argument(parser)
    parser.add_argument(
        "--defaults",
        action="store_true",
        help="instead, print a file with every setting and its default",
    )

    parser.add_argument(
        "--online",
        action="store_true",
        help="then ask DNS and network: MX, PTR, port 25, certificates, clock, disk",
    )


def run(args: argparse.Namespace) -> int:
    from fastsmtp import config
    from fastsmtp.config.document import defaults

    if args.defaults:
        sys.stdout.write(defaults())
        return OK
    path = config.find(args.config)
    found, problems = config.check(path)
    known = None if found is None else _known(found)
    if known is not None:
        found, problems = config.check(path, known=known)
    for problem in problems:
        if args.json:
            print(json.dumps(problem.to_dict(), ensure_ascii=False))
        else:
            print(problem)
    errors = sum(problem.severity == "error" for problem in problems)
    if not args.json:
        print(f"{path}: {_summary(errors, len(problems) - errors)}")
    if found is None:
        return MISUSED
    return _online(found, args.json) if args.online else OK


def _online(config: Config, as_json: bool) -> int:
    from fastsmtp.cli.online import examine

    worst = OK
    for result in examine(config):
        print(json.dumps(result._asdict()) if as_json else result, flush=True)
        if result.level == "error":
            worst = FAILED
    return worst


def _known(config: Config) -> Callable[[str], bool] | None:
    """Which accounts there are, if there is a store that we may look into."""
    from fastsmtp.errors import FormatTooNew, StoreUnavailable
    from fastsmtp.owner import as_owner
    from fastsmtp.store import keys
    from fastsmtp.store.lmdb import LmdbStore

    if not os.access(config.data / "index" / "data.mdb", os.R_OK | os.W_OK):
        return None
    try:
        with as_owner(config.data):
            store = LmdbStore.read(config.data, config.store)
    except (FormatTooNew, StoreUnavailable):
        return None
    try:
        every = store.index.scan(keys.DIRECTORY, b"a", keys.after(b"a"), ALL, False)
    finally:
        store.index.close()
    return frozenset(key[1:].decode() for key, _ in every).__contains__


def _summary(errors: int, warnings: int) -> str:
    counts = [
        f"{count} {word}{'s' if count > 1 else ''}"
        for count, word in ((errors, "error"), (warnings, "warning"))
        if count
    ]
    return ", ".join(counts) if counts else "ok"
