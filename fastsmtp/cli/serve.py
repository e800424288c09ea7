"""`fastsmtp serve`: run the server until it is told to stop.

SIGTERM or Ctrl-C once: new clients are told 421, what is in flight is finished. Twice:
it ends at once. Nothing that was acknowledged is lost either way.
"""

import argparse

from fastsmtp.cli import Failure
from fastsmtp.cli.terminal import config_argument


def arguments(parser: argparse.ArgumentParser) -> None:
    config_argument(parser)


def run(args: argparse.Namespace) -> int:
    from fastsmtp import config
    from fastsmtp.net.listener import CannotListen
    from fastsmtp.server import serve

    try:
        return serve(config.load(config.find(args.config)))
    except CannotListen as error:
        raise Failure(
            error.strerror or "", "`fastsmtp doctor` says who has the port, and why"
        ) from None
