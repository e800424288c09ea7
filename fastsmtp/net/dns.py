"""Questions to the DNS without waiting for the loop, and what is remembered of them.

    resolver = Resolver(options, cells)
    await resolver.ask("MX", "example.org")     # ((10, "mx.example.org"), …)
    await resolver.close()

Laws
- An answer is remembered for its time to live, at most an hour; that there is none, for
  a minute; trouble, for a few seconds, so that a dead server is not asked for each
  client. The memory is bounded, and so is the number of questions under way.
- The same question asked twice at once goes out once.
- `ask` ends within `options.timeout`, whatever the servers do.
- An asker that is cancelled takes nothing from others who wait for the same answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

from fastsmtp.cells import fresh
from fastsmtp.errors import DnsTrouble, NoData, NoRecord, NoSuchName
from fastsmtp.net import counts
from fastsmtp.net.options import DnsOptions

LONGEST: Final = 3600.0  # seconds that an answer is believed, whatever its TTL
SHORTEST: Final = 1.0  # seconds, where the TTL is 0: askers come in bursts
WITHOUT: Final = 60.0  # seconds that "there is none" is believed (RFC 2308 5: less
# than any sensible SOA minimum; c-ares below keeps to the real one)
FAILED: Final = 5.0  # seconds (RFC 2308 7: at most five minutes)

Records = tuple[Any, ...]


class Channel(Protocol):
    """What really asks; see `net.ares`."""

    async def query(self, kind: str, name: str) -> tuple[Records, float]:
        """The records and the least of their times to live, in seconds.

        Raises `NoSuchName`, `NoData` or `DnsTrouble`."""
        ...

    async def close(self) -> None: ...


class Known(NamedTuple):
    """An answer, and until when it is believed."""

    until: float
    answer: Records | Exception


class Resolver:
    """`policy.resolver.Resolver`; see the head of the file.

    cells    of `net.counts`, from QUERIES on
    channel  c-ares when None
    clock    monotonic seconds
    """

    def __init__(
        self,
        options: DnsOptions,
        cells: memoryview[int] | None = None,
        channel: Channel | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._cells = fresh(counts.DNS_CELLS) if cells is None else cells
        self._made = channel
        self._clock = clock
        self._known: dict[tuple[str, str], Known] = {}
        self._asking: dict[tuple[str, str], asyncio.Task[Records]] = {}

    @property
    def _channel(self) -> Channel:
        if self._made is None:
            from fastsmtp.net.ares import Ares  # takes 60 ms, and few need it

            self._made = Ares(self._options)
        return self._made

    async def ask(self, kind: str, name: str) -> Records:
        """See `policy.resolver.Resolver.ask`."""
        question = (kind, name.lower().rstrip("."))
        known = self._recall(question)
        if known is not None:
            return _given(known)
        task = self._asking.get(question)
        if task is None:
            if len(self._asking) >= self._options.outstanding:
                self._count(kind, counts.TROUBLE, 0.0)
                raise DnsTrouble("too many questions are under way")
            task = asyncio.ensure_future(self._find(question))
            task.add_done_callback(_heard)
            self._asking[question] = task
        return await asyncio.shield(task)

    def known(self, kind: str, name: str) -> Records | Exception | None:
        """What `ask` would say without asking anybody; None: it would ask."""
        known = self._known.get((kind, name.lower().rstrip(".")))
        if known is None or known.until <= self._clock():
            return None
        return known.answer

    async def close(self) -> None:
        """Who still waits is cancelled."""
        for task in tuple(self._asking.values()):
            task.cancel()
        if self._made is not None:
            await self._made.close()

    def _recall(self, question: tuple[str, str]) -> Records | Exception | None:
        known = self._known.get(question)
        how = counts.MISS
        if known is not None:
            how = counts.HIT if known.until > self._clock() else counts.STALE
        self._cells[counts.CACHE.place(how)] += 1
        return known.answer if known is not None and how is counts.HIT else None

    async def _find(self, question: tuple[str, str]) -> Records:
        began = self._clock()
        kept = FAILED
        answer: Records | Exception
        try:
            async with asyncio.timeout(self._options.timeout):
                answer, ttl = await self._channel.query(*question)
            kept = min(max(ttl, SHORTEST), LONGEST)
            result = counts.FOUND
        except NoRecord as none:
            answer, kept = none, WITHOUT
            no_name = isinstance(none, NoSuchName)
            result = counts.NO_NAME if no_name else counts.NO_DATA
        except TimeoutError:
            answer, result = DnsTrouble("no answer in time"), counts.TROUBLE
        except DnsTrouble as trouble:
            answer, result = trouble, counts.TROUBLE
        finally:
            del self._asking[question]
        self._count(question[0], result, self._clock() - began)
        self._remember(question, Known(self._clock() + kept, answer))
        return _given(answer)

    def _count(self, kind: str, result: str, seconds: float) -> None:
        counts.query(kind, result).observe(self._cells, seconds)

    def _remember(self, question: tuple[str, str], known: Known) -> None:
        self._known.pop(question, None)  # what is new stands last
        if len(self._known) >= self._options.cache:
            self._make_room()
        self._known[question] = known

    def _make_room(self) -> None:
        """Forget what is too old; if that is little, the older half. Seldom: at least
        a quarter is free afterwards."""
        now = self._clock()
        good = {q: known for q, known in self._known.items() if known.until > now}
        if len(good) > self._options.cache * 3 // 4:
            newer = list(good.items())[len(good) // 2 :]
            good = dict(newer)
        self._known = good


def _heard(task: asyncio.Task[Records]) -> None:
    """Whoever asked may have gone: what it would have been told is nobody's fault."""
    if not task.cancelled():
        task.exception()


def _given(answer: Records | Exception) -> Records:
    """An exception is raised anew: one object would collect the traces of all."""
    if isinstance(answer, NoSuchName | NoData | DnsTrouble):
        raise type(answer)(*answer.args)
    assert isinstance(answer, tuple)
    return answer
