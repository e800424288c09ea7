"""The index: one LMDB environment, its databases and the codecs of its own values.

    main      <partition, 8 octets> <key> -> value; what the domain keeps
    blob      <id> -> Place: where the body is and how many refer to it
    idle      <second> <id> -> "": bodies that nothing refers to, by since when
    aside     <id> -> a record that could not be applied: its envelope and why
    segment   <series> <number> -> Segment: what a file of the log still holds
    meta      format, epoch, and per series how far its log has been applied

Sync and metasync are on and writemap is off: a commit that returned has reached the
disk. The map is one large sparse range, set once and never resized.
"""

import contextlib
import errno
import fcntl
import importlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple, Self

import lmdb

from fastsmtp.errors import FormatTooNew, Misused, StoreUnavailable
from fastsmtp.store import keys
from fastsmtp.store.base import Adds, Fits, added
from fastsmtp.store.options import StoreOptions

# lmdb 3 imports this at its first open, when root may be another user already, who
# cannot read where we are installed.
with contextlib.suppress(ModuleNotFoundError):
    importlib.import_module("lmdb._envid")

FORMAT: Final = 1
READERS: Final = 1024  # slots; a process uses one per thread that reads
UNFINISHED: Final = "index.unfinished"  # in a backup that a crash cut short
LONGEST_KEY: Final = 511 - 8  # LMDB's limit less the partition

_FORMAT_KEY: Final = b"format"
_EPOCH_KEY: Final = b"epoch"

u32 = keys.u32
u64 = keys.u64


class Place(NamedTuple):
    """Where the body of a blob is.

    crc    its CRC-32C
    refs   how many entries refer to it
    since  second of the wall clock since when nothing does; 0: something does
    big    1: the segment is a file that holds this body alone
    """

    series: int
    segment: int
    offset: int
    length: int
    crc: int
    refs: int
    since: int = 0
    big: int = 0


_PLACE: Final = Struct("<IIQQIiIB")
pack_place = _PLACE.pack
_COUNTS: Final = Struct("<iI")
_COUNTS_AT: Final = Struct("<IIQQI").size
_COUNTS_END: Final = _COUNTS_AT + _COUNTS.size


def place_of(value: bytes) -> Place:
    return Place(*_PLACE.unpack(value))


def counted_in(value: bytes) -> tuple[int, int]:
    """`refs` and `since` of a packed place: what changes when a mailbox does."""
    refs, since = _COUNTS.unpack_from(value, _COUNTS_AT)
    return refs, since


def with_counts(value: bytes, refs: int, since: int) -> bytes:
    """The same place with these."""
    head, tail = value[:_COUNTS_AT], value[_COUNTS_END:]
    return head + _COUNTS.pack(refs, since) + tail


class Segment(NamedTuple):
    """What the index knows of a segment file.

    end      octets that were applied; at last its durable end
    live     octets of the bodies in it that have an entry
    entries  how many those are
    sealed   1: it was applied to its end
    big      1: it is a file that holds one body
    """

    end: int = 0
    live: int = 0
    entries: int = 0
    sealed: int = 0
    big: int = 0


_SEGMENT: Final = Struct("<QqqBB")


def pack_segment(segment: Segment) -> bytes:
    return _SEGMENT.pack(*segment)


def segment_of(value: bytes) -> Segment:
    return Segment(*_SEGMENT.unpack(value))


def segment_key(series: int, number: int) -> bytes:
    return u32(series) + u32(number)


class Position(NamedTuple):
    """A place in a series: everything before it is meant.

    highest   the highest number of a file that was seen, of large bodies too
    """

    segment: int = 0
    offset: int = 0
    highest: int = 0


_POSITION: Final = Struct("<IQI")


def applied_key(series: int) -> bytes:
    return b"applied" + u32(series)


class Pages(NamedTuple):
    """Octets of the map and of what is used of it; pages that can be used again."""

    map_size: int
    used: int
    free: int


class Readers(NamedTuple):
    """slots   in use at this moment: transactions take microseconds, so mostly few
    most    that were in use at one time since the first process opened the index
    behind  how many transactions ago the oldest began that is still open"""

    slots: int
    most: int
    behind: int


