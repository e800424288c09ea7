"""A commit that another process asks the keeper for, as octets on the link.

    reader -> keeper   a `work.Change`, encoded
    keeper -> reader   a status, and the new version or a text

The keeper trusts nothing of it: it is decoded into typed values, and it may change
accounts alone. Of the directory it may move one counter on, the one that gives a new
mailbox its UIDVALIDITY; queue and accounts' names are out of its reach.
"""

from enum import IntEnum
from typing import Final

import msgspec

from fastsmtp.errors import Conflict, Misused, StoreUnavailable
from fastsmtp.store import keys
from fastsmtp.store.base import NO_ADDS, Check
from fastsmtp.store.lmdb.index import LONGEST_KEY
from fastsmtp.store.lmdb.work import Change

LARGEST: Final = 64 << 20  # octets of one; 100,000 deleted messages take 10 MiB
COUNTER: Final = keys.counter("uidvalidity")


class Status(IntEnum):
    DONE = 0
    CONFLICT = 1
    NO_BLOB = 2
    MISUSED = 3
    UNAVAILABLE = 4


class Wire(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    part: int
    checks: list[tuple[bytes, bytes | None]]
    puts: list[tuple[bytes, bytes]]
    deletes: list[bytes]
    refs: dict[int, int]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Wire)


def encode(change: Change) -> bytes:
    """Raises `Misused` when it is larger than the keeper takes, or counts: no reader
    has rows of counters."""
    if change.adds:
        raise Misused("a reader counts nothing")
    wire = Wire(
        change.part,
        [(check.key, check.value) for check in change.checks],
        list(change.puts),
        list(change.deletes),
        dict(change.refs),
    )
    data = _encoder.encode(wire)
    if len(data) > LARGEST:
        raise Misused(f"a commit of {len(data)} octets; at most {LARGEST}")
    return data


def decode(data: bytes) -> Change:
    """Raises `Misused` when it is not one, or wants what a reader may not do."""
    try:
        wire = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Misused(f"not a commit: {error}") from error
    checks = [Check(*check) for check in wire.checks]
    for key in (*(c.key for c in checks), *wire.deletes, *(k for k, _ in wire.puts)):
        if not 0 < len(key) <= LONGEST_KEY:
            raise Misused(f"a key has 1 to {LONGEST_KEY} octets")
    if not all(0 <= id < 1 << 64 and abs(by) < 1 << 31 for id, by in wire.refs.items()):
        raise Misused("a reference that no body can have")
    change = Change(wire.part, checks, wire.puts, wire.deletes, wire.refs, NO_ADDS)
    if not (_in_account(change) or _moves_counter(change)):
        raise Misused(f"partition {wire.part} is not for readers to change")
    return change


def _in_account(change: Change) -> bool:
    return keys.FIRST_ACCOUNT <= change.part < 1 << 64


def _moves_counter(change: Change) -> bool:
    """Whether it moves the counter on from what it checks, and does nothing else."""
    checks, puts = list(change.checks), list(change.puts)
    if change.part != keys.DIRECTORY or change.deletes or change.refs:
        return False
    if [c.key for c in checks] != [COUNTER] or [key for key, _ in puts] != [COUNTER]:
        return False
    return len(puts[0][1]) == 8 and puts[0][1] > (checks[0].value or b"")


def status_of(error: BaseException) -> tuple[Status, bytes]:
    """What the reader is told of a commit that failed."""
    text = str(error).encode()[:1000]
    if isinstance(error, Conflict):
        return Status.CONFLICT, text
    if isinstance(error, KeyError):
        return Status.NO_BLOB, b"%d" % error.args[0]
    if isinstance(error, Misused):
        return Status.MISUSED, text
    return Status.UNAVAILABLE, text


def error_of(status: int, text: bytes) -> Exception:
    """The reverse of `status_of`."""
    said = text.decode(errors="replace")
    if status == Status.CONFLICT:
        return Conflict(said)
    if status == Status.NO_BLOB:
        return KeyError(int(text))
    return Misused(said) if status == Status.MISUSED else StoreUnavailable(said)
