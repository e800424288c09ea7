"""mbox files, read and written in the mboxrd way (RFC 4155 and its quoting).

A message begins with a line `From address date`; a line of the body that begins with
any number of `>` and `From ` gets one more `>`. The date is the internal date (UTC, to
the second). Flags are in `Status` (R seen, O old) and `X-Status` (A answered, F
flagged, T draft, D deleted), keywords in `X-Keywords`. We write these on top of the
header and take off there what we wrote; in files of others they are taken wherever
they stand in the header. In the file a line ends with LF; in the store with CRLF.
"""

import calendar
import re
import time
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

from fastsmtp.cli.letter import Letter, bits, with_crlf, with_lf, words
from fastsmtp.mailbox.values import Flag

_QUOTE: Final = re.compile(rb"^(>*From )", re.MULTILINE)
_UNQUOTE: Final = re.compile(rb"^>(>*From )", re.MULTILINE)
_META: Final = re.compile(rb"(?i)^(status|x-status|x-keywords):[ \t]*(.*?)[ \t]*\r?\n")
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)
_LETTERS: Final = (
    ("A", Flag.ANSWERED),
    ("F", Flag.FLAGGED),
    ("T", Flag.DRAFT),
)


def from_line(sender: str, date: int) -> bytes:
    """`From alice@example.org Tue Nov 24 04:12:00 2026`; `date` in milliseconds."""
    t = time.gmtime(date // 1000)
    when = (
        f"{_DAYS[t.tm_wday]} {_MONTHS[t.tm_mon - 1]} {t.tm_mday:2d}"
        f" {t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d} {t.tm_year}"
    )
    name = re.sub(r"[^\x21-\x7e]", "_", sender) or "MAILER-DAEMON"
    return f"From {name} {when}\n".encode()


def date_of(line: bytes) -> int | None:
    """The date of a `From ` line in milliseconds; as others write it, too (a zone
    before or after the year). None when it has no date."""
    text = line.decode("ascii", "replace")
    found = re.search(
        r"(\w{3}) +(\d{1,2}) +(\d\d):(\d\d)(?::(\d\d))?"
        r"(?: +[A-Za-z]\w*| +([+-]\d{4}))? +(\d{4})(?: +([+-]\d{4}))?\s*$",
        text,
    )
    if found is None or found[1] not in _MONTHS:
        return None
    month = _MONTHS.index(found[1]) + 1
    clock = (int(found[3]), int(found[4]), int(found[5] or 0))
    seconds = calendar.timegm((int(found[7]), month, int(found[2]), *clock))
    zone = found[6] or found[8]
    if zone:
        offset = int(zone[1:3]) * 3600 + int(zone[3:5]) * 60
        seconds -= offset if zone[0] == "+" else -offset
    return seconds * 1000


def status(letter: Letter) -> bytes:
    """The lines that carry the flags, always both, so that reading takes off as many
    as writing puts on."""
    marks = "".join(mark for mark, flag in _LETTERS if letter.flags & flag)
    marks += "D" if letter.deleted else ""
    seen = "RO" if letter.flags & Flag.SEEN else "O"
    known = " ".join(words(letter.flags, letter.keywords))
    return f"Status: {seen}\nX-Status: {marks}\nX-Keywords: {known}\n".encode()


def write(out: BinaryIO, letter: Letter, sender: str, body: Iterable[bytes]) -> None:
    """Append one message; `letter.body` is not looked at, `body` is streamed."""
    out.write(from_line(sender, letter.date))
    out.write(status(letter))
    last = b"\n"
    for piece in _quoted(with_lf(body)):
        out.write(piece)
        last = piece[-1:]
    out.write(b"\n" if last == b"\n" else b"\n\n")


def _quoted(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Quote in whole lines, but hold no line that is longer than a piece."""
    held, inside = b"", False
    for piece in pieces:
        held += piece
        end = held.rfind(b"\n") + 1
        if not end and re.match(rb">*(F(r(o(m)?)?)?)?\Z", held):
            continue  # may still become a line to quote
        ready, held = (held[:end], held[end:]) if end else (held, b"")
        yield _quote(ready, inside)
        inside = not end
        if held and not re.match(rb">*(F(r(o(m)?)?)?)?\Z", held):
            yield _quote(held, False)
            held, inside = b"", True
    if held:
        yield _quote(held, inside)


def _quote(text: bytes, inside: bool) -> bytes:
    """`inside`: the text goes on in the middle of a line."""
    if b"From " not in text:  # nearly always, and found out forty times as fast
        return text
    if not inside:
        return _QUOTE.sub(rb">\1", text)
    end = text.find(b"\n") + 1
    return text[:end] + _QUOTE.sub(rb">\1", text[end:]) if end else text


def read(lines: Iterable[bytes], otherwise: int) -> Iterator[Letter]:
    """The messages of a file, one after the other; lines end with LF or CRLF.

    otherwise  the date of a message whose `From ` line has none, milliseconds
    Raises `ValueError` when the file does not begin like an mbox."""
    start = b""
    held: list[bytes] = []
    blank = True  # a message begins after an empty line
    for line in lines:
        begins = blank and line.startswith(b"From ")
        if begins and (not start or date_of(line) is not None):
            if start:
                yield _letter(start, held, otherwise)
            start, held = line, []
        elif start:
            held.append(line)
        elif line.strip():
            raise ValueError('not an mbox file: it does not begin with "From "')
        blank = line in (b"\n", b"\r\n")
    if start:
        yield _letter(start, held, otherwise)


def _letter(start: bytes, lines: list[bytes], otherwise: int) -> Letter:
    if lines and lines[-1] in (b"\n", b"\r\n"):
        lines.pop()
    found = _take_status(lines)
    seen = Flag.SEEN if "R" in found.get("status", "") else Flag(0)
    marks = found.get("x-status", "")
    flags, keywords = bits(found.get("x-keywords", "").split())
    for mark, flag in _LETTERS:
        flags |= flag if mark in marks else 0
    body = with_crlf(_UNQUOTE.sub(rb"\1", b"".join(lines)))
    date = date_of(start)
    date = otherwise if date is None else date
    return Letter(body, date, int(flags | seen), "D" in marks, keywords)


def _take_status(lines: list[bytes]) -> dict[str, str]:
    """Take the flags out of the header: ours stand on top, those of others anywhere,
    the first of each name."""
    found: dict[str, str] = {}
    ours = bool(lines) and lines[0].lower().startswith(b"status:")
    at = 0
    while at < len(lines) and lines[at].strip():
        match = _META.match(lines[at])
        name = match[1].decode().lower() if match else ""
        if match and name not in found:
            found[name] = match[2].decode("utf-8", "replace")
            del lines[at]
        elif ours:
            break
        else:
            at += 1
    return found