_META_PAGES: Final = 2


class Lock:
    """The claim on a data directory; ends with `close` or with the process."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def lock(data: Path) -> Lock:
    """Claim the data directory for one supervisor, or one command that writes.

    Raises `StoreUnavailable` when another process has it."""
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise StoreUnavailable(f"{data} is in use by a running fastsmtp") from None
    return Lock(fd)


class _Shared:
    """An environment and how many opened it: LMDB forbids opening it twice."""

    def __init__(self, env: lmdb.Environment, readonly: bool) -> None:
        self.env = env
        self.readonly = readonly
        self.users = 0


_environments: dict[str, _Shared] = {}


def _environment(path: Path, options: StoreOptions, readonly: bool) -> _Shared:
    name = os.path.realpath(path)
    shared = _environments.get(name)
    if shared is not None:
        if shared.readonly and not readonly:
            raise Misused(f"{path} is open for reading in this process")
        return shared
    env = lmdb.open(
        name,
        map_size=options.map_size,
        readonly=readonly,
        max_dbs=8,
        max_readers=READERS,
        mode=0o600,
        create=not readonly,
        lib_version=0,
    )
    shared = _environments[name] = _Shared(env, readonly)
    return shared


class Index:
    """An open index. Reading never blocks; writing takes LMDB's lock, see `writer`."""

    def __init__(self, data: Path, options: StoreOptions, *, readonly: bool) -> None:
        self.path = data / "index"
        self.readonly = readonly
        if os.path.exists(data / UNFINISHED):  # False, too, where we may not look
            raise StoreUnavailable(f"{data} is a backup that was not finished")
        if readonly and not (self.path / "data.mdb").exists():
            raise StoreUnavailable(f"{self.path} does not exist")
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            self._shared = _environment(self.path, options, readonly)
        except lmdb.Error as error:
            raise StoreUnavailable(f"{self.path}: {error}") from error
        self._shared.users += 1
        self._closed = False
        self.env = env = self._shared.env
        try:
            self.meta = env.open_db(b"meta", create=not readonly)
            self._check_format()
            self.main = env.open_db(b"main", create=not readonly)
            self.blob = env.open_db(b"blob", create=not readonly)
            self.idle = env.open_db(b"idle", create=not readonly)
            self.aside = env.open_db(b"aside", create=not readonly)
            self.segment = env.open_db(b"segment", create=not readonly)
        except lmdb.Error as error:
            self.close()
            raise fault(error) from error
        except BaseException:
            self.close()
            raise
        env.reader_check()

    def _check_format(self) -> None:
        with self.env.begin(db=self.meta) as txn:
            value = txn.get(_FORMAT_KEY)
        if value is None:
            with self.env.begin(db=self.meta, write=True) as txn:
                txn.put(_FORMAT_KEY, u32(FORMAT))
            return
        found = int.from_bytes(value, "big")
        if found > FORMAT:
            raise FormatTooNew(
                f"{self.path} has format {found}; this fastsmtp knows up to {FORMAT}:"
                " run the newer version that wrote it, or restore a backup"
            )
        for version in range(found, FORMAT):
            UPGRADES[version](self)

    def close(self) -> None:
        """Idempotent; the environment closes with its last user."""
        if self._closed:
            return
        self._closed = True
        shared = self._shared
        shared.users -= 1
        if shared.users == 0:
            _environments.pop(os.path.realpath(self.path), None)
            shared.env.close()

    # reading

    def get(self, part: int, key: bytes) -> bytes | None:
        with self.env.begin(db=self.main) as txn:
            value: bytes | None = txn.get(u64(part) + key)
            return value

    def scan(
        self, part: int, lo: bytes, hi: bytes, limit: int, reverse: bool
    ) -> list[tuple[bytes, bytes]]:
        with self.env.begin(db=self.main) as txn:
            return scan_in(txn, part, lo, hi, limit, reverse=reverse)

    def sift(
        self, part: int, lo: bytes, hi: bytes, limit: int, fits: Fits
    ) -> tuple[list[tuple[bytes, bytes]], bytes | None]:
        """See `base.Store`. A key is made of what fits alone, which halves the time a
        row takes; so values of up to `limit` rows behind `hi` are looked at, too."""
        prefix = u64(part)
        high = prefix + hi
        found: list[tuple[bytes, bytes]] = []
        with self.env.begin(db=self.main) as txn, txn.cursor() as cursor:
            if limit <= 0 or not cursor.set_range(prefix + lo):
                return found, None
            values = islice(cursor.iternext(keys=False), limit)
            for value in filter(fits, values):
                key = cursor.key()
                if key >= high:
                    return found, None
                found.append((key[8:], value))
            last = cursor.key()  # empty when there are no more rows at all
        return found, last[8:] + b"\0" if b"" < last < high else None

    def get_each(self, part: int, keys: Sequence[bytes]) -> list[bytes | None]:
        prefix = u64(part)
        full = [prefix + key for key in keys]
        with self.env.begin(db=self.main) as txn, txn.cursor() as cursor:
            found: dict[bytes, bytes] = dict(cursor.getmulti(full))
        return [found.get(key) for key in full]

    def places_of(self, ids: Sequence[int]) -> dict[int, Place]:
        """Where these blobs are; those that are not are left out."""
        with self.env.begin(db=self.blob) as txn, txn.cursor() as cursor:
            found = cursor.getmulti([u64(id) for id in ids])
        return {int.from_bytes(key, "big"): place_of(value) for key, value in found}

    def place(self, id: int) -> Place | None:
        with self.env.begin(db=self.blob) as txn:
            value = txn.get(u64(id))
        return None if value is None else place_of(value)

    def places(self, first: int = 0) -> Iterator[tuple[int, Place]]:
        """Every blob from `first` up, in one snapshot: for offline tools."""
        with self.env.begin(db=self.blob) as txn, txn.cursor() as cursor:
            if cursor.set_range(u64(first)):
                for key, value in cursor.iternext():
                    yield int.from_bytes(key, "big"), place_of(value)

    def segments(self) -> dict[tuple[int, int], Segment]:
        with self.env.begin(db=self.segment) as txn, txn.cursor() as cursor:
            return {
                (int.from_bytes(k[:4], "big"), int.from_bytes(k[4:], "big")): (
                    segment_of(v)
                )
                for k, v in cursor
            }

    def applied(self, series: int) -> Position:
        with self.env.begin(db=self.meta) as txn:
            return applied_in(txn, self, series)

    def series(self) -> list[int]:
        """Every series whose log was ever applied."""
        prefix = applied_key(0)[:-4]
        with self.env.begin(db=self.meta) as txn, txn.cursor() as cursor:
            cursor.set_range(prefix)
            return [
                int.from_bytes(key[len(prefix) :], "big")
                for key in cursor.iternext(values=False)
                if key.startswith(prefix)
            ]

    def is_aside(self, id: int) -> bool:
        """Was this record set aside because it could not be applied?"""
        with self.env.begin(db=self.aside) as txn:
            return txn.get(u64(id)) is not None

    def pages(self) -> Pages:
        """How full the map is."""
        info, size = self.env.info(), self.env.stat()["psize"]
        used = self.env.stat()
        count = used["branch_pages"] + used["leaf_pages"] + used["overflow_pages"]
        with self.env.begin() as txn:
            for db in (self.main, self.blob, self.idle, self.aside, self.segment):
                of = txn.stat(db)
                count += of["branch_pages"] + of["leaf_pages"] + of["overflow_pages"]
        free = max(0, info["last_pgno"] + 1 - _META_PAGES - count)
        return Pages(info["map_size"], count * size, free)

    def readers(self) -> Readers:
        """Who reads it, in all processes."""
        rows = [line.split() for line in self.env.readers().splitlines()[1:]]
        seen = [int(row[2]) for row in rows if len(row) == 3 and row[2].isdigit()]
        info = self.env.info()
        last = info["last_txnid"]
        return Readers(len(rows), info["num_readers"], last - min(seen, default=last))

    def epoch(self) -> int:
        with self.env.begin(db=self.meta) as txn:
            return int.from_bytes(txn.get(_EPOCH_KEY, b""), "big")


