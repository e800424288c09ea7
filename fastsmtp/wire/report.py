"""A report about the delivery of mail as octets: RFC 6522, 3464 and 6533.

Its words come from people, its facts from servers that may say anything. Whatever
they hold, no value ends its line, opens a field or a part, or leaves the 7 bits of a
report that is not `utf8` (attack class 7).
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from fastsmtp.wire.transfer import quoted

WIDTH: Final = 76  # columns of what we write ourselves
VALUE_MOST: Final = 1000  # characters of a value; a reply may be of 10 MB
LINE_MOST: Final = 900  # octets between two places to fold: a line has 998

_GAP: Final = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")
_SPECIAL: Final = re.compile(r"[^!-*,-<>-\[\]-~]")  # RFC 6533 3: not a QCHAR
_ODD: Final = re.compile(rb"[^\r\n]{999}|\r(?!\n)|(?<!\r)\n|\0")

Field = tuple[str, str]
"""Name, as we write it, and value, as anybody did."""


class Part(NamedTuple):
    """A body part: its type with parameters, its encoding, its octets."""

    type: str
    encoding: str
    octets: bytes


def clean(text: str, utf8: bool = True, most: int = VALUE_MOST) -> str:
    """One line of it: white space and controls are a space each, what cannot be
    printed or (unless `utf8`) is not ASCII is "?"; longer ones end in "..."."""
    more = len(text) > most
    text = _GAP.sub(" ", text[:most]).strip()
    if not text.isprintable():
        text = "".join(c if c.isprintable() else "?" for c in text)
    if not utf8 and not text.isascii():
        text = text.encode("ascii", "replace").decode()
    return f"{text}..." if more else text


def field(name: str, value: str, utf8: bool = False) -> bytes:
    """A field with its CRLF, folded where it has spaces (RFC 5322 2.2.3); nothing in
    it is an encoded word, which could stand for a line end (RFC 2047 2)."""
    text = f"{name}:"
    column = len(text)
    for word in _words(clean(value, utf8).replace("=?", "= ?")):
        if column + 1 + len(word) > WIDTH and column > len(name) + 1:
            text += "\r\n"
            column = 0
        text += f" {word}"
        column += 1 + len(word)
    return f"{text}\r\n".encode()


def _words(text: str) -> list[str]:
    """What stands between its spaces, in pieces that fit into a line."""
    words = text.split(" ")
    most = LINE_MOST if text.isascii() else LINE_MOST // 4
    if len(text) <= most:
        return words
    return [
        word[at : at + most] for word in words for at in range(0, len(word) or 1, most)
    ]


def fields(values: Iterable[Field], utf8: bool = False) -> bytes:
    """A group of fields; those without a value are left out."""
    return b"".join(field(name, value, utf8) for name, value in values if value)


def typed(address: str, utf8: bool = False, kind: str = "rfc822") -> str:
    """`type; address` of a recipient (RFC 3464 2.3.1, 2.3.2).

    An address beyond ASCII has the type utf-8; in a report that is not `utf8` its
    characters are escaped (RFC 6533 3)."""
    if kind == "rfc822" and address.isascii():
        return f"rfc822; {address}"
    if kind not in ("rfc822", "utf-8"):
        return f"{kind}; {address}"
    if utf8:
        return "utf-8; " + address.replace("\\", r"\x{5C}")
    return "utf-8; " + _SPECIAL.sub(
        lambda found: f"\\x{{{ord(found[0]):02X}}}", address
    )


def words(text: str) -> Part:
    """Text for a person, lines ended by "\\n"."""
    octets = text.replace("\n", "\r\n").encode("utf-8", "replace")
    if octets.isascii():
        return Part('text/plain; charset="us-ascii"', "7bit", octets)
    return Part('text/plain; charset="utf-8"', "quoted-printable", quoted(octets))


def status(message: Sequence[Field], recipients: Iterable[Sequence[Field]]) -> bytes:
    """The body of message/delivery-status: a group for the message, and one behind an
    empty line for each recipient (RFC 3464 2.1)."""
    return b"\r\n".join((fields(message), *map(fields, recipients)))


def global_status(
    message: Sequence[Field], recipients: Iterable[Sequence[Field]]
) -> bytes:
    """The same for message/global-delivery-status (RFC 6533 4)."""
    groups = (message, *recipients)
    return b"\r\n".join(fields(group, True) for group in groups)


def header_part(octets: bytes, utf8: bool = False) -> Part:
    """The header of the message a report is about, of which it says no more; what is
    not 7 bits (unless `utf8`) or not lines goes as quoted-printable (RFC 6522 4, RFC
    6533 5)."""
    type = "message/global-headers" if utf8 else "text/rfc822-headers"
    if _ODD.search(octets) or not (utf8 or octets.isascii()):
        return Part(type, "quoted-printable", quoted(octets))
    return Part(type, "8bit" if utf8 else "7bit", octets)


def begin(part: Part, boundary: str) -> bytes:
    """What stands before the octets of a part."""
    encoding = "" if part.encoding == "7bit" else part.encoding
    head = fields(
        (("Content-Type", part.type), ("Content-Transfer-Encoding", encoding))
    )
    return b"\r\n--%s\r\n%s\r\n" % (boundary.encode(), head)


def end(boundary: str) -> bytes:
    """What ends the last part."""
    return b"\r\n--%s--\r\n" % boundary.encode()
