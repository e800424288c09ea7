"""What a submission agent reads and mends in the header of a message (RFC 6409 8).

One pass of a compiled expression over the header: the octets of a stranger are not
walked line by line in Python, and nothing in it can backtrack.
"""

import re
from itertools import pairwise
from typing import Final, NamedTuple

from fastsmtp.wire.command import SyntaxFault, parse_mailbox

HEADER_MOST: Final = 256 * 1024  # octets of a header
FROM_MOST: Final = 8 * 1024  # octets of a From field
MAILBOXES_MOST: Final = 100  # in a From field

_FIELD: Final = re.compile(
    rb"^(date|message-id|from|(?:resent-)?bcc)[ \t]*:"  # obsolete forms have a space
    rb"([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)(?:\r\n|\Z)",
    re.MULTILINE | re.IGNORECASE,
)
_TOKEN: Final = re.compile(
    r'\s+|"(?:[^"\\]|\\.)*"|\[(?:[^\[\]\\]|\\.)*\]'
    r'|[^\s()<>\[\]:;@\\,."]+|[<>:;@,.]',
    re.DOTALL,
)
_COMMENT: Final = re.compile(r"[^()\\]*(?:\\.[^()\\]*)*", re.DOTALL)


class Header(NamedTuple):
    """What stands in a header.

    froms    the values of its From fields, folded as they came
    date, message_id  whether it has such a field
    blind    where the fields are that name hidden recipients: (begin, end)
    """

    froms: tuple[bytes, ...]
    date: bool
    message_id: bool
    blind: tuple[tuple[int, int], ...]


def read_header(header: bytes) -> Header:
    """`header` is everything before the body, with or without the empty line."""
    froms: list[bytes] = []
    blind: list[tuple[int, int]] = []
    names: set[bytes] = set()
    for found in _FIELD.finditer(header):
        name = found[1].lower()
        if name == b"from":
            froms.append(found[2])
        elif name.endswith(b"bcc"):
            blind.append(found.span())
        names.add(name)
    return Header(tuple(froms), b"date" in names, b"message-id" in names, tuple(blind))


def without(header: bytes, spans: tuple[tuple[int, int], ...]) -> bytes:
    """`header` with these stretches left out; they ascend and do not overlap."""
    pieces, at = [], 0
    for begin, end in spans:
        pieces.append(header[at:begin])
        at = end
    return b"".join((*pieces, header[at:]))


def mailboxes(
    value: bytes,
    most: tuple[int, int] = (FROM_MOST, MAILBOXES_MOST),
    names: bool = False,
) -> list[str]:
    """The addresses of a From field, `local@domain` each (RFC 5322 3.4, 4.4; groups as
    RFC 6854 allows). `ValueError` says what cannot be read.

    most   octets and addresses
    names  a name alone is one as well, "root"
    """
    if len(value) > most[0]:
        raise ValueError("it is too long")
    found: list[str] = []
    words: list[str] = []
    inside = behind = False  # between < and >; behind them
    for token in _tokens(value.decode("utf-8", "replace")):
        if inside and token != ">":
            words.append(token)
        elif inside:
            found.append(_address(words, True, names))
            words, inside, behind = [], False, True
        elif token in ",;":
            found += [_address(words, False, names)] if words else []
            words, behind = [], False
        elif behind:
            raise ValueError("something stands behind an address")
        elif token in "<:":
            words, inside = [], token == "<"  # a phrase, or the name of a group
        else:
            words.append(token)
        if len(found) > most[1]:
            raise ValueError("there are too many addresses")
    if inside:
        raise ValueError("an address does not end")
    return found + ([_address(words, False, names)] if words else [])


def _tokens(text: str) -> list[str]:
    """Words and signs, without white space and comments."""
    tokens: list[str] = []
    at = 0
    while at < len(text):
        if text[at] == "(":
            at = _behind_comment(text, at)
            continue
        found = _TOKEN.match(text, at)
        if found is None:
            raise ValueError("a quote, a bracket or a sign stands alone")
        at = found.end()
        if not found[0].isspace():
            tokens.append(found[0])
    return tokens


def _behind_comment(text: str, at: int) -> int:
    depth = 0
    while True:
        if at >= len(text) or text[at] == "\\":
            raise ValueError("a comment does not end")
        depth += 1 if text[at] == "(" else -1
        at += 1
        if not depth:
            return at
        found = _COMMENT.match(text, at)
        at = found.end() if found else at


def _address(words: list[str], routed: bool, names: bool) -> str:
    """`routed`: it stood in angle brackets, where an old source route may lead it."""
    if routed and words[:1] == ["@"] and ":" in words:
        words = words[words.index(":") + 1 :]
    if any(a not in ".@" and b not in ".@" for a, b in pairwise(words)):
        raise ValueError("words stand where an address should")  # foo a@b.test
    alone = names and "@" not in words
    try:
        path = parse_mailbox("".join((*words, "@x" if alone else "")).encode())
    except (SyntaxFault, UnicodeEncodeError):
        raise ValueError("an address cannot be read") from None
    return path.mailbox.decode().removesuffix("@x" if alone else "")
