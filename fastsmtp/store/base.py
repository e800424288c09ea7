"""The store contract: one page of promises that every backend keeps.

An ordered key-value store in partitions (an account, or a shard of the queue), plus
blobs (message bodies) that entries refer to by id, never by place.

    durable   survives a crash; the moment responsibility passes
    visible   a reader or the scheduler sees it; happens soon after

- `append` resolves when the record is durable. It becomes visible when the keeper has
  applied it; `applied(id)` waits for that.
- `commit` is atomic in one partition, durable and visible when it returns. All checks
  hold at that instant or nothing is written (`Conflict`).
- A blob exists as long as something refers to it. `refs` in a commit count up and down;
  a blob that nothing refers to stays readable for the pin time, so that "append the
  body, then commit the reference" cannot race its deletion. A commit that names a blob
  that is not visible raises `KeyError`, one that would count below zero `Misused`;
  both write nothing.
- Keys are bytes and sort as bytes. `scan` is [lo, hi) and always limited.
- Nothing of a backend crosses: no transaction, cursor or view outlives the call.
- Every method raises `StoreUnavailable` when the store itself is in trouble.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple, Protocol

from fastsmtp.errors import Excuse

Done = Callable[[Exception | None], None]
"""Called once, on the event loop: None is durable, an error is "never will be"."""


class Promise(Protocol):
    """What somebody waits on: an `asyncio.Future`."""

    def done(self) -> bool: ...

    def set_result(self, result: None, /) -> None: ...

    def set_exception(self, exception: BaseException, /) -> None: ...


def keeping(promise: Promise) -> Done:
    """The `Done` that keeps a promise; who waited may have left meanwhile."""

    def done(error: Exception | None) -> None:
        if promise.done():
            return
        if error is None:
            promise.set_result(None)
        else:
            promise.set_exception(error)

    return done


Read = Callable[[int, bytes], bytes | None]
"""(partition, key) -> value, as the transaction of `Apply` sees it."""


class Kind(IntEnum):
    """What a record of the message log is."""

    MAIL = 1  # a message that was accepted; the envelope says for whom
    BLOB = 2  # a body alone; a commit will refer to it
    MOVED = 3  # a body the compactor copied; carries the old id


class Record(NamedTuple):
    """A durable record, as `Apply` is given it. `length` is the body's, in octets."""

    id: int
    kind: Kind
    envelope: bytes
    length: int


Put = tuple[int, bytes, bytes]
"""Partition, key, value: a plain tuple, for five are made for each message."""

Delete = tuple[int, bytes]
"""Partition, key."""

Adds = Mapping[bytes, tuple[int, int]]
"""Key -> what is added to the two numbers that stand there, of 8 octets each. A row
that is absent is (0, 0), and one whose first number comes to 0 goes. So many writers
count in one row and none gets in the way of another."""


@dataclass(slots=True)
class Writes:
    """What applying one record changes, all of it or nothing.

    refs: how many new references to the record's own blob the puts hold.
    adds: partition -> as in `Adds`
    """

    puts: list[Put] = field(default_factory=list)
    deletes: list[Delete] = field(default_factory=list)
    refs: int = 0
    adds: Mapping[int, Adds] = field(default_factory=dict)


def added(value: bytes | None, by: tuple[int, int]) -> bytes | None:
    """What a row of counters comes to, see `Adds`; None: it goes."""
    first, second = by
    if value is not None:
        first += int.from_bytes(value[:8], "big")
        second += int.from_bytes(value[8:], "big")
    if first <= 0:
        return None
    return first.to_bytes(8, "big") + max(second, 0).to_bytes(8, "big")


Apply = Callable[[Record, Read], Writes]
"""Pure: the same record and the same reads give the same writes.

Called for `Kind.MAIL` alone; the other kinds are the backend's own business. When it
has an attribute `committed`, that is called without arguments, on whatever thread, each
time after what it wrote has become visible."""


class Quick(Protocol):
    """A second way into an `Apply`, for a backend that joins many records in one
    transaction: an attribute `quick` of it. The records it takes come to the same as
    with `Apply`, but what many of them change is written once, by `end`.

    In a transaction: `begin`, any number of `take`, in order and mixed with calls of
    the `Apply` itself, `end`. One that is given up ends without `end`."""

    def begin(self, read: Read, put: Callable[[int, bytes, bytes], None]) -> None:
        """`read` sees the transaction, what was `put` included."""
        ...

    def take(self, id: int, envelope: bytes, length: int) -> int:
        """Apply this MAIL record; how many new references to its body that makes.
        0: it is not for this way; then all that was held back has been `put`."""
        ...

    def end(self) -> Writes:
        """All that is held back; of one key the last put counts. It names no
        references: `take` has told of them."""
        ...


class Check(NamedTuple):
    """The key must hold exactly this value; None: must be absent."""

    key: bytes
    value: bytes | None


