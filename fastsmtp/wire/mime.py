"""The parts of a message by their places (RFC 2045, 2046), read in pieces.

    for entity in walk(body, skip):
        body.read(entity.begin, entity.end - entity.begin)

Nothing is decoded and nothing is kept but offsets. What strangers can make large has
limits: headers, depth, parts. Bodies are searched by compiled code, and read once.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple, Protocol

from fastsmtp.wire.transfer import find_delimiter

LINE_MOST: Final = 998  # octets of a line without CRLF, RFC 5322 2.1.1
HEADER_MOST: Final = 256 * 1024  # octets of one header
DEPTH_MOST: Final = 50
PARTS_MOST: Final = 2000
PIECE: Final = 256 * 1024  # octets read at a time
HEADER_PIECE: Final = 4 * 1024  # most headers are shorter
VALUE_MOST: Final = 8 * 1024  # octets of a Content-Type field
BOUNDARY_MOST: Final = 200  # RFC 2046 5.1.1 says 70

PLAIN: Final = ("", "7bit", "8bit", "binary")
"""Encodings that encode nothing (RFC 2045 6.2)."""

_FIELD: Final = re.compile(
    rb"^(content-type|content-transfer-encoding|mime-version)[ \t]*:"
    rb"([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)(?:\r\n|\Z)",
    re.MULTILINE | re.IGNORECASE,
)
_TYPE: Final = re.compile(rb"\s*([\w!#$&^.+-]+)\s*/\s*([\w!#$&^.+-]+)")
_PARAMETER: Final = re.compile(
    rb';\s*([\w!#$&^.+*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;()"]+))', re.DOTALL
)
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_COMMENT: Final = re.compile(rb"\([^()]*\)")


class Octets(Protocol):
    """A body that is read in pieces: `store.base.Blob`, `Written` and others."""

    length: int

    def read(self, offset: int, size: int) -> bytes: ...


class Unwalkable(ValueError):
    """A limit is passed."""


class Fields(NamedTuple):
    """What a header says about its body.

    type      "text/plain" in lower case; "" when it does not say or cannot be read
    boundary  of a multipart
    encoding  in lower case, "" when it does not say
    encoded   where the Content-Transfer-Encoding fields are, from its first octet
    typed, versioned  it has Content-Type, MIME-Version
    twice     it says something of this twice, which everybody reads differently
    """

    type: str = ""
    boundary: bytes = b""
    encoding: str = ""
    encoded: tuple[tuple[int, int], ...] = ()
    typed: bool = False
    versioned: bool = False
    twice: bool = False


class Shape(Enum):
    """What the body of an entity is made of."""

    LEAF = "octets"
    MULTIPART = "parts"
    MESSAGE = "a message"


@dataclass(slots=True)
class Entity:
    """A message or a part: header octets from `start`, body from `begin` to `end`.

    parent  its place in the list, -1 is none
    fields, ascii   of its header
    sealed  a signature holds over it, or what holds it
    gaps    octets of a multipart that belong to no part
    """

    shape: Shape
    start: int
    begin: int
    end: int
    parent: int
    fields: Fields
    ascii: bool
    sealed: bool
    gaps: list[tuple[int, int]] = field(default_factory=list)


def read_fields(header: bytes, default: str = "") -> Fields:
    """`header` is that of a message or a part; `default` a type it has by its place."""
    values: dict[bytes, bytes] = {}
    encoded: list[tuple[int, int]] = []
    twice = False
    for found in _FIELD.finditer(header):
        name = found[1].lower()
        twice = twice or name in values
        values.setdefault(name, found[2])
        if name == b"content-transfer-encoding":
            encoded.append(found.span())
    value = values.get(b"content-type", b"")
    type, boundary = _type(value)
    encoding = _COMMENT.sub(b"", values.get(b"content-transfer-encoding", b""))
    return Fields(
        *(type if value else default, boundary),
        encoding.strip().lower().decode("ascii", "replace"),
        tuple(encoded),
        b"content-type" in values,
        b"mime-version" in values,
        twice,
    )


def _type(value: bytes) -> tuple[str, bytes]:
    """Type and boundary of a Content-Type field."""
    found = _TYPE.match(value)
    if found is None or len(value) > VALUE_MOST:
        return "", b""
    type = b"/".join(found.groups()).lower().decode("ascii", "replace")
    for name, quoted, plain in _PARAMETER.findall(value, found.end()):
        if name.lower() == b"boundary":
            return type, (_ESCAPED.sub(rb"\1", quoted) or plain).rstrip()
    return type, b""


def folded(header: bytes) -> bytes:
    """`header` without lines of more than 998 octets: folded at white space, or where
    there is none at the limit, which puts a space there."""
    lines = header.split(b"\r\n")
    return b"\r\n".join(piece for line in lines for piece in _folded(line))


def _folded(line: bytes) -> Iterator[bytes]:
    """No piece is white space alone: some read that as the end of the header."""
    while len(line) > LINE_MOST:
        if line[:1] in b" \t":
            line = b" " + line.lstrip(b" \t")
        cut = max(line.rfind(white, 1, LINE_MOST) for white in (b" ", b"\t"))
        if cut > 0:
            yield line[:cut]
            line = line[cut:]
        else:
            cut = LINE_MOST - 1
            while line[cut] & 0xC0 == 0x80 and cut > LINE_MOST - 5:
                cut -= 1  # not inside a character
            yield line[:cut]
            line = b" " + line[cut:]
        if not line.strip(b" \t"):
            return
    yield line


def walk(body: Octets, start: int) -> list[Entity]:
    """The message that begins at `start` and all that is in it, in order; a part stands
    behind what holds it. Raises `Unwalkable`."""
    walker = _Walker(body)
    walker.walk(start)
    return walker.found


class _Walker:
    """open: entities whose end is not known, the outermost first, and the boundaries
    that their parts still have; b"" is none."""

    def __init__(self, body: Octets) -> None:
        self.body = body
        self.found: list[Entity] = []
        self.open: list[tuple[int, bytes]] = []
        self.window = b""  # what was read last, from `window_at`
        self.window_at = 0

    def walk(self, start: int) -> None:
        at, default = start, ""
        while True:
            entity = self._enter(at, default)
            at, default = entity.begin, ""
            if entity.shape is Shape.MESSAGE:
                continue
            next = self._next_part(at)
            if next is None:
                return
            at, default = next

    def _enter(self, at: int, default: str) -> Entity:
        """Read the header of what begins here."""
        begin, header = self._header(at)
        fields = read_fields(header, default)
        parent = self.open[-1][0] if self.open else -1
        above = self.found[parent] if parent >= 0 else None
        shape, boundary = _shape(fields)
        sealed = fields.type in ("multipart/signed", "multipart/encrypted")
        sealed = sealed or (above is not None and above.sealed)
        entity = Entity(
            *(shape, at, begin, begin, parent, fields, header.isascii(), sealed)
        )
        if len(self.open) >= DEPTH_MOST or len(self.found) >= PARTS_MOST:
            raise Unwalkable("too many parts")
        self.open.append((len(self.found), boundary))
        self.found.append(entity)
        return entity

    def _header(self, at: int) -> tuple[int, bytes]:
        """Where the body begins, and the header with its empty line, if there is one:
        the next part may begin first."""
        for size in (HEADER_PIECE, HEADER_MOST):
            octets = self.body.read(at, size)
            last = at + len(octets) >= self.body.length
            end = 2 if octets.startswith(b"\r\n") else octets.find(b"\r\n\r\n") + 4
            if end >= 4 or octets.startswith(b"\r\n"):
                octets, last = octets[:end], True
            line, which, _, _ = find_delimiter(octets, 0, self._boundaries()[0], last)
            if which >= 0:
                octets, last = octets[: max(line - 2, 0)], True
            if last:
                return at + len(octets), octets
        raise Unwalkable("a header is too long")

    def _boundaries(self) -> tuple[tuple[bytes, ...], tuple[int, ...]]:
        """Those that are searched, the innermost first, and their places in `open`."""
        found = [
            (boundary, place)
            for place, (_, boundary) in enumerate(self.open)
            if boundary
        ]
        found.reverse()
        return tuple(b for b, _ in found), tuple(p for _, p in found)

    def _next_part(self, at: int) -> tuple[int, str] | None:
        """Where the next part begins and the type it has unless it says another; None
        at the end of the message. What ends before it gets its end."""
        while True:
            boundaries, places = self._boundaries()
            line, which, closing, next = self._delimiter(at, boundaries)
            if which < 0:
                self._close(0, self.body.length)
                return None
            place = places[which]
            self._close(place + 1, line - 2)
            index = self.open[place][0]
            entity = self.found[index]
            if not entity.gaps:
                entity.gaps.append((entity.begin, max(line - 2, entity.begin)))
            if not closing:
                digest = entity.fields.type == "multipart/digest"
                return next, "message/rfc822" if digest else ""
            self.open[place] = (index, b"")
            entity.gaps.append((next, next))
            at = next

    def _close(self, place: int, end: int) -> None:
        """What is open from this place on ends here."""
        for index, _ in self.open[place:]:
            entity = self.found[index]
            entity.end = max(end, entity.begin)
            if len(entity.gaps) > 1:
                begin = entity.gaps[-1][0]
                entity.gaps[-1] = (begin, max(entity.end, begin))
        del self.open[place:]

    def _delimiter(
        self, at: int, boundaries: tuple[bytes, ...]
    ) -> tuple[int, int, bool, int]:
        """`find_delimiter` over the whole body."""
        length = self.body.length
        while boundaries and at < length:
            begin = max(at - 1, 0)  # an octet more tells whether a line begins at `at`
            inside = self.window_at <= begin and at < self.window_at + len(self.window)
            if not inside:
                self.window, self.window_at = self.body.read(begin, PIECE), begin
            base = self.window_at
            last = base + len(self.window) >= length
            line, which, closing, next = find_delimiter(
                *(self.window, at - base, boundaries, last)
            )
            if which >= 0:
                return base + line, which, closing, base + next
            if last:
                break
            if line < len(self.window):  # a line that this window cuts off
                self.window = b""
            at = base + line
        return length, -1, False, length


def _shape(fields: Fields) -> tuple[Shape, bytes]:
    """What the body is made of, and the boundary of its parts."""
    if fields.encoding not in PLAIN or fields.twice:
        return Shape.LEAF, b""
    if fields.type == "message/rfc822":
        return Shape.MESSAGE, b""
    boundary = fields.boundary
    if fields.type.startswith("multipart/") and 0 < len(boundary) <= BOUNDARY_MOST:
        return Shape.MULTIPART, boundary
    return Shape.LEAF, b""
