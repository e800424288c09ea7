"""The schema: every partition, key prefix and key codec, in one place.

Numbers are big-endian, so byte order is number order in every engine. Values are
msgpack arrays whose codec stands beside their class (`queue.message`,
`mailbox.values`, `auth.accounts`).

partition 0, the directory
    a <address>              account by address, domain and local-part lower-cased
    n <name>                 counters: next account id, UIDVALIDITY
    r <account>              an account whose removal has begun and must be finished
    v                        bumped by every change of accounts
partitions 1 … 255, shards of the queue
    m <id>                   a queued message: envelope and state per recipient
    d <due> <id>             due index; value: what the counters below need of it
    l <holder> <id>          lease: a process works on it; value: its due time, then
                             the value of the due entry it stands for
    c <state> <minute>       messages and octets that arrived in that minute, by the
                             state they rest in (a lease does not change that)
partitions from 256, one per account
    h                        head: highest modseq, next email id, quota used
    b <mailbox>              mailbox: name, role, UIDVALIDITY, UIDNEXT, counts
    u <mailbox> <uid>        UID -> email id
    e <email>                email: blob, size, date, flags, modseq, where it is filed
    c <modseq>               what that change was (CONDSTORE, QRESYNC, JMAP /changes);
                             none for a new email, which `e` tells
    k <queue id>:<recipient> this delivery was done (absorbs a second one)
"""

from typing import Final

DIRECTORY: Final = 0
QUEUE: Final = 1
FIRST_ACCOUNT: Final = 256


def u32(n: int) -> bytes:
    return n.to_bytes(4, "big")


def u64(n: int) -> bytes:
    return n.to_bytes(8, "big")


def account(address: str) -> bytes:
    return b"a" + address.lower().encode()


def counter(name: str) -> bytes:
    return b"n" + name.encode()


DIRECTORY_VERSION: Final = b"v"


def removal(account: int) -> bytes:
    return b"r" + u64(account)


def queued(id: int) -> bytes:
    return b"m" + u64(id)


def due(at: int, id: int) -> bytes:
    """`at` is milliseconds of the wall clock."""
    return b"d" + u64(at) + u64(id)


def parse_due(key: bytes) -> tuple[int, int]:
    """When, and which message."""
    return int.from_bytes(key[1:9], "big"), int.from_bytes(key[9:17], "big")


def leases(holder: int) -> bytes:
    """The prefix of all that one process works on."""
    return b"l" + u64(holder)


def lease(holder: int, id: int) -> bytes:
    return b"l" + u64(holder) + u64(id)


def arrivals(state: bytes, minute: int) -> bytes:
    """`minute` counts from the epoch of the wall clock."""
    return b"c" + state + u32(minute)


HEAD: Final = b"h"


def mailbox(id: int) -> bytes:
    return b"b" + u32(id)


def mailbox_uids(mailbox: int) -> bytes:
    """The prefix of all UIDs of a mailbox."""
    return b"u" + u32(mailbox)


def uid(mailbox: int, uid: int) -> bytes:
    return b"u" + u32(mailbox) + u32(uid)


def email(id: int) -> bytes:
    return b"e" + u64(id)


def change(modseq: int) -> bytes:
    return b"c" + u64(modseq)


def delivered(id: int, recipient: str) -> bytes:
    return b"k" + u64(id) + b":" + recipient.encode()


def after(prefix: bytes) -> bytes:
    """The first key behind all keys that begin with `prefix`, for `scan`.

    A prefix of nothing but 0xFF has none; ours begin with a letter."""
    head = prefix.rstrip(b"\xff")
    return head[:-1] + bytes((head[-1] + 1,))