def applied_in(txn: lmdb.Transaction, index: Index, series: int) -> Position:
    value = txn.get(applied_key(series), db=index.meta)
    return Position() if value is None else Position(*_POSITION.unpack(value))


def put_applied(txn: lmdb.Transaction, index: Index, series: int, at: Position) -> None:
    txn.put(applied_key(series), _POSITION.pack(*at), db=index.meta)


def scan_in(
    txn: lmdb.Transaction,
    part: int,
    lo: bytes,
    hi: bytes,
    limit: int,
    *,
    reverse: bool = False,
) -> list[tuple[bytes, bytes]]:
    """[lo, hi) of a partition, at most `limit`; `txn` has `main` as its database."""
    prefix = u64(part)
    low, high = prefix + lo, prefix + hi
    found: list[tuple[bytes, bytes]] = []
    with txn.cursor() as cursor:
        if reverse:
            there = cursor.prev() if cursor.set_range(high) else cursor.last()
            items = cursor.iterprev()
        else:
            there = cursor.set_range(low)
            items = cursor.iternext()
        if not there or limit <= 0:
            return found
        for key, value in items:
            if not low <= key < high:
                break
            found.append((key[8:], value))
            if len(found) == limit:
                break
    return found


_one_at_a_time: Final = threading.Lock()
"""Opening a database waits for LMDB's writer without giving up the GIL, and the writer
wants the GIL to end: two threads of a supervisor must not commit epochs together."""


