"""The values of an account's partition and their codecs.

Encoded as msgpack arrays; new fields go last and carry a default, so that older
values decode. A modseq is a 63-bit number, above 0 (RFC 7162 section 3.1).
"""

from enum import IntEnum, IntFlag
from typing import Final

import msgspec

from fastsmtp.errors import Damaged
from fastsmtp.store import keys


class AccountHead(msgspec.Struct, array_like=True, gc=False):
    """What stands at `keys.HEAD`; every change of the account passes through it.

    modseq        of the latest change
    next_email    the email id to give next
    next_mailbox  the mailbox id to give next
    octets        summed over emails: what a quota is compared with
    messages      emails
    oldest        changes up to this modseq may have been pruned from the log
    """

    modseq: int = 0
    next_email: int = 1
    next_mailbox: int = 1
    octets: int = 0
    messages: int = 0
    oldest: int = 0


class Mailbox(msgspec.Struct, array_like=True, gc=False):
    """One mailbox; its id is in the key.

    name       one level of the hierarchy, as people read it; "INBOX" is mailbox 1
    uidnext    the UID to give next
    modseq     of the latest change in it (HIGHESTMODSEQ)
    unseen     emails without \\Seen (STATUS UNSEEN)
    unread     of these, those that are no drafts (JMAP unreadEmails)
    deleted    emails with \\Deleted in it (STATUS DELETED)
    octets     STATUS SIZE
    role       as JMAP names it, "" for none; IMAP's SPECIAL-USE follows from it
    parent     id of the mailbox above, 0 at the top
    created    modseq at which it was made
    """

    name: str
    uidvalidity: int
    uidnext: int = 1
    modseq: int = 0
    messages: int = 0
    unseen: int = 0
    unread: int = 0
    deleted: int = 0
    octets: int = 0
    role: str = ""
    parent: int = 0
    subscribed: bool = True
    created: int = 0
    sort_order: int = 0


class Flag(IntFlag):
    """Flags that have a bit; all others are keywords. \\Deleted is `Email.deleted`."""

    SEEN = 1
    ANSWERED = 2
    FLAGGED = 4
    DRAFT = 8
    FORWARDED = 16
    MDN_SENT = 32
    JUNK = 64
    NOT_JUNK = 128
    PHISHING = 256


class Email(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One email of an account; its id is in the key.

    blob      the body it refers to
    size      octets of it (RFC822.SIZE)
    date      milliseconds, wall clock (INTERNALDATE, JMAP receivedAt)
    flags     `Flag`s, as a number
    modseq    of its latest change
    created   modseq at which it was made
    places    mailbox id -> UID there; never empty
    offset    octets of the blob in front that are not part of it
    deleted   ids of the mailboxes in which it is \\Deleted
    thread    0 is not given yet
    """

    blob: int
    size: int
    date: int
    flags: int
    modseq: int
    created: int
    places: dict[int, int]
    keywords: tuple[str, ...] = ()
    offset: int = 0
    deleted: tuple[int, ...] = ()
    thread: int = 0


class What(IntEnum):
    """What a change was. GONE and UNFILED carry the place that was left."""

    # 1 was a new email: `e` tells of those, see the head of the package
    FILED = 2  # an email got one more place
    FLAGGED = 3  # flags or keywords changed; mailbox 0: in all of its places
    UNFILED = 4  # an email left a mailbox and stands in another still
    GONE = 5  # an email left its last mailbox and is no more
    MAILBOX_MADE = 6
    MAILBOX_CHANGED = 7
    MAILBOX_GONE = 8


class Change(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An entry of the log of changes; its modseq is in the key."""

    what: int
    email: int = 0
    mailbox: int = 0
    uid: int = 0


encode: Final = msgspec.msgpack.Encoder().encode
"""Encodes any of the values above."""

_heads: Final = msgspec.msgpack.Decoder(AccountHead)
_mailboxes: Final = msgspec.msgpack.Decoder(Mailbox)
_emails: Final = msgspec.msgpack.Decoder(Email)
_changes: Final = msgspec.msgpack.Decoder(Change)


def decode_head(data: bytes) -> AccountHead:
    try:
        return _heads.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Damaged(f"account head: {error}") from error


def decode_mailbox(data: bytes) -> Mailbox:
    try:
        return _mailboxes.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Damaged(f"mailbox: {error}") from error


def decode_email(data: bytes) -> Email:
    try:
        return _emails.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Damaged(f"email: {error}") from error


def decode_change(data: bytes) -> Change:
    try:
        return _changes.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Damaged(f"change: {error}") from error


def references(part: int, key: bytes, value: bytes) -> tuple[int, ...]:
    """The blobs an entry of the index refers to, once for each reference."""
    if part >= keys.FIRST_ACCOUNT and key[:1] == b"e":
        return (decode_email(value).blob,)
    return ()
