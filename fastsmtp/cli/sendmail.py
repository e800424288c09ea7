"""`fastsmtp sendmail`, and what `sendmail`, `mailq` and `newaliases` are linked to.

The command line of sendmail(8) as cron, PHP, mutt and mailx use it. The message goes
over a Unix socket, on which the server knows from the kernel who sends it; nothing is
set-uid, nothing is spooled: when the server does not run, exit code 75 says so.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import select
import socket
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from email.utils import formataddr
from pathlib import Path
from typing import Final

from fastsmtp.wire.originator import mailboxes

OK: Final = 0
USAGE: Final = 64  # sysexits.h, from here on
DATA_ERROR: Final = 65
NO_USER: Final = 67
UNAVAILABLE: Final = 69
TRY_AGAIN: Final = 75
NOT_ALLOWED: Final = 77
NO_CONFIG: Final = 78

SOCKET: Final = "FASTSMTP_SENDMAIL"  # environment: path of the server's socket
USUAL: Final = Path("/run/fastsmtp/sendmail.sock")
PATIENCE: Final = 300.0  # seconds for an answer (RFC 5321 4.5.3.2)
PIECE: Final = 65536  # octets
LONGEST: Final = 1024 * 1024  # octets of a field that names recipients
MOST: Final = 10_000  # recipients in it; how many it takes is up to the server

ALONE: Final = frozenset("intvGUm")  # options without a value
VALUED: Final = frozenset("frFNRVBChLMOXD")  # with one, attached or the next word
ATTACHED: Final = frozenset("bodqpA")  # with one that is attached, or none
DOTS: Final = ("i", ""), ("o", "i"), ("O", "ignoredots=true")
MODES: Final = "m", "s", "p", "i"  # of -b
WHY_NOT: Final = {
    "d": "`fastsmtp serve` is the daemon",
    "D": "`fastsmtp serve` is the daemon",
    "v": "addresses are not verified: send, and see what becomes of it",
    "t": "there is no test mode",
}
LF: Final = b"\n"
_DOT: Final = re.compile(rb"^\.$", re.MULTILINE)
_FIELD: Final = re.compile(rb"[!-9;-~]+[ \t]*:")


HELP: Final = """\
usage: sendmail [-i] [-t] [-f SENDER] [-F NAME] [-N WHEN] [-R full|hdrs] [-V ID] [-v]
                [-C FILE] [--] RECIPIENT ...
       sendmail -bs   SMTP on standard input and output
       sendmail -bp   the queue
       sendmail -q    try now what waits; -qIID, -qRRECIPIENT, -qSSENDER: of that

Sends the message on standard input as sendmail(8) does, through the running server.

exit codes:
  0   the server has it on disk
  64  wrong usage                    65  the message was refused
  67  a recipient was refused        69  refused for another reason
  75  no server, try again later     77  not your address, or not your socket
  78  no configuration (-bp and -q)"""


class Trouble(Exception):
    """Ends the command with `code`; the text is for whoever called it."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass
class Wish:
    """What the command line asks for."""

    mode: str = "m"
    dots: bool = False  # a line with a dot alone is text
    from_header: bool = False  # -t
    sender: str | None = None
    name: str | None = None
    notify: str = ""
    ret: str = ""
    envid: str = ""
    config: str | None = None
    run: list[str] | None = None  # -q: which messages to try now
    verbose: bool = False
    recipients: list[str] = field(default_factory=list)


def main(name: str, words: Sequence[str]) -> int:
    """name: as which it was called. Gives an exit code of sysexits.h."""
    if "--help" in words:
        print(HELP)
        return OK
    try:
        wish = read_words(words)
        wish.mode = {"mailq": "p", "newaliases": "i"}.get(name, wish.mode)
        if wish.mode == "i":
            return OK  # aliases are in the configuration, `fastsmtp reload` reads it
        if wish.mode == "p":
            return ours(["queue", "list"], wish)
        if wish.mode == "s":
            return pipe(reach(wish))
        if wish.run is not None and not (wish.recipients or wish.from_header):
            return run_queue(wish, wish.run)
        return send(wish, sys.stdin.buffer.read())
    except Trouble as trouble:
        print(f"sendmail: {trouble}", file=sys.stderr)
        return trouble.code


