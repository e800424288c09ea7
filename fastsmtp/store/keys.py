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
    d <destination> 0 <rank> <due> <id>
                             one for each domain that recipients still wait at; value:
                             what the counters below need of the message
    c <state> <minute>       messages and octets that arrived in that minute, by the
                             state they rest in
    g <destination>          messages and octets that wait at that domain
    s <destination>          suspended: nothing is tried there
    v                        how the rows above are laid out, see `queue.layout`
partitions from 256, one per account
    h                        head: highest modseq, next email id, quota used
    b <mailbox>              mailbox: name, role, UIDVALIDITY, UIDNEXT, counts
    u <mailbox> <uid>        UID -> email id
    f <mailbox> <uid>        when it was fetched, where mail does not stay for ever
    e <email>                email: blob, size, date, flags, modseq, where it is filed
    c <modseq>               what that change was (CONDSTORE, QRESYNC, JMAP /changes);
                             none for a new email, which `e` tells
    k <queue id>:<recipient> this delivery was done (absorbs a second one)
"""

from typing import Final, NamedTuple

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


def waiting(destination: str, rank: int = 0) -> bytes:
    """The prefix of all that waits at a destination, or the first key of a rank."""
    head = b"d" + destination.encode() + b"\0"
    return head + bytes((rank,)) if rank else head


HELD: Final = 255
"""The rank of what is on hold: behind all that can be due."""


def due(destination: str, rank: int, at: int, id: int) -> bytes:
    """rank   0 goes first, `HELD` not at all
    at     milliseconds of the wall clock"""
    return b"d%b\0%c%b%b" % (destination.encode(), rank, u64(at), u64(id))


class DueRow(NamedTuple):
    destination: str
    rank: int
    at: int
    id: int


def parse_due(key: bytes) -> DueRow:
    at, id = key[-16:-8], key[-8:]
    return DueRow(
        key[1:-18].decode(),
        key[-17],
        int.from_bytes(at, "big"),
        int.from_bytes(id, "big"),
    )


def destination(name: str) -> bytes:
    return b"g" + name.encode()


def suspended(destination: str) -> bytes:
    return b"s" + destination.encode()


QUEUE_LAYOUT: Final = b"v"


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


def fetched(mailbox: int, uid: int) -> bytes:
    return b"f" + u32(mailbox) + u32(uid)


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
