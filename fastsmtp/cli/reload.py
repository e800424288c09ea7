"""`fastsmtp reload`: read the configuration again, without losing a connection.

The running server checks the file. When it is right, new processes take over; when it
is wrong, every mistake is shown and nothing changes.
"""

import argparse
import asyncio
import json
import sys
from typing import Any

from fastsmtp.cli import MISUSED, OK, Failure
from fastsmtp.cli.terminal import config_argument, json_argument
from fastsmtp.config import Config, Problem


def arguments(parser: argparse.ArgumentParser) -> None:
    config_argument(parser)
    json_argument(parser)


def run(args: argparse.Namespace) -> int:
    from fastsmtp.cli.remote import running_config

    path, running = running_config(args.config)
    problems: list[dict[str, Any]] = []
    try:
        seconds = asyncio.run(_reload(running, problems))
    except Failure as failure:
        _show(problems, args.json)
        if any(problem["severity"] == "error" for problem in problems):
            raise Failure(f"{path}: {failure}", code=MISUSED) from None
        raise
    _show(problems, args.json)
    if args.json:
        print(json.dumps({"reloaded": str(path), "seconds": seconds}))
    else:
        print(f"{path}: reloaded in {seconds:.1f} s")
    return OK


async def _reload(config: Config, problems: list[dict[str, Any]]) -> float:
    """How long it took; what the check found is added to `problems`."""
    from fastsmtp.cli.remote import steering
    from fastsmtp.serve.control import Summary
    from fastsmtp.steering import Reload

    seconds = 0.0
    async with steering(config) as server:
        async for item in server.call("reload", Reload()):
            if isinstance(item, Summary):
                seconds = item["seconds"]
            else:
                problems.append(item)
    return seconds


def _show(problems: list[dict[str, Any]], as_json: bool) -> None:
    for problem in problems:
        if as_json:
            print(json.dumps(problem, ensure_ascii=False))
        else:
            print(Problem(**problem), file=sys.stderr)
