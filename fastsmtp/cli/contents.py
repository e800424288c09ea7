"""One mailbox, read: its emails in order, their bodies in pieces."""

import email.header
import email.utils
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final, Self

from fastsmtp.cli import Failure
from fastsmtp.cli.letter import CHUNK, KEYWORDS
from fastsmtp.mailbox import account
from fastsmtp.mailbox.values import Email, Flag, decode_email
from fastsmtp.serve.control import Declined
from fastsmtp.serve.operations import find, mailbox_id
from fastsmtp.store import keys
from fastsmtp.store.base import Blob, Store

START: Final = 16 * 1024  # octets in which a header's first lines are looked for

_SYSTEM: Final = (
    ("\\Seen", Flag.SEEN),
    ("\\Answered", Flag.ANSWERED),
    ("\\Flagged", Flag.FLAGGED),
    ("\\Draft", Flag.DRAFT),
    *KEYWORDS.items(),
)


class Contents:
    """A mailbox of an account. `mailbox` is its id."""

    def __init__(self, store: Store, part: int, mailbox: int) -> None:
        self.store, self.part, self.mailbox = store, part, mailbox

    @classmethod
    async def open(cls, store: Store, address: str, mailbox: str) -> Self:
        """`Failure` when there is no such account or mailbox."""
        try:
            part = (await find(store, address)).id
            return cls(store, part, await mailbox_id(store, part, mailbox))
        except Declined as error:
            raise Failure(str(error)) from None

    async def count(self) -> int:
        boxes = dict(await account.mailboxes(self.store, self.part))
        return boxes[self.mailbox].messages

    async def emails(self, last: int = 0) -> AsyncIterator[tuple[int, Email]]:
        """(UID, email), ascending; only the last so many, if that is not 0."""
        at = 0
        if last > 0:
            prefix = keys.mailbox_uids(self.mailbox)
            found = await self.store.scan(
                self.part, prefix, keys.after(prefix), last, reverse=True
            )
            at = int.from_bytes(found[-1][0][5:], "big") - 1 if found else 0
        while page := await account.emails(self.store, self.part, self.mailbox, at):
            for uid, _, found_email in page:
                yield uid, found_email
            at = page[-1][0]

    async def email(self, uid: int) -> Email | None:
        if not 0 < uid < 1 << 32:
            return None
        number = await self.store.get(self.part, keys.uid(self.mailbox, uid))
        if number is None:
            return None
        value = await self.store.get(self.part, b"e" + number)
        return None if value is None else decode_email(value)

    async def start(self, email: Email, size: int = START) -> bytes:
        """The first octets of a body."""
        blob = await self.store.blob_open(email.blob)
        try:
            return blob.read(email.offset, min(size, email.size))
        finally:
            blob.close()

    @asynccontextmanager
    async def body(self, email: Email) -> AsyncIterator[Iterator[bytes]]:
        """All octets, in pieces that are read when they are asked for."""
        blob = await self.store.blob_open(email.blob)
        try:
            yield _pieces(blob, email)
        finally:
            blob.close()


def _pieces(blob: Blob, email: Email) -> Iterator[bytes]:
    at, end = email.offset, email.offset + email.size
    while at < end:
        piece = blob.read(at, min(CHUNK, end - at))
        if not piece:
            raise Failure("a body ends early; `fastsmtp verify` says more")
        yield piece
        at += len(piece)


def flag_names(email: Email, mailbox: int) -> list[str]:
    """Flags and keywords as IMAP names them (RFC 9051 section 2.3.2)."""
    names = [name for name, flag in _SYSTEM if email.flags & flag]
    if mailbox in email.deleted:
        names.append("\\Deleted")
    return [*names, *email.keywords]


def summary(start: bytes) -> dict[str, Any]:
    """From and Subject of a body that starts like this, decoded for people."""
    header = re.split(rb"\r?\n\r?\n", start, maxsplit=1)[0]
    unfolded = re.sub(rb"\r?\n[ \t]", b" ", header)
    fields = {"from": "", "subject": ""}
    for line in unfolded.splitlines():
        name, colon, value = line.partition(b":")
        known = name.strip().lower().decode("ascii", "replace")
        if colon and fields.get(known) == "":
            fields[known] = _decoded(value)
    return fields


def _decoded(value: bytes) -> str:
    text = value.strip().decode("utf-8", "replace")
    if "=?" not in text:
        return text
    try:
        return str(email.header.make_header(email.header.decode_header(text)))
    except (LookupError, ValueError):  # an unknown character set, a broken word
        return text


def sender(start: bytes) -> str:
    """The reverse-path of a body that starts like this, "" for none."""
    found = re.match(rb"(?i)Return-Path:[ \t]*<([^>\r\n]*)>", start)
    if found:
        return found[1].decode("ascii", "replace")
    return email.utils.parseaddr(summary(start)["from"])[1]
