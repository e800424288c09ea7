"""`fastsmtp check`: every mistake of a configuration at once. Offline."""

import argparse
import json
import sys

from fastsmtp.cli import MISUSED, OK
from fastsmtp.cli.terminal import config_argument, json_argument


def arguments(parser: argparse.ArgumentParser) -> None:
    config_argument(parser)
    json_argument(parser)
    parser.add_argument(
        "--defaults",
        action="store_true",
        help="instead, print a file with every setting and its default",
    )


def run(args: argparse.Namespace) -> int:
    from fastsmtp import config
    from fastsmtp.config.document import defaults

    if args.defaults:
        sys.stdout.write(defaults())
        return OK
    path = config.find(args.config)
    found, problems = config.check(path)
    for problem in problems:
        if args.json:
            print(json.dumps(problem.to_dict(), ensure_ascii=False))
        else:
            print(problem)
    errors = sum(problem.severity == "error" for problem in problems)
    if not args.json:
        print(f"{path}: {_summary(errors, len(problems) - errors)}")
    return OK if found is not None else MISUSED


def _summary(errors: int, warnings: int) -> str:
    counts = [
        f"{count} {word}{'s' if count > 1 else ''}"
        for count, word in ((errors, "error"), (warnings, "warning"))
        if count
    ]
    return ", ".join(counts) if counts else "ok"
