"""Mail addresses as people write them: in a configuration and on a command line.

What stands on the wire is parsed by `fastsmtp.wire.command`; this asks the same
parser, so that an address that can be configured can also be reached.
"""

import re
from typing import Final, NamedTuple

from fastsmtp.wire.command import SyntaxFault, parse_mailbox

_DOT_STRING: Final = re.compile(r'[^\x00-\x20"(),:;<>@\[\\\]\x7f]+')


class Address(NamedTuple):
    """A mailbox; `str()` gives its canonical text.

    local   what the local part means: without quotes and escapes, case as given
    domain  lower case; "" for Postmaster alone (RFC 5321 4.5.1)
    """

    local: str
    domain: str

    def __str__(self) -> str:
        return f"{quoted(self.local)}@{self.domain}" if self.domain else self.local


def parse(text: str) -> Address:
    """Read `local@domain`; `ValueError` says what is wrong with it.

    Two texts of one mailbox give equal addresses: quotes that are not needed go, and
    the domain is lower case. The local part is not: only its host may say that case
    does not matter (RFC 5321 2.4).
    """
    try:
        path = parse_mailbox(text.encode())
    except SyntaxFault as fault:
        raise ValueError(f"{text!r} is not an address: {fault.text}") from None
    except UnicodeEncodeError:
        raise ValueError(f"{text!r} is not an address: not Unicode") from None
    local = path.local.decode()
    return Address(unquoted(local), path.domain.decode().lower())


def unquoted(local: str) -> str:
    """What a quoted local part stands for (RFC 5321 4.1.2); others are as they are."""
    if not local.startswith('"'):
        return local
    return re.sub(r"\\(.)", r"\1", local[1:-1])


def quoted(local: str) -> str:
    """A local part as it must be written: in quotes only if it needs them."""
    if _DOT_STRING.fullmatch(local):
        return local
    return '"' + re.sub(r'(["\\])', r"\\\1", local) + '"'


def split_tag(local: str, separator: str) -> tuple[str, str]:
    """`bob+tag` is ("bob", "tag"); the tag is "" when there is none (RFC 5233).

    A name that begins with the separator has no tag. "" switches tags off.
    """
    if not separator:
        return local, ""
    at = local.find(separator, 1)
    return (local, "") if at < 0 else (local[:at], local[at + len(separator) :])
