"""The command `fastsmtp`: one file per verb, imported when it is asked for.

A verb's module has `arguments(parser)` and `run(args) -> int`. Expected trouble is
raised as an exception whose text is for people; `main` prints it and gives the exit
code. A traceback is a bug in fastsmtp.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

from fastsmtp import __version__

OK: Final = 0
FAILED: Final = 1
MISUSED: Final = 2
CLASSIC: Final = ("sendmail", "mailq", "newaliases")  # names we may be called by
INTERRUPTED: Final = 130  # 128 + SIGINT, as shells have it

VERBS: Final = {
    "quickstart": "write a configuration, make the data folder and accounts",
    "serve": "run the server until SIGTERM or Ctrl-C",
    "top": "the queue, rates, latencies and refusals, as they change",
    "status": "the processes of the running server, and its queue",
    "reload": "read the configuration again, without losing a connection",
    "drain": "take no new mail for a while, send clients away",
    "check": "find every mistake in a configuration",
    "user": "add, list and remove accounts, set passwords",
    "mail": "list, show, export and import the messages of an account",
    "queue": "what could not be delivered at once, and why",
    "sendmail": "send a message as sendmail(8) does, for cron and PHP",
    "why": "what became of a message, and of mail that was refused",
    "backup": "copy everything, while serving or not",
    "verify": "check that all mail is there and unharmed, while nobody serves",
    "doctor": "find out why it does not run, or not well, on this machine",
}

EXIT_CODES: Final = """\
exit codes:
  0  done, nothing to complain about
  1  what was asked for failed, or a check found something
  2  wrong usage, or a configuration that cannot be used

without -c FILE: ./fastsmtp.toml, then /etc/fastsmtp/fastsmtp.toml"""


class Failure(Exception):
    """What was asked for cannot be done; the text says why and what to do."""

    def __init__(self, text: str, advice: str = "", code: int = FAILED) -> None:
        super().__init__(text)
        self.advice = advice
        self.code = code


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    name = "" if argv is not None else os.path.basename(sys.argv[0])
    if name in CLASSIC:
        words.insert(0, name)
    try:
        if words[:1] and words[0] in CLASSIC:  # its options are older than ours
            return _classic(words)
        args = _parser(words).parse_args(words)
        code = importlib.import_module(f"fastsmtp.cli.{args.verb}").run(args)
        sys.stdout.flush()
    except SystemExit as exit:  # argparse: 0 after --help, 2 after wrong usage
        return exit.code if isinstance(exit.code, int) else MISUSED
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone (`| head`); nothing may be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        return _complain(error)
    return int(code)


def _classic(words: Sequence[str]) -> int:
    from fastsmtp.cli import sendmail

    return sendmail.main(words[0], words[1:])


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """All verbs are listed; only the one that is meant is imported."""
    style: Any = {
        "epilog": EXIT_CODES,
        "formatter_class": argparse.RawDescriptionHelpFormatter,
        "allow_abbrev": False,
    }
    about = "A mail server built for throughput."
    parser = argparse.ArgumentParser("fastsmtp", description=about, **style)
    version = f"fastsmtp {__version__}"
    parser.add_argument("--version", action="version", version=version)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    meant = next((word for word in words if word in VERBS), None)
    for name, summary in VERBS.items():
        about = f"{summary[0].upper()}{summary[1:]}."
        verb = verbs.add_parser(name, help=summary, description=about, **style)
        if name == meant:
            importlib.import_module(f"fastsmtp.cli.{name}").arguments(verb)
    return parser


def _complain(error: Exception) -> int:
    """Expected trouble in words; anything else goes on as it is."""
    from fastsmtp.config.problem import ConfigErrors
    from fastsmtp.errors import Damaged, FormatTooNew, StoreUnavailable

    if isinstance(error, ConfigErrors):
        print(error, file=sys.stderr)
        return MISUSED
    code, advice = FAILED, ""
    if isinstance(error, Failure):
        code, advice = error.code, error.advice
    elif isinstance(error, OSError) and error.strerror:
        error = Failure(f"{error.filename or 'input/output'}: {error.strerror}")
    elif not isinstance(error, StoreUnavailable | Damaged | FormatTooNew):
        raise error
    print(f"fastsmtp: {error}", file=sys.stderr)
    if advice:
        print(f"    {advice}", file=sys.stderr)
    return code