def next_epoch(data: Path, options: StoreOptions) -> int:
    """Commit the next epoch to the index (made when absent) and return it.

    The supervisor calls it once for every process life it starts."""
    with _one_at_a_time:
        return _next_epoch(data, options)


def _next_epoch(data: Path, options: StoreOptions) -> int:
    index = Index(data, options, readonly=False)
    try:
        with index.env.begin(db=index.meta, write=True) as txn:
            epoch = int.from_bytes(txn.get(_EPOCH_KEY, b""), "big") + 1
            txn.put(_EPOCH_KEY, u64(epoch))
        return epoch
    except lmdb.Error as error:
        raise fault(error) from error
    finally:
        index.close()


def fault(error: Exception) -> StoreUnavailable:
    """What an error of LMDB means to the caller; `cause` keeps the original."""
    if isinstance(error, lmdb.MapFullError):
        return StoreUnavailable("the index is full: raise store.map_size")
    if is_disk_full(error):
        return StoreUnavailable("the disk is full")
    return StoreUnavailable(f"the index failed: {error}")


def is_disk_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return os.strerror(errno.ENOSPC) in str(error)


def is_fatal(error: Exception) -> bool:
    """A sync failed, or LMDB is not sure of its file any more: what was written may
    be lost although a later sync succeeds, so this process must not go on."""
    if isinstance(error, lmdb.PanicError | lmdb.CorruptedError):
        return True
    return isinstance(error, lmdb.Error) and os.strerror(errno.EIO) in str(error)


_SHORT: Final = 64 << 20  # octets free; with less a write may have found no room


def meaning(error: Exception, path: Path) -> Exception:
    """`error`, or ENOSPC where that is what it means.

    LMDB calls a short write EIO, and that is how a disk ends that has no room left. If
    it was a failed sync instead, trying again is right all the same: nothing of the
    transaction counts, and the next one writes its pages anew."""
    eio = isinstance(error, lmdb.Error) and os.strerror(errno.EIO) in str(error)
    if not eio or isinstance(error, lmdb.PanicError | lmdb.CorruptedError):
        return error
    disk = os.statvfs(path)
    if disk.f_bavail * disk.f_frsize > _SHORT:
        return error
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def count(txn: lmdb.Transaction, prefix: bytes, adds: Adds) -> None:
    """Do what `Adds` says to the partition of this prefix."""
    for key, by in adds.items():
        value = added(txn.get(prefix + key), by)
        if value is None:
            txn.delete(prefix + key)
        else:
            txn.put(prefix + key, value)


UPGRADES: Final[dict[int, Callable[[Index], None]]] = {}
"""From format n to n + 1: a function of the index that commits both at once."""
