"""`fastsmtp serve`: run the server until it is told to stop.

SIGTERM or Ctrl-C once: new clients are told 421, what is in flight is finished. Twice:
it ends at once. Nothing that was acknowledged is lost either way.
"""

import argparse
import sys

from fastsmtp.cli import Failure
from fastsmtp.cli.terminal import config_argument
from fastsmtp.config import Config


def arguments(parser: argparse.ArgumentParser) -> None:
    config_argument(parser)


def run(args: argparse.Namespace) -> int:
    from fastsmtp import config
    from fastsmtp.net.listener import CannotListen
    from fastsmtp.server import serve

    checked, problems = config.check(config.find(args.config))
    if checked is None:
        raise config.ConfigErrors(problems)
    for problem in problems:
        print(problem, file=sys.stderr)
    try:
        return serve(checked)
    except CannotListen as error:
        raise _not_bound(checked, error.strerror or "") from None


def _not_bound(config: Config, text: str) -> Failure:
    """Which port it was, who has it and what to do, as doctor would say."""
    from fastsmtp.cli.diagnosis import OURS, ports

    for finding in ports(config):
        if finding.verdict == "bad" or finding.text.startswith(OURS):
            return Failure(f"{finding.about}: {finding.text}", finding.advice)
    return Failure(text, "`fastsmtp doctor` says who has the port, and why")
