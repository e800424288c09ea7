"""The body of a message as the next hop takes it, or why it cannot.

    made = fit(envelope, body, recipients, Hop(eight_bit=False, smtputf8=False))
    if isinstance(made, Reason): ...            # goes back, with this reason
    # else give made.body from made.skip on, with BODY=8BITMIME if made.eight_bit

Nearly all mail needs nothing, which one pass over it tells. What a hop could not take
is encoded (RFC 6152 3; RFC 5321 4.5.3.1.6: lines of 998 octets): parts with 8-bit
octets, endless lines, NUL or bare CR and LF become quoted-printable or base64, the
headers above them say so, and everything else stays octet by octet. What decodes is the
same as before. Not so where that would break a promise:

- what is under a signature (multipart/signed) or encrypted is never touched: bounce
- a header of 8 bits cannot be encoded: bounce (it would need SMTPUTF8)
- message/rfc822 is encoded inside, other message types are not (RFC 2046 5.2)
- a DKIM signature over the body does not hold any more where it was encoded; that is
  better than not to deliver, and what RFC 6376 5.3 tells signers to expect
"""

import codecs
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from fastsmtp.delivery.reasons import Reason
from fastsmtp.queue.message import Envelope
from fastsmtp.wire.mime import (
    PLAIN,
    Entity,
    Octets,
    Shape,
    Unwalkable,
    folded,
    read_fields,
    walk,
)
from fastsmtp.wire.originator import without
from fastsmtp.wire.transfer import Survey, based, quoted, rewrapped

LINE_MOST: Final = 1000  # octets with CRLF, RFC 5321 4.5.3.1.6
PIECE: Final = 256 * 1024  # octets read at a time
BLOCK: Final = 57 * 1024  # octets encoded at a time: whole lines of base64

_ENCODED_MESSAGES: Final = (
    *("message/global", "message/global-headers"),
    *("message/global-delivery-status", "message/global-disposition-notification"),
)
"""The types of message that any encoding is allowed for (RFC 6532 3.7, RFC 6533)."""


class Hop(NamedTuple):
    """What the next server offers."""

    eight_bit: bool
    smtputf8: bool


class Facts(NamedTuple):
    """What stands in a message or a part.

    long    lines that SMTP has no room for; broken: NUL, CR or LF alone
    """

    eight_bit: bool = False
    long: bool = False
    broken: bool = False

    @property
    def unfit(self) -> bool:
        """Whether no hop could take it."""
        return self.long or self.broken


class Fit(NamedTuple):
    """What is to be given to the next hop.

    body, skip  octets of it from `skip` on
    eight_bit   say BODY=8BITMIME; smtputf8: say SMTPUTF8
    converted   it is not what came in
    """

    body: Octets
    skip: int
    eight_bit: bool
    smtputf8: bool
    converted: bool = False


class _Unfit(Exception):
    """It cannot be converted."""


def survey(body: Octets, begin: int, end: int | None = None) -> Facts:
    """One pass over these octets."""
    found, end = Survey(), body.length if end is None else end
    for at in range(begin, end, PIECE):
        found.feed(body.read(at, min(PIECE, end - at)))
    found.finish()
    return Facts(found.eight_bit, found.longest > LINE_MOST, found.broken)


def fit(
    envelope: Envelope,
    body: Octets,
    recipients: Iterable[str],
    hop: Hop,
    facts: Facts | None = None,
) -> Fit | Reason:
    """`body` for this hop, or why it cannot be had.

    recipients  that are to be given in this transaction
    facts       of `survey(body, envelope.skip)`, for who asks again
    """
    skip = envelope.skip
    facts = facts or survey(body, skip)
    utf8 = envelope.smtputf8 and hop.smtputf8
    if not hop.smtputf8 and not all(map(str.isascii, recipients)):
        return Reason.SMTPUTF8
    if not hop.smtputf8 and not envelope.reverse_path.isascii():
        return Reason.SMTPUTF8
    encode = facts.eight_bit and not hop.eight_bit
    international = facts.eight_bit and envelope.smtputf8 and not hop.smtputf8
    if not (encode or international or facts.unfit):
        return Fit(body, skip, facts.eight_bit, utf8)
    try:
        entities = walk(body, skip)
    except Unwalkable:
        return Reason.CONVERSION
    if international and not all(entity.ascii for entity in entities):
        return Reason.SMTPUTF8  # RFC 6531 3.6
    if not (encode or facts.unfit):
        return Fit(body, skip, facts.eight_bit, utf8)
    try:
        made = Converted(body, _Conversion(body, entities, encode).segments(skip))
    except _Unfit:
        return Reason.CONVERSION
    left = survey(made, 0)  # the second lock: what does not fit never leaves
    if left.unfit or (left.eight_bit and not hop.eight_bit):
        return Reason.CONVERSION
    return Fit(made, 0, left.eight_bit, utf8, True)


class Copy(NamedTuple):
    """Octets of the original as they are."""

    begin: int
    length: int

    def read(self, body: Octets, offset: int, size: int) -> bytes:
        return body.read(self.begin + offset, min(size, self.length - offset))


