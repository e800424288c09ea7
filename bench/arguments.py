"""The command lines of the verbs: one kind of parser, and values that are checked."""

import argparse
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path
from socket import gaierror, getaddrinfo

from fastsmtp_bench.workloads import WORKLOADS


def parser(verb: str, text: str | None, epilog: str = "") -> argparse.ArgumentParser:
    """Of `fastsmtp-bench VERB`; `text` is what the verb does, as it is laid out."""
    return argparse.ArgumentParser(
        prog=f"fastsmtp-bench {verb}",
        description=text,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def measured(
    parser: argparse.ArgumentParser,
    *,
    rounds: int = 0,
    scale: float = 0.0,
    mode: str = "",
) -> None:
    """Adds --directory, and those of the others that have a default here."""
    add = parser.add_argument
    add("--directory", type=folder, default=Path(), help="where the mail is kept")
    if rounds:
        add("--rounds", type=count, default=rounds, help="medians are told")
    if scale:
        add("--scale", type=positive, default=scale, help="times the messages")
    if mode:
        modes = ["one", "split"]
        add("--mode", choices=modes, default=mode, help="processes of fastsmtp")


def count(word: str) -> int:
    """1 or more. Raises ArgumentTypeError, as all that follow."""
    if not word.isdecimal() or not int(word):
        raise ArgumentTypeError(f"{word} is not a whole number above 0")
    return int(word)


def whole(word: str) -> int:
    if not word.isdecimal():
        raise ArgumentTypeError(f"{word} is not a whole number from 0 on")
    return int(word)


def share(word: str) -> float:
    try:
        found = float(word)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        raise ArgumentTypeError(f"{word} is not a share, from 0 to 1")
    return found


def positive(word: str) -> float:
    try:
        found = float(word)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise ArgumentTypeError(f"{word} is not a number above 0")
    return found


def workload(word: str) -> str:
    if word not in WORKLOADS:
        raise ArgumentTypeError(f"{word} is not one of {', '.join(WORKLOADS)}")
    return word


def port(word: str) -> int:
    if not word.isdecimal() or int(word) > 65535:
        raise ArgumentTypeError(f"{word} is not a port")
    return int(word)


def endpoint(word: str) -> tuple[str, int]:
    """HOST:PORT, [ADDRESS]:PORT or :PORT; the host as an address."""
    host, colon, port = word.rpartition(":")
    if not colon or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ArgumentTypeError(f"{word} is not HOST:PORT")
    try:
        found = getaddrinfo(host.strip("[]") or "127.0.0.1", int(port))
    except gaierror as why:
        raise ArgumentTypeError(f"{word}: {why.strerror}") from None
    return str(found[0][4][0]), int(port)


def existing(kind: Callable[[Path], bool], what: str) -> Callable[[str], Path]:
    def path(word: str) -> Path:
        if not kind(Path(word)):
            raise ArgumentTypeError(f"{word} is not {what}")
        return Path(word)

    return path


folder = existing(Path.is_dir, "a folder")
file = existing(Path.is_file, "a file")


def home(word: str) -> Path:
    """A folder that may be new, in one that there is."""
    if Path(word).exists():
        return folder(word)
    return beside(word)


def nearest(word: str, known: Iterable[str]) -> str:
    """What to say of a name that is not known: the one that was meant, or all."""
    names = list(known)
    if close := get_close_matches(word.lower(), names, 1):
        return f"did you mean {close[0]}?"
    return f"there are {', '.join(names)}"


def beside(word: str) -> Path:
    """A file that may be new, in a folder that there is."""
    if not Path(word).parent.is_dir():
        raise ArgumentTypeError(f"there is no folder {Path(word).parent}")
    return Path(word)