def run_queue(wish: Wish, which: list[str]) -> int:
    with open(os.devnull, "w") as nowhere:
        out = sys.stdout if wish.verbose else nowhere
        with contextlib.redirect_stdout(out):
            return ours(["queue", "retry", "--yes", *which], wish)


def ours(words: list[str], wish: Wish) -> int:
    """A command of `fastsmtp`; its exit code as sysexits.h has it."""
    from fastsmtp.cli import FAILED, MISUSED, main

    code = main([*words, *(["-c", wish.config] if wish.config else [])])
    return {FAILED: UNAVAILABLE, MISUSED: NO_CONFIG}.get(code, code)


# the command line


def read_words(words: Sequence[str]) -> Wish:
    """As getopt(3) has it: options may stand together and after recipients."""
    wish, left = Wish(), list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            wish.recipients += left
            break
        if not word.startswith("-") or word == "-":
            wish.recipients.append(word)
            continue
        for letter, value in options(word[1:], left):
            take(wish, letter, value)
    words_of = (os.fsencode(word) for word in wish.recipients)
    wish.recipients = [one for word in words_of for one in addresses(word)]
    return wish


def options(letters: str, left: list[str]) -> Iterator[tuple[str, str]]:
    """The options of one word and their values; takes a value out of `left`."""
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter in ALONE:
            yield letter, ""
        elif letter in ATTACHED:
            yield letter, letters
            return
        elif letter not in VALUED:
            raise Trouble(USAGE, f"there is no option -{letter}")
        elif letters:
            yield letter, letters
            return
        elif left:
            yield letter, left.pop(0)
        else:
            raise Trouble(USAGE, f"-{letter} needs a value")


def take(wish: Wish, letter: str, value: str) -> None:
    """What is not named here is taken silently: it says how another program works."""
    if (letter, value.replace(" ", "").lower()) in DOTS:
        wish.dots = True
    elif letter == "t":
        wish.from_header = True
    elif letter == "v":
        wish.verbose = True
    elif letter in "fr":
        wish.sender = value.strip().removeprefix("<").removesuffix(">")
        demand_address(wish.sender)
    elif letter == "F":
        wish.name = value
    elif letter == "C":
        wish.config = value
    elif letter == "b":
        if value not in MODES:
            why = WHY_NOT.get(value, "it is not known")
            raise Trouble(USAGE, f"-b{value} cannot be done: {why}")
        wish.mode = value
    elif letter == "q":
        wish.run = chosen(value)
    elif letter in "NRV":
        notice(wish, letter, value)


def chosen(value: str) -> list[str]:
    """What follows -q, in words of `fastsmtp queue`. A time is for a daemon."""
    kind, what = value[:1], value[1:]
    if not value or value == "f" or kind.isdecimal():
        return ["--all"]
    if kind == "I" and what:
        return [what]
    if kind == "R" and what:
        return ["--recipient" if "@" in what else "--domain", what]
    if kind == "S" and what:
        return ["--sender", what if "@" in what or what == "<>" else f"@{what}"]
    raise Trouble(USAGE, f"-q{value} cannot be done; -qI, -qR and -qS are known")


def notice(wish: Wish, letter: str, value: str) -> None:
    """Delivery status notifications (RFC 3461)."""
    if letter == "V":
        if not re.fullmatch(r"[!-*,-<>-~]{1,100}", value):
            raise Trouble(USAGE, "-V takes up to 100 ASCII characters without + and =")
        wish.envid = value
        return
    words = value.upper().split(",")
    known = ("SUCCESS", "FAILURE", "DELAY") if letter == "N" else ("FULL", "HDRS")
    if words not in (["NEVER"],) and not set(words) <= set(known):
        raise Trouble(USAGE, f"-{letter} takes {', '.join(known)}, not {value!r}")
    if letter == "N":
        wish.notify = ",".join(words)
    else:
        wish.ret = words[0]


def addresses(octets: bytes) -> list[str]:
    """The addresses in a word or field; names without @ stay as they are."""
    try:
        return mailboxes(octets, (LONGEST, MOST), names=True)
    except ValueError as error:
        text = octets.decode("utf-8", "replace").strip()
        raise Trouble(NO_USER, f"{text[:200]!r}: {error}") from None