class Literal(NamedTuple):
    """Octets of ours."""

    octets: bytes

    @property
    def length(self) -> int:
        return len(self.octets)

    def read(self, body: Octets, offset: int, size: int) -> bytes:
        return self.octets[offset : offset + size]


Encode = Callable[[bytes, int, bool], tuple[bytes, int]]
"""A block, the column it begins in, whether it is the last -> encoded, next column."""


class Coded:
    """Octets of the original that are encoded when they are read, block by block.

    A block begins at `starts[n]` of the original, in column `columns[n]`, and its
    octets at `places[n]` of what is made."""

    def __init__(
        self, body: Octets, begin: int, end: int, encode: Encode, lines: bool
    ) -> None:
        """lines: blocks end where lines do, unless a line is endless."""
        self._encode = encode
        self._end = end
        self.starts: list[int] = []
        self.columns: list[int] = []
        self.places: list[int] = []
        self.length = column = 0
        while begin < end:
            size = min(BLOCK, end - begin)
            octets = b"" if encode is _base else body.read(begin, size)
            if lines and begin + size < end:
                size = _cut(octets)
            self.starts.append(begin)
            self.columns.append(column)
            self.places.append(self.length)
            if encode is _base:  # that is known before
                self.length += 4 * -(-size // 3) + 2 * -(-size // 57)
            else:
                made, column = encode(octets[:size], column, begin + size == end)
                self.length += len(made)
            begin += size
        self._last = -1, b""

    def _block(self, body: Octets, n: int) -> bytes:
        """One block encoded; the last one is at hand, because readers go on."""
        if self._last[0] != n:
            begin, last = self.starts[n], n + 1 == len(self.starts)
            end = self._end if last else self.starts[n + 1]
            octets = body.read(begin, end - begin)
            self._last = n, self._encode(octets, self.columns[n], last)[0]
        return self._last[1]

    def read(self, body: Octets, offset: int, size: int) -> bytes:
        if offset >= self.length:
            return b""
        n = bisect_right(self.places, offset) - 1
        begin = offset - self.places[n]
        return self._block(body, n)[begin : begin + size]


def _cut(octets: bytes) -> int:
    """Where to end a block: behind its last line; else where nothing that belongs
    together stands on both sides (CRLF, =XX)."""
    end = octets.rfind(b"\r\n") + 2
    if end > 1:
        return end
    equals = octets.find(b"=", len(octets) - 2)
    if equals >= 0:
        return equals
    return len(octets) - octets.endswith(b"\r")


def _quote(octets: bytes, column: int, last: bool) -> tuple[bytes, int]:
    return quoted(octets, True, not (last or octets.endswith(b"\r\n"))), 0


def _requote(octets: bytes, column: int, last: bool) -> tuple[bytes, int]:
    return quoted(octets, False, not (last or octets.endswith(b"\r\n"))), 0


def _base(octets: bytes, column: int, last: bool) -> tuple[bytes, int]:
    return based(octets), 0


def _rewrap(octets: bytes, column: int, last: bool) -> tuple[bytes, int]:
    made, column = rewrapped(octets, column)
    return (made + b"\r\n" if last else made), column


Segment = Copy | Literal | Coded


class Converted:
    """A body made of another; of the interface of `store.base.Written`."""

    def __init__(self, body: Octets, segments: Iterable[Segment]) -> None:
        self._body = body
        self._segments = [one for one in segments if one.length]
        self._places: list[int] = []
        self.length = 0
        for one in self._segments:
            self._places.append(self.length)
            self.length += one.length

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` octets from `offset`; fewer only at the end."""
        found: list[bytes] = []
        size = min(size, self.length - offset)
        while size > 0:
            n = bisect_right(self._places, offset) - 1
            at = offset - self._places[n]
            octets = self._segments[n].read(self._body, at, size)
            found.append(octets)
            offset += len(octets)
            size -= len(octets)
        return b"".join(found)


class Edit(NamedTuple):
    """What stands for the octets from `begin` to `end`."""

    begin: int
    end: int
    made: Segment


class _Conversion:
    """What has to change in a message so that it fits."""

    def __init__(self, body: Octets, entities: list[Entity], encode: bool) -> None:
        self._body = body
        self._entities = entities
        self._seven = encode
        self._edits: list[Edit] = []
        self._changed: set[int] = set()  # entities under which something is encoded
        self._encodings: dict[int, tuple[str, str]] = {}

    def segments(self, skip: int) -> Iterator[Segment]:
        """All of the message from `skip` on."""
        for n, entity in enumerate(self._entities):
            if entity.sealed:
                self._sealed(entity)
            elif entity.shape is Shape.LEAF:
                self._leaf(n, entity)
            else:
                self._gaps(n, entity)
        for n, entity in enumerate(self._entities):
            if not entity.sealed:
                self._header(n, entity)
        at = skip
        for edit in sorted(self._edits, key=lambda edit: (edit.begin, edit.end)):
            yield Copy(at, edit.begin - at)
            yield edit.made
            at = edit.end
        yield Copy(at, self._body.length - at)

    def _trouble(self, begin: int, end: int) -> Facts | None:
        """What of these octets does not fit."""
        facts = survey(self._body, begin, end)
        if facts.unfit or (facts.eight_bit and self._seven):
            return facts
        return None

    def _inside(self, begin: int, end: int) -> Facts | None:
        """The same of octets whose last line ends behind them, where the delimiter of
        the next part begins (RFC 2046 5.1.1)."""
        return (
            self._trouble(begin, min(end + 2, self._body.length))
            if end > begin
            else None
        )

    def _sealed(self, entity: Entity) -> None:
        parent = entity.parent
        if parent >= 0 and self._entities[parent].sealed:
            return  # that one has looked at all of it
        if self._inside(entity.start, entity.end):
            raise _Unfit

    def _gaps(self, n: int, entity: Entity) -> None:
        """What is around the parts of a multipart is to be ignored (RFC 2046 5.1.1):
        it is left out where it does not fit."""
        gaps = entity.gaps
        if entity.shape is Shape.MULTIPART and not gaps:
            gaps = [(entity.begin, entity.end)]  # there is no part at all
        for begin, end in gaps:
            if self._inside(begin, end):
                self._edits.append(Edit(begin, end, Literal(b"")))
                self._change(n)

    def _leaf(self, n: int, entity: Entity) -> None:
        facts = self._inside(entity.begin, entity.end)
        if facts is None:
            return
        fields = entity.fields
        if fields.twice or (
            fields.type.startswith(("multipart/", "message/"))
            and fields.type not in _ENCODED_MESSAGES
        ):
            raise _Unfit
        made, encoding = self._coded(entity)
        charset = "" if fields.typed else self._charset(entity, facts)
        self._edits.append(Edit(entity.begin, entity.end, made))
        self._encodings[n] = encoding, charset
        self._change(n)

    def _change(self, n: int) -> None:
        """Something in this entity has changed, and in all that it is in."""
        while n >= 0:
            self._changed.add(n)
            n = self._entities[n].parent

    def _coded(self, entity: Entity) -> tuple[Coded, str]:
        """The body of a leaf in an encoding that is right for it, and its name."""
        encoding, type = entity.fields.encoding, entity.fields.type
        if encoding == "quoted-printable":
            return self._by(entity, _requote, True), encoding
        if encoding == "base64":
            return self._by(entity, _rewrap, False), encoding
        if encoding not in PLAIN:
            raise _Unfit
        base = self._by(entity, _base, False)
        if type and not type.startswith("text/"):
            return base, "base64"
        text = self._by(entity, _quote, True)
        if text.length <= base.length:
            return text, "quoted-printable"
        return base, "base64"

    def _by(self, entity: Entity, encode: Encode, lines: bool) -> Coded:
        return Coded(self._body, entity.begin, entity.end, encode, lines)

    def _charset(self, entity: Entity, facts: Facts) -> str:
        """Of a text that does not say its own: UTF-8 where it is that, else the name
        of RFC 1428 for what nobody knows."""
        if not facts.eight_bit:
            return ""
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            for at in range(entity.begin, entity.end, PIECE):
                size = min(PIECE, entity.end - at)
                decoder.decode(self._body.read(at, size), at + size == entity.end)
        except UnicodeDecodeError:
            return "unknown-8bit"
        return "utf-8"

    def _header(self, n: int, entity: Entity) -> None:
        """Make the header say what has become of its body, and fit itself."""
        facts = self._trouble(entity.start, entity.begin)
        changed = n in self._changed
        if facts is None and not changed:
            return
        header = self._body.read(entity.start, entity.begin - entity.start)
        if facts is not None:
            if facts.broken or (facts.eight_bit and self._seven):
                raise _Unfit
            header = folded(header)
        if changed:
            header = self._saying(n, entity, header)
        self._edits.append(Edit(entity.start, entity.begin, Literal(header)))

    def _saying(self, n: int, entity: Entity, header: bytes) -> bytes:
        """`header` with the fields of MIME that are true now."""
        fields, parent = entity.fields, entity.parent
        encoding, charset = self._encodings.get(n, ("", ""))
        if not encoding and self._seven and fields.encoding in ("8bit", "binary"):
            encoding = "7bit"
        lines, empty = header, b""
        if lines.endswith(b"\r\n\r\n") or lines == b"\r\n":
            lines, empty = lines[:-2], b"\r\n"
        if encoding:
            lines = without(lines, read_fields(lines).encoded)
        if charset:
            lines += b"Content-Type: text/plain; charset=%s\r\n" % charset.encode()
        if encoding:
            lines += b"Content-Transfer-Encoding: %s\r\n" % encoding.encode()
        root = parent < 0 or self._entities[parent].shape is Shape.MESSAGE
        if root and not fields.versioned:
            lines += b"MIME-Version: 1.0\r\n"
        return lines + empty
