"""The writer of the message log: group commit that never holds the interpreter lock."""

from types import TracebackType
from typing import Self

class LogWriter:
    """Appends records to new segments of one series; see `record` for the format.

    - `append` copies and returns a ticket, ascending from 1. A native thread writes all
      that was appended since its last flush, calls fdatasync once, and signals
      `fileno()`; the loop then calls `collect`. Nothing here waits for the disk but
      `__init__`, `sync` and `close`.
    - A process life opens new segments and never appends to an old one. The newest is
      held with flock(LOCK_EX) until `close` or death.
    - After a failed write or fdatasync the segment ends at its last durable offset, all
      tickets that waited fail, and what comes later goes to a new segment. If that
      cannot be opened `append` raises OSError at once; one in 100 ms tries again.
    - Used from one thread; not usable after fork.
    """

    series: int
    first: int  # number of the first segment of this life

    def __init__(
        self,
        directory: str,
        series: int,
        epoch: int,
        segment_size: int,
        least: int = 1,
        batch: int = 1,
    ) -> None:
        """Opens segment max(least, highest existing number of the series + 1).

        `least` keeps numbers of deleted segments from being given again: pass one
        more than the highest number that the index has ever seen for this series.
        `batch`: so many records (or 1 MiB) wake the flusher; fewer wait for `flush`,
        to be called when a turn of the loop ends, so that its sessions share one.
        OSError when the directory cannot be used; trouble that may pass (a full disk)
        is met again by the first append."""

    def append(
        self,
        id: int,
        kind: int,
        envelope: bytes,
        head: bytes,
        body: bytes | bytearray | memoryview,
    ) -> int:
        """Take a record whose body is head + body; returns its ticket. OSError: see
        above, nothing was taken."""

    def flush(self) -> None:
        """Let what was appended be flushed now; needed only when `batch` is not 1."""

    def spool(self, id: int, head: bytes) -> Spool:
        """Begin a record whose body streams into a file of its own."""

    def fileno(self) -> int:
        """An eventfd that becomes readable when `collect` has something to tell."""

    def collect(
        self,
    ) -> tuple[int, list[tuple[int, int, int]], list[tuple[int, int]], tuple[int, int]]:
        """What was settled: (ticket, failed, spooled, position).

        ticket    this and all before are settled: durable, but for
        failed    stretches of tickets that never will be: (first, last, errno)
        spooled   ids of finished spools with 0, durable, or an errno, never will be
        position  what `position` says, at the moment in which the ticket was the last

        Each failure and each spool is told once. Never blocks."""

    def position(self) -> tuple[int, int]:
        """(number, offset): every record below it in this and in earlier segments is
        durable. Where an earlier segment ended stands in the header of the next."""

    def backlog(self) -> int:
        """Octets that were appended and are not settled; spools are not counted."""

    def error(self) -> int:
        """The errno that makes `append` fail at present, 0 when all is well."""

    def flushes(self) -> list[tuple[int, int, int]]:
        """The last flushes since the last call, at most 1024, oldest first:
        (microseconds of write and fdatasync, records, octets)."""

    def count_flushes(self, cells: memoryview[int]) -> None:
        """Add the same to cells of `store.counts`: how long they took, how long the
        first record of each waited, how many there were. `ValueError`: too few."""

    def sync(self) -> int:
        """Wait, without the interpreter lock, until all that was appended or finished
        is settled; returns the last ticket. For tools and tests, not for a loop."""

    def close(self) -> None:
        """Flush everything, end the threads, give back what was prepared. Spools that
        were not finished are aborted. `collect` stays usable once more."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

class Spool:
    """A large body on its way to a file of its own, written by a native thread.

    The file is durable, with its name, before the record in the log that refers to it
    is written. After a failed write what follows is dropped and `finish` tells so
    through `LogWriter.collect`: a session refuses at the true end of a message."""

    number: int  # of the segment that holds the body

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Copy the next octets; never waits for the disk. See `backlog`."""

    def backlog(self) -> int:
        """Octets taken and not yet written; above a limit stop reading (1 MiB)."""

    def flush(self) -> None:
        """Let the last, unfilled piece be written too: see `backlog`."""

    def finish(self, kind: int, envelope: bytes) -> None:
        """The body is complete; `LogWriter.collect` tells when it is durable."""

    def abort(self) -> None:
        """Unlink the file; also what happens when the object goes unfinished."""