def demand_address(text: str) -> None:
    """What could leave its place in a command is none."""
    if not text.isprintable() or set(text) & set("<> "):
        raise Trouble(NO_USER, f"{text!r} is no address")


# the message


def read_message(octets: bytes, dots: bool) -> bytes:
    """With LF for every end of a line, and without what ends it or comes before it.

    PHP programs mix CRLF and LF; a lone CR ends a line too."""
    text = octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if not dots:
        text = _DOT.split(text, maxsplit=1)[0]
    if text.startswith(b"From "):  # the first line of an mbox
        text = text.partition(b"\n")[2]
    if not text.startswith(b"\n") and not _FIELD.match(text):
        text = b"\n" + text  # it has no header
    return text if text.endswith(b"\n") else text + b"\n"


def fields(text: bytes) -> Iterator[tuple[str, bytes]]:
    """Name in lower case and unfolded value of each field of the header."""
    header = b"" if text.startswith(b"\n") else text.partition(b"\n\n")[0]
    unfolded = re.sub(rb"\n(?=[ \t])", b"", header)
    for line in unfolded.split(b"\n"):
        name, colon, value = line.partition(b":")
        if colon:
            yield name.strip().decode("latin-1").lower(), value


def recipients(wish: Wish, text: bytes) -> list[str]:
    """Of the command line, and with -t of the header; Resent- fields go first
    (RFC 5322 3.6.6)."""
    found = list(wish.recipients)
    if wish.from_header:
        named = list(fields(text))
        again = [value for name, value in named if name in _OF_RESENT]
        for value in again or [v for name, v in named if name in _OF_HEADER]:
            found += addresses(value)
    if not found:
        raise Trouble(USAGE, "nobody is named as a recipient")
    return list(dict.fromkeys(found))


_OF_HEADER: Final = ("to", "cc", "bcc")
_OF_RESENT: Final = ("resent-to", "resent-cc", "resent-bcc")


# the server


def reach(wish: Wish) -> socket.socket:
    """A connection to it. Who is not there is waited for by the caller: 75."""
    path = socket_path(wish)
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    link.settimeout(PATIENCE)
    try:
        link.connect(str(path))
    except PermissionError:
        raise Trouble(NOT_ALLOWED, f"{path} is not yours to use") from None
    except OSError as error:
        why = f"the mail server does not answer at {path}: {error.strerror}"
        raise Trouble(TRY_AGAIN, f"{why}; nothing was sent, try again later") from None
    return link


def socket_path(wish: Wish) -> Path:
    """By the environment, by -C, where it usually is, or by the usual configuration."""
    from fastsmtp.options import unix_path

    if named := os.environ.get(SOCKET):
        return Path(named)
    if wish.config is None and _is_socket(USUAL):
        return USUAL
    from fastsmtp import config

    try:
        loaded = config.load(config.find(wish.config))
    except (OSError, config.ConfigErrors) as error:
        why = f"{USUAL} is not there, and no configuration can be read: {error}"
        raise Trouble(TRY_AGAIN, why) from None
    if not loaded.sendmail.listen:
        raise Trouble(TRY_AGAIN, "[sendmail] listen is not set: nobody takes mail")
    return Path(unix_path(loaded.sendmail.listen[0]))


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        return False


class Dialogue:
    """Commands and replies over `link`; a reply that is not 2xx or 3xx raises."""

    def __init__(self, link: socket.socket, verbose: bool) -> None:
        self._link = link
        self._replies = link.makefile("rb")
        self._verbose = verbose
        self.unknown = False  # whether a reply that is missing may have been a yes

    def say(self, line: str, refused: int = UNAVAILABLE) -> list[str]:
        """The lines of the reply. `refused`: exit code when it is 5xx."""
        if self._verbose:
            print(f">>> {line}")
        return self.send(line.encode() + b"\r\n", refused)

    def send(self, octets: bytes, refused: int = UNAVAILABLE) -> list[str]:
        lines: list[str] = []
        try:
            self._link.sendall(octets)
            while not lines or lines[-1][3:4] == "-":
                line = self._replies.readline(4096).decode("utf-8", "replace")
                if not line:
                    raise OSError("it went away")
                lines.append(line.rstrip())
        except OSError as error:
            sent = "it may have the message or not" if self.unknown else "nothing sent"
            raise Trouble(TRY_AGAIN, f"the mail server: {error}; {sent}") from None
        if self._verbose:
            print("\n".join(lines))
        if lines[-1][:1] not in "23":
            raise Trouble(code_of(lines[-1], refused), lines[-1])
        return lines


