"""`fastsmtp serve`: run the server until it is told to stop.

SIGTERM or Ctrl-C once: new clients are told 421, what is in flight is finished. Twice:
it ends at once. Nothing that was acknowledged is lost either way.
"""

import argparse
import os
import sys
from typing import Final

from fastsmtp.cli import Failure
from fastsmtp.cli.terminal import config_argument
from fastsmtp.config import Config

ROOT: Final = """\
fastsmtp: warning: this serves as root, and need not once the ports are bound
    set user = "…" in the configuration, or give the data folder to a user"""


def arguments(parser: argparse.ArgumentParser) -> None:
    config_argument(parser)


def run(args: argparse.Namespace) -> int:
    from fastsmtp import config
    from fastsmtp.net.listener import CannotListen
    from fastsmtp.server import serve

    path = config.find(args.config)
    checked, problems = config.check(path)
    if checked is None:
        raise config.ConfigErrors(problems)
    for problem in problems:
        print(problem, file=sys.stderr)
    if os.geteuid() == 0 and not becomes_somebody(checked):
        print(ROOT, file=sys.stderr)
    try:
        return serve(checked, path)
    except CannotListen as error:
        raise _not_bound(checked, error.strerror or "") from None


def becomes_somebody(config: Config) -> bool:
    """Whether root will be given up."""
    from fastsmtp.owner import identity

    who = identity(config.user, config.data)
    return who is not None and who.user != 0


def _not_bound(config: Config, text: str) -> Failure:
    """Which port it was, who has it and what to do, as doctor would say."""
    from fastsmtp.cli.diagnosis import OURS, ports

    for finding in ports(config):
        if finding.verdict == "bad" or finding.text.startswith(OURS):
            return Failure(f"{finding.about}: {finding.text}", finding.advice)
    return Failure(text, "`fastsmtp doctor` says who has the port, and why")
