"""fastsmtp-bench sink [RULES.toml]: a relay target that answers as large providers do.

Without rules it takes every message and forgets it. The first rule that
applies answers:

    connections = 20            # at the same time; who comes beyond hears 421
    messages = 100              # of one connection; beyond: 421

    [[rule]]
    when = "rcpt"               # connect, ehlo, mail, rcpt, data or body
    match = "@example.net"      # the command holds it, in any case; unset: always
    share = 0.05                # of the times; unset: all
    first = 60                  # seconds after a sender and recipient first came
    delay = 0.5                 # seconds before the answer
    reply = "451 4.7.1 Later"   # unset: what would be said anyway, only late
    do = "reply"                # or close (without a word), or hang

It listens on loopback, prints its port, and when it is stopped what it did.
"""

import math
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fastsmtp_bench import arguments
from fastsmtp_bench.native import program

STAGES: Final = ("connect", "ehlo", "mail", "rcpt", "data", "body")
ACTIONS: Final = ("reply", "close", "hang")
KNOWN: Final = {"when", "match", "share", "first", "delay", "reply", "do"}
LIMITS: Final = ("connections", "messages")
NUMBERS: Final = {"share": 1, "first": 0, "delay": 0}


class Mistake(Exception):
    """The rules say something that cannot be meant."""


@dataclass(frozen=True, slots=True)
class Sink:
    """One that runs: its port on loopback, and the process."""

    port: int
    process: "subprocess.Popen[str]"


def lines(document: dict[str, Any]) -> list[str]:
    """The rules in the words of sink_rules.h. Raises Mistake."""
    if unknown := set(document) - {"rule", *LIMITS}:
        there = "there are rule, connections, messages"
        raise Mistake(f"no setting {sorted(unknown)[0]}; {there}")
    for limit in LIMITS:
        value = document.get(limit, 1)
        if type(value) is not int or value < 1:
            raise Mistake(f"{limit} is {value!r}, not a whole number above 0")
    rules = document.get("rule", [])
    if not isinstance(rules, list) or not all(isinstance(r, dict) for r in rules):
        raise Mistake("a rule begins with [[rule]]")
    return [_line(n, rule) for n, rule in enumerate(rules, 1)]


def _line(number: int, rule: dict[str, Any]) -> str:
    def wrong(what: str) -> Mistake:
        return Mistake(f"rule {number}: {what}")

    if unknown := set(rule) - KNOWN:
        raise wrong(f"no setting {sorted(unknown)[0]}; there are {sorted(KNOWN)}")
    when, do = rule.get("when"), rule.get("do", "reply")
    if when not in STAGES:
        raise wrong(f"when is {when!r}, not one of {', '.join(STAGES)}")
    if do not in ACTIONS:
        raise wrong(f"do is {do!r}, not one of {', '.join(ACTIONS)}")
    reply, match = str(rule.get("reply", "")), str(rule.get("match", ""))
    if reply and not (reply[:3].isdigit() and reply[3:4] in (" ", "")):
        raise wrong(f"reply {reply!r} does not begin with a code of three digits")
    if any(c in reply + match for c in "\t\r\n"):
        raise wrong("a tab or line end in reply or match")
    numbers = []
    for name, usual in NUMBERS.items():
        value = rule.get(name, usual)
        if type(value) not in (int, float) or not 0 <= value < math.inf:
            raise wrong(f"{name} is {value!r}, not a number from 0 on")
        numbers.append(float(value))
    if numbers[0] > 1:
        raise wrong(f"share is {numbers[0]}, not between 0 and 1")
    return "\t".join([when, do, *map(str, numbers), match, reply])


@contextmanager
def running(
    document: dict[str, Any] | None = None, *words: str, port: int = 0
) -> Iterator[Sink]:
    """A sink with these rules; `words` as sink.c takes them. Raises Mistake."""
    document = document or {}
    told = lines(document)
    command = [str(program("sink")), "--port", str(port), *words]
    for limit in LIMITS:
        if limit in document:
            command += [f"--{limit}", str(document[limit])]
    with tempfile.NamedTemporaryFile("w", suffix=".rules") as file:
        file.write("".join(f"{line}\n" for line in told))
        file.flush()
        command += ["--rules", file.name] if told else []
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout
        try:
            said = process.stdout.readline()
            if not said:  # why stands on the standard error that it shares with us
                raise OSError("it did not start")
            yield Sink(int(said), process)
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()


def main(words: list[str] | None = None) -> int:
    parser = arguments.parser("sink", __doc__)
    add = parser.add_argument
    add("rules", type=Path, nargs="?", metavar="RULES.toml")
    add("--port", type=arguments.port, default=0, help="on 127.0.0.1; 0: a free one")
    add("--record", metavar="FILE", help="a line for each message: its id, recipients")
    add("--cert", metavar="FILE", type=arguments.file, help="PEM; offers STARTTLS")
    add("--key", metavar="FILE", type=arguments.file, help="PEM, of the certificate")
    options = parser.parse_args(words)
    more = [
        word
        for name in ("record", "cert", "key")
        if (given := getattr(options, name))
        for word in (f"--{name}", str(given))
    ]
    try:
        document = tomllib.loads(options.rules.read_text()) if options.rules else {}
        with running(document, *more, port=options.port) as sink:
            print(f"127.0.0.1:{sink.port}", flush=True)
            with suppress(KeyboardInterrupt):
                sink.process.wait()
            sink.process.terminate()
            assert sink.process.stdout
            print(sink.process.stdout.read().strip())
    except (Mistake, OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as why:
        sys.stderr.write(f"fastsmtp-bench sink: {why}\n")
        return 2
    return 0
