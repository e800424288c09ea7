"""The values of the queue: what a message is and how each recipient stands.

Encoded as msgpack arrays; new fields go last and carry a default, so that older
records decode.
"""

from enum import IntEnum, StrEnum
from typing import Final

import msgspec

from fastsmtp.errors import Damaged
from fastsmtp.queue.encoded import queue_id as queue_id


class Recipient(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One RCPT, the address as it was given (RFC 5321 2.4: local-part case is kept).

    notify  "" when it was not said, "NEVER", or of SUCCESS,FAILURE,DELAY (RFC 3461 4.1)
    orcpt   "type;address" decoded, "" when it was not said (4.2)
    """

    address: str
    notify: str = ""
    orcpt: str = ""


class Filing(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A body that goes into one mailbox as it is (import, IMAP APPEND).

    account   its partition; mailbox: its id there
    flags     `mailbox.values.Flag` as a number
    """

    account: int
    mailbox: int
    flags: int = 0
    keywords: tuple[str, ...] = ()
    deleted: bool = False


class Envelope(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What stands beside a body in the message log.

    reverse_path  "" is the null reverse-path
    arrived       milliseconds, wall clock, when MAIL was accepted
    skip          octets of the body before the Received line (the Return-Path line,
                  which final delivery keeps and a relay leaves out, RFC 5321 4.4)
    body          "7BIT" or "8BITMIME" as declared
    filing        None for mail; else `arrived` is the INTERNALDATE and there are no
                  recipients
    smtputf8      RFC 6531 3.4: addresses or header may be UTF-8
    requiretls    RFC 8689 4: goes on over TLS or not at all
    ret, envid    RFC 3461 4.3, 4.4; "" when it was not said
    submitter     AUTH= of a client we know (RFC 4954 5); "" is nobody
    login         the account that submitted it; "" when nobody had logged in
    priority      RFC 6710: -9 to 9, higher goes first
    release       RFC 4865: milliseconds, wall clock, before which nothing is tried;
                  0: at once
    by            RFC 2852: milliseconds, wall clock, by which it is to be delivered;
                  0: no such wish
    by_mode       "R" give it up then, "N" only tell; with "T" behind it each relay
                  tells the sender
    """

    reverse_path: str
    recipients: tuple[Recipient, ...]
    arrived: int
    skip: int = 0
    body: str = "7BIT"
    client: str = ""
    helo: str = ""
    filing: Filing | None = None
    smtputf8: bool = False
    requiretls: bool = False
    ret: str = ""
    envid: str = ""
    submitter: str = ""
    login: str = ""
    priority: int = 0
    release: int = 0
    by: int = 0
    by_mode: str = ""


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Envelope)

encode_envelope = _encoder.encode


def decode_envelope(data: bytes) -> Envelope:
    """Raises `msgspec.DecodeError` or `msgspec.ValidationError` on other bytes."""
    try:
        return _decoder.decode(data)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(str(error)) from None


class State(StrEnum):
    """Where a queued message is; see the table in `fastsmtp.queue`."""

    ACTIVE = "active"
    DEFERRED = "deferred"
    HOLD = "hold"
    SCHEDULED = "scheduled"


class Standing(IntEnum):
    """How one recipient of a queued message stands."""

    WAITING = 0  # to be tried when due
    DELIVERED = 1  # here, or another server has taken it over
    GIVEN_UP = 2  # refused, or tried for too long; who is to know was told


class Target(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Whom a queued message is still to reach, or was.

    address    the account, or the recipient itself when that did not resolve
    recipient  the RCPT it came from
    due        milliseconds, wall clock, of the next attempt
    error      what the last attempt said
    hop        the next hop of the last attempt, see `policy.relaying.NextHop.key`
    """

    address: str
    recipient: str
    standing: int = Standing.WAITING
    attempts: int = 0
    due: int = 0
    error: str = ""
    hop: str = ""


class Queued(msgspec.Struct, array_like=True, frozen=True):
    """A message in the queue: what `keys.queued(id)` holds.

    envelope  as it was accepted, all recipients included
    octets    of the body
    state     a `State` it can rest in; ACTIVE is known to the keeper alone
    due       the earliest of those who wait; what counts is theirs
    done      accounts (ids) that have their copy: nothing reaches them twice
    marks     accounts and addresses for which `keys.delivered` may stand: it must go
              before this does
    via       the next hop an operator chose; "" is the one that the tables give
    warned    the sender was told that it is late
    """

    envelope: Envelope
    octets: int
    state: State
    due: int
    targets: tuple[Target, ...]
    done: tuple[int, ...] = ()
    marks: tuple[tuple[int, str], ...] = ()
    via: str = ""
    warned: bool = False


_entries: Final = msgspec.msgpack.Decoder(Queued)

encode_queued: Final = _encoder.encode


def decode_queued(data: bytes) -> Queued:
    """Raises `Damaged` on other bytes."""
    try:
        return _entries.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Damaged(f"queue entry: {error}") from error


LONGEST_DESTINATION: Final = 255  # octets; RFC 1035 section 2.3.4


def destination_of(address: str) -> str:
    """The domain whose mail waits together: in lower case, "" for none."""
    _, at, domain = address.rpartition("@")
    if not at:
        return ""
    name = domain.lower().replace("\0", "")
    if len(name) * 4 > LONGEST_DESTINATION:
        octets = name.encode()[:LONGEST_DESTINATION]
        return octets.decode(errors="ignore")
    return name


_DIGITS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES: Final = {c: i for i, c in enumerate(_DIGITS)}


def parse_queue_id(text: str) -> int:
    """The number of a queue id, any case; `ValueError` when it is not one."""
    try:
        number = 0
        for c in text.upper():
            number = number << 5 | _VALUES[c]
    except KeyError:
        raise ValueError(f"{text!r} is not a queue id") from None
    if len(text) != 13 or number >> 64:
        raise ValueError(f"{text!r} is not a queue id: 13 letters and digits")
    return number