NOTHING: Final[Mapping[int, int]] = {}
NO_ADDS: Final[Adds] = {}


class Blob(Protocol):
    """An open body; stays readable until closed, whatever is compacted meanwhile."""

    length: int

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` octets from `offset`; fewer only at the end. `Damaged` if the
        place no longer holds this blob."""
        ...

    def verify(self) -> None:
        """Read it all and compare the checksum; `Damaged` when it differs."""
        ...

    def close(self) -> None: ...


class Written(Protocol):
    """What a spool has taken, head included; stays readable until nobody has it."""

    length: int

    def read(self, offset: int, size: int) -> bytes:
        """As `Blob.read`, from any thread; `StoreUnavailable` when octets are lost."""
        ...


class Spool(Protocol):
    """A body too large for memory, on its way to disk while it arrives."""

    def write(self, data: bytes | memoryview) -> None:
        """Take the next octets. The buffer may be reused when this returns."""
        ...

    def backlog(self) -> int:
        """Octets taken but not yet written; above a limit the driver stops reading."""
        ...

    async def reread(self) -> Written:
        """All that was taken so far, to be read again before it is finished."""
        ...

    def finish(self, kind: Kind, envelope: bytes, done: Done) -> None: ...

    def abort(self) -> None: ...


Fits = Callable[[bytes], bool]
"""Whether a value is meant."""


class Store(Protocol):
    """One open store in one process. Methods that are not async never block."""

    def next_id(self) -> int:
        """A new id: epoch and counter, unique over processes, restarts, clock jumps."""
        ...

    def submit(
        self,
        id: int,
        kind: Kind,
        envelope: bytes,
        head: bytes,
        body: bytes | bytearray | memoryview,
        done: Done,
    ) -> None:
        """Append a record whose body is head + body; both are copied before it returns.

        The hot path of incoming mail: `done` is called when it is durable. Raises
        `StoreUnavailable` at once when it cannot be taken."""
        ...

    def spool(self, id: int, head: bytes) -> Spool:
        """Begin a record whose body streams in."""
        ...

    async def append(
        self, kind: Kind, envelope: bytes, body: bytes | memoryview
    ) -> int:
        """`submit` for callers that can wait: returns the id once durable."""
        ...

    def follow(self, apply: Apply) -> Awaitable[None]:
        """Run by the keeper: apply every durable record once, in order per log.

        Each record's writes are applied atomically with the position reached. A record
        whose `apply` raises is set aside (kept, counted, reported), never dropped and
        never a stop. Runs until cancelled."""
        ...

    async def applied(self, id: int) -> None:
        """Resolves when the record of this id, appended by this process, is visible.

        `Damaged` when its `apply` raised, so that it was set aside."""
        ...

    async def commit(
        self,
        part: int,
        *,
        checks: Sequence[Check] = (),
        puts: Sequence[tuple[bytes, bytes]] = (),
        deletes: Sequence[bytes] = (),
        refs: Mapping[int, int] = NOTHING,
        adds: Adds = NO_ADDS,
    ) -> int:
        """Returns the partition's new version, above every one returned before.

        Deletes are done before puts; deleting what is absent does nothing. A backend
        that writes commits and records in one transaction takes the commits first:
        else an account that always receives would fail every check of its head."""
        ...

    async def get(self, part: int, key: bytes) -> bytes | None: ...

    async def get_each(self, part: int, keys: Sequence[bytes]) -> list[bytes | None]:
        """`get` of each of these, as of one moment."""
        ...

    def peek(self, part: int, key: bytes) -> bytes | None:
        """`get` for hot paths that cannot suspend; local backends only."""
        ...

    async def scan(
        self, part: int, lo: bytes, hi: bytes, limit: int, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]: ...

    async def sift(
        self, part: int, lo: bytes, hi: bytes, limit: int, fits: Fits
    ) -> tuple[list[tuple[bytes, bytes]], bytes | None]:
        """Look at up to `limit` rows of [lo, hi): those whose value fits, and the key
        to go on with; None when there are no more.

        For looking through very many rows: what does not fit costs next to nothing.
        `fits` has no effects, for it may be asked about values outside of the range."""
        ...

    async def blob_open(self, id: int) -> Blob:
        """Raises `KeyError` when no blob has this id."""
        ...

    def open_now(self, ids: Sequence[int]) -> list[Blob | None]:
        """`blob_open` of each for hot paths that cannot suspend; local backends only.
        None: no blob has this id, or it is lost."""
        ...

    def watch(self, part: int, changed: Callable[[], None]) -> Callable[[], None]:
        """`changed()` is called on the loop after commits to `part`, at least after
        the last; a hint only. Returns the function that ends the watch."""
        ...

    def healthy(self) -> Excuse | None:
        """None, or why the door should answer 4xx. No IO, no allocation."""
        ...

    async def close(self) -> None: ...
