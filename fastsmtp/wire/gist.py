"""What the header of a message tells about it, for a notice: pure and bounded.

A subject is what its author recognizes a message by; a message-id is what a mail
program does; and a notice that is only information is not for a machine (RFC 3834 2).
"""

import binascii
import re
from typing import Final, NamedTuple

SUBJECT_MOST: Final = 1000  # octets of a subject that are looked at

_FIELD: Final = re.compile(
    rb"^(subject|message-id|auto-submitted|precedence|list-id)[ \t]*:"
    rb"([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)",
    re.MULTILINE | re.IGNORECASE,
)
_MESSAGE_ID: Final = re.compile(rb"\s*(<[!-;=?-~]{1,120}@[!-;=?-~]{1,120}>)\s*")
_ENCODED: Final = re.compile(
    rb"=\?([!-)+->@-~]{1,40})(?:\*[!->@-~]*)?\?([BbQq])\?([!->@-~]*)\?="
)
_BETWEEN: Final = re.compile(rb"(\?=)\s+(?==\?)")
_BULK: Final = (b"bulk", b"junk", b"list")


class Gist(NamedTuple):
    """subject     decoded, "" when there is none; still holds whatever it held
    message_id  with its < >, "" when there is none that can be given on
    automatic   it came from a machine or a mailing list
    """

    subject: str = ""
    message_id: str = ""
    automatic: bool = False


def gist(header: bytes) -> Gist:
    """Of the fields of a name the first counts; `header` may be cut off anywhere."""
    found: dict[bytes, bytes] = {}
    for one in _FIELD.finditer(header):
        found.setdefault(one[1].lower(), one[2])
    machine = found.get(b"auto-submitted", b"no").strip().lower()
    bulk = found.get(b"precedence", b"").strip().lower() in _BULK
    id = _MESSAGE_ID.fullmatch(found.get(b"message-id", b""))
    return Gist(
        decoded(found.get(b"subject", b"")[:SUBJECT_MOST]),
        id[1].decode() if id else "",
        bulk or b"list-id" in found or not machine.startswith(b"no"),
    )


def decoded(value: bytes) -> str:
    """The text of an unstructured field (RFC 2047 6.2); what cannot be read in it is
    left as it is."""
    pieces: list[str] = []
    at = 0
    value = _BETWEEN.sub(rb"\1", value)
    for word in _ENCODED.finditer(value):
        pieces.append(value[at : word.start()].decode("utf-8", "replace"))
        pieces.append(_word(word))
        at = word.end()
    pieces.append(value[at:].decode("utf-8", "replace"))
    return "".join(pieces).strip()


def _word(found: "re.Match[bytes]") -> str:
    charset, way, text = found.groups()
    try:
        if way in b"Bb":
            octets = binascii.a2b_base64(text + b"=" * (-len(text) % 4))
        else:
            octets = binascii.a2b_qp(text, header=True)
        return octets.decode(charset.decode(), "replace")
    except (binascii.Error, LookupError, ValueError):
        return found[0].decode()