def code_of(reply: str, refused: int) -> int:
    if reply.startswith("4"):
        return TRY_AGAIN
    if reply.startswith("552 5.3.4"):  # too big
        return DATA_ERROR
    return NOT_ALLOWED if " 5.7." in reply[:9] else refused


def send(wish: Wish, octets: bytes) -> int:
    """All recipients or none: what was refused in part would be sent twice by who
    tries again."""
    text = read_message(octets, wish.dots)
    whom = recipients(wish, text)
    dialogue = Dialogue(reach(wish), wish.verbose)
    domain = f"{dialogue.send(b'')[0]} localhost".split()[1]
    offers = {line[4:].split()[0].upper() for line in dialogue.say("EHLO localhost")}
    user = caller()
    sender = user.pw_name if wish.sender is None else wish.sender
    sender, whom = full(sender, domain), [full(one, domain) for one in whom]
    text = with_from(text, sender, wish, user)
    told = "DSN" in offers
    line = f"MAIL FROM:<{sender}> SIZE={len(text) + text.count(LF)}"
    line += "" if text.isascii() else " BODY=8BITMIME"
    line += "" if "".join((sender, *whom)).isascii() else " SMTPUTF8"
    line += f" RET={wish.ret}" if told and wish.ret else ""
    line += f" ENVID={wish.envid}" if told and wish.envid else ""
    try:
        dialogue.say(line, NOT_ALLOWED)
    except Trouble as trouble:
        raise Trouble(trouble.code, f"from {sender or '<>'}: {trouble}") from None
    for one in whom:
        asked = f" NOTIFY={wish.notify}" if told and wish.notify else ""
        try:
            dialogue.say(f"RCPT TO:<{one}>{asked}", NO_USER)
        except Trouble as trouble:
            why = f"{one}: {trouble}; nothing was sent"
            raise Trouble(trouble.code, why) from None
    dialogue.say("DATA")
    dialogue.unknown = True
    dialogue.send(wired(text), DATA_ERROR)
    with contextlib.suppress(Trouble):  # it has it already
        dialogue.say("QUIT")
    return OK


def caller() -> pwd.struct_passwd:
    user = os.getuid()
    try:
        return pwd.getpwuid(user)
    except KeyError:  # as `serve.programs` names it
        return pwd.struct_passwd((f"uid-{user}", "", user, 0, "", "", ""))


def full(address: str, domain: str) -> str:
    return f"{address}@{domain}" if address and "@" not in address else address


def with_from(text: bytes, sender: str, wish: Wish, user: pwd.struct_passwd) -> bytes:
    """A message without From says who called the command. The server adds Date and
    Message-ID, and takes Bcc out (RFC 6409 8)."""
    if any(name == "from" for name, _ in fields(text)):
        return text
    name = user.pw_gecos.partition(",")[0] if wish.name is None else wish.name
    name = "".join(c for c in name if c.isprintable())
    address = sender or "MAILER-DAEMON"
    return f"From: {formataddr((name, address))}\n".encode() + text


def wired(text: bytes) -> bytes:
    """As it goes over the wire: CRLF, dots doubled, the end (RFC 5321 4.5.2)."""
    lines = text.replace(b"\n.", b"\n..")
    lines = b"." + lines if lines.startswith(b".") else lines
    return lines.replace(b"\n", b"\r\n") + b".\r\n"


def pipe(link: socket.socket) -> int:
    """-bs: the dialogue on standard input and output, until either side ends it."""
    link.setblocking(True)
    inputs: list[int] = [0, link.fileno()]
    while link.fileno() in inputs:
        ready, _, _ = select.select(inputs, [], [])
        if 0 in ready:
            octets = os.read(0, PIECE)
            if octets:
                link.sendall(octets)
            else:
                inputs.remove(0)
                link.shutdown(socket.SHUT_WR)
        if link.fileno() in ready:
            octets = link.recv(PIECE)
            if not octets:
                break
            sys.stdout.buffer.write(octets)
            sys.stdout.buffer.flush()
    return OK
