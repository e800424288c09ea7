"""The schema: every partition, key prefix and key codec, in one place.

Numbers are big-endian, so byte order is number order in every engine. Values are
msgpack arrays whose codec stands beside their class (`queue.message`,
`mailbox.values`, `auth.accounts`).

partition 0, the directory
    a <address>              account by address, domain and local-part lower-cased
    n <name>                 counters: next account id, UIDVALIDITY
    v                        bumped by every change of accounts
partitions 1 … 255, shards of the queue
    m <id>                   a queued message: envelope and state per recipient
    d <due> <id>             due index
    l <holder> <id>          lease: what a process is working on; value: its due time
    c <state> <minute>       messages and octets that arrived in that minute
partitions from 256, one per account
    h                        head: highest modseq, next email id, quota used
    b <mailbox>              mailbox: name, role, UIDVALIDITY, UIDNEXT, counts
    u <mailbox> <uid>        UID -> email id
    e <email>                email: blob, size, date, flags, modseq, where it is filed
    c <modseq>               what that change was (CONDSTORE, QRESYNC, JMAP /changes)
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


def queued(id: int) -> bytes:
    return b"m" + u64(id)


def due(at: int, id: int) -> bytes:
    """`at` is milliseconds of the wall clock."""
    return b"d" + u64(at) + u64(id)


def lease(holder: int, id: int) -> bytes:
    return b"l" + u64(holder) + u64(id)


def arrivals(state: bytes, minute: int) -> bytes:
    """`minute` counts from the epoch of the wall clock."""
    return b"c" + state + u32(minute)


HEAD: Final = b"h"


def mailbox(id: int) -> bytes:
    return b"b" + u32(id)


def uid(mailbox: int, uid: int) -> bytes:
    return b"u" + u32(mailbox) + u32(uid)


def email(id: int) -> bytes:
    return b"e" + u64(id)


def change(modseq: int) -> bytes:
    return b"c" + u64(modseq)


def delivered(id: int, recipient: str) -> bytes:
    return b"k" + u64(id) + b":" + recipient.encode()


def after(prefix: bytes) -> bytes:
    """The first key behind all keys that begin with `prefix`, for `scan`."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))
