"""What `ext/bodyscan.pxd` must do, slow and plain.

The framing is a table of 20 cells: what has been seen × what comes. A cell says what
is seen then, and which octets belong to the message by now. All facts are read off
the finished message afterwards.
"""

import re
from typing import NamedTuple

LINE = "a line begins"
DOT = "line ."
DOT_CR = "line . CR"
TEXT = "text"
CR = "text CR"
END = "line . CR LF"

THIS = None  # the octet that came

CELLS: dict[tuple[str, str], tuple[str, tuple[bytes | None, ...]]] = {
    (LINE, "CR"): (CR, (THIS,)),
    (LINE, "LF"): (TEXT, (THIS,)),
    (LINE, "dot"): (DOT, ()),
    (LINE, "other"): (TEXT, (THIS,)),
    (DOT, "CR"): (DOT_CR, ()),
    (DOT, "LF"): (TEXT, (THIS,)),
    (DOT, "dot"): (TEXT, (THIS,)),
    (DOT, "other"): (TEXT, (THIS,)),
    (DOT_CR, "CR"): (CR, (b"\r", THIS)),
    (DOT_CR, "LF"): (END, ()),
    (DOT_CR, "dot"): (TEXT, (b"\r", THIS)),
    (DOT_CR, "other"): (TEXT, (b"\r", THIS)),
    (TEXT, "CR"): (CR, (THIS,)),
    (TEXT, "LF"): (TEXT, (THIS,)),
    (TEXT, "dot"): (TEXT, (THIS,)),
    (TEXT, "other"): (TEXT, (THIS,)),
    (CR, "CR"): (CR, (THIS,)),
    (CR, "LF"): (LINE, (THIS,)),
    (CR, "dot"): (TEXT, (THIS,)),
    (CR, "other"): (TEXT, (THIS,)),
}

CLASSES = {b"\r": "CR", b"\n": "LF", b".": "dot"}

Place = tuple[int, int] | None


class Facts(NamedTuple):
    """The names are those of `BodyScanner`."""

    taken: int
    ended: bool
    output: bytes
    size: int
    lines: int
    longest: int
    longest_line: int
    eight_bit: Place
    nul: Place
    bare_cr: Place
    bare_lf: Place
    header_end: int | None
    received: int
    return_paths: int
    left_out: int


def frame(data: bytes) -> tuple[int, bool, bytes]:
    """Octets taken, whether the data ended, the message without its dots."""
    state = LINE
    message = b""
    taken = 0
    for taken, value in enumerate(data, 1):
        octet = bytes((value,))
        state, kept = CELLS[state, CLASSES.get(octet, "other")]
        message += b"".join(octet if k is THIS else k for k in kept)
        if state == END:
            return taken, True, message
    return taken, False, message


def place(message: bytes, pattern: bytes) -> Place:
    """Offset and line number of the first match."""
    found = re.search(pattern, message)
    if found is None:
        return None
    return found.start(), message[: found.start()].count(b"\r\n") + 1


def header(lines: list[bytes]) -> tuple[list[bytes], list[bytes], int, int]:
    """Lines kept, lines left out, Received fields, Return-Path fields."""
    kept: list[bytes] = []
    gone: list[bytes] = []
    received = return_paths = 0
    leaving_out = False
    for line in lines:
        if re.match(rb"(?i)return-path[ \t]{0,4}:", line):
            leaving_out = True
            return_paths += 1
        elif line[:1] not in (b" ", b"\t"):
            leaving_out = False
        received += bool(re.match(rb"(?i)received[ \t]{0,4}:", line))
        (gone if leaving_out else kept).append(line)
    return kept, gone, received, return_paths


def scan(data: bytes) -> Facts:
    """All facts about data that ends, or about as much of it as there is."""
    taken, ended, message = frame(data)
    lines = [line + b"\r\n" for line in message.split(b"\r\n")]
    lines[-1] = lines[-1][:-2]  # what no CRLF ended yet
    whole = lines[:-1]
    longest = max(map(len, whole), default=0)
    empty = whole.index(b"\r\n") + 1 if b"\r\n" in whole else None
    kept, gone, received, return_paths = header(lines[:empty])
    return Facts(
        taken=taken,
        ended=ended,
        output=b"".join(kept + ([] if empty is None else lines[empty:])),
        size=len(message),
        lines=len(whole),
        longest=longest,
        longest_line=[len(line) for line in whole].index(longest) + 1 if longest else 0,
        eight_bit=place(message, rb"[\x80-\xff]"),
        nul=place(message, rb"\x00"),
        bare_cr=place(message, rb"\r(?!\n|\Z)"),
        bare_lf=place(message, rb"(?<!\r)\n"),
        header_end=None if empty is None else len(b"".join(kept)),
        received=received,
        return_paths=return_paths,
        left_out=len(b"".join(gone)),
    )
