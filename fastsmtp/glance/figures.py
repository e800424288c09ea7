"""The numbers of one moment, and what two moments say of the time between them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import Final, NamedTuple

from fastsmtp.blocks import PULSE, QUEUE, SMTP, STORE
from fastsmtp.cells import Histogram
from fastsmtp.live import AGES, STATES_OF_QUEUE
from fastsmtp.metrics import ACCEPTED, CLIENTS, LARGEST, MICROSECONDS
from fastsmtp.pages import Page, Pages
from fastsmtp.pulse import CPU
from fastsmtp.queue import counts as queue
from fastsmtp.scrape import Depth
from fastsmtp.smtp import counts as smtp
from fastsmtp.store import counts as store

RESULTS: Final = {
    result: tuple(block.first + smtp.MESSAGES.place(result) for block in SMTP.values())
    for result in smtp.RESULTS
}
EVENTS: Final = {
    event: QUEUE.first + queue.EVENT.place(event) for event in queue.EVENTS
}


def _refusals() -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for stage, reason, code in product(smtp.STAGES, smtp.REASONS, ("4", "5")):
        place = smtp.REJECTS.place(stage, reason, code)
        blocks = [block.first for block in SMTP.values()]
        found[f"{reason} {stage} {code}xx"] = [first + place for first in blocks]
    return found


REFUSALS: Final = _refusals()
"""Why, where and how hard -> cells."""


class Worker(NamedTuple):
    """One process. cpu: seconds since it started; trouble: why it takes no mail."""

    role: str
    slot: int
    pid: int
    state: str
    started: float
    cpu: float
    clients: int
    accepted: int
    trouble: str


class Figures(NamedTuple):
    """
    at            seconds, wall clock
    states, octets, ages  of the queue; `incoming` has no age
    oldest        arrival of the oldest message that waits; 0: there is none
    results       messages by how they were answered, so far
    events        of the queue, so far
    refusals      so far, those that happened
    accept, flush buckets of the two latencies, so far
    destinations  where most messages wait, and "other"
    store         what the index and the log say, by name
    """

    at: float
    states: dict[str, int]
    octets: dict[str, int]
    ages: dict[str, int]
    oldest: int
    results: dict[str, int]
    events: dict[str, int]
    refusals: dict[str, int]
    accept: list[int]
    flush: list[int]
    destinations: list[tuple[str, int]]
    store: dict[str, int]
    workers: list[Worker]

    @property
    def waiting(self) -> int:
        return sum(self.states.values())


def figures(
    pages: Pages,
    depth: Callable[[], Mapping[str, Depth] | None],
    fullest: Callable[[], Iterable[tuple[str, int]]] = tuple,
) -> Figures:
    """Now; `depth` and `fullest` as in `Scrape`."""
    cells = pages.sums(LARGEST)
    depths = depth() or {}
    first = STORE.first
    incoming = cells[first + store.Count.UNAPPLIED_MESSAGES]
    unapplied = cells[first + store.Count.UNAPPLIED_OCTETS]
    waiting = [d for d in depths.values() if d.messages]
    refused = {why: sum(cells[p] for p in at) for why, at in REFUSALS.items()}
    return Figures(
        at=time.time(),
        states={s: depths[s].messages if s in depths else 0 for s in STATES_OF_QUEUE}
        | {"incoming": incoming},
        octets={s: depths[s].octets if s in depths else 0 for s in STATES_OF_QUEUE}
        | {"incoming": unapplied},
        ages={age: sum(d.ages[age] for d in depths.values()) for age in AGES},
        oldest=min((d.oldest for d in waiting if d.oldest), default=0),
        results={r: sum(cells[p] for p in at) for r, at in RESULTS.items()},
        events={event: cells[place] for event, place in EVENTS.items()},
        refusals={why: count for why, count in refused.items() if count},
        accept=_buckets(cells, [b.first for b in SMTP.values()], smtp.ACCEPT),
        flush=_buckets(cells, [first], store.LOG_SYNC),
        destinations=list(fullest()),
        store={
            "map_size": cells[first + store.Count.MAP_SIZE],
            "map_used": cells[first + store.Count.MAP_USED],
            "disk_free": cells[first + store.Count.DISK_FREE],
            "log_live": cells[first + store.Count.LIVE_OCTETS],
            "log_dead": cells[first + store.Count.DEAD_OCTETS],
            "segments": cells[first + store.Count.SEGMENTS],
        },
        workers=[_worker(pages, page) for page in pages.live()],
    )


def _buckets(
    cells: Sequence[int], blocks: Iterable[int], histogram: Histogram
) -> list[int]:
    """Not cumulative: one for each edge, and what is above the last."""
    size = len(histogram.edges) + 1
    starts = [block + histogram.first for block in blocks]
    return [sum(cells[at + n] for at in starts) for n in range(size)]


def _worker(pages: Pages, page: Page) -> Worker:
    cells = pages.read(page.slot)
    return Worker(
        role=page.role,
        slot=page.slot,
        pid=page.pid,
        state=page.state,
        started=page.started / 1000,
        cpu=round(cells[PULSE.first + CPU.place(page.role)] * MICROSECONDS, 6),
        clients=sum(cells[place] for place in CLIENTS),
        accepted=sum(cells[place] for place in ACCEPTED),
        trouble=page.excuse,
    )


def quantile(counts: Sequence[int], edges: Sequence[float], share: float) -> float:
    """Seconds below which this share of the observations lies; as Prometheus reckons
    it, even inside a bucket. 0 when there was none."""
    wanted = sum(counts) * share
    if not wanted:
        return 0.0
    seen, low = 0, 0.0
    for count, edge in zip(counts, edges, strict=False):
        if seen + count >= wanted:
            return low + (edge - low) * (wanted - seen) / count
        seen, low = seen + count, edge
    return low


class Between(NamedTuple):
    """Two moments compared: a second, and seconds. The latencies are 0 where nothing
    came."""

    accepted: float
    refused: float
    queued: float
    left: float
    accept_p50: float
    accept_p99: float
    flush_p99: float


def between(old: Figures, new: Figures) -> Between:
    seconds = max(new.at - old.at, 0.001)

    def rate(before: int, after: int) -> float:
        return max(0, after - before) / seconds

    def grown(before: Sequence[int], after: Sequence[int]) -> list[int]:
        return [max(0, b - a) for a, b in zip(before, after, strict=True)]

    accept = grown(old.accept, new.accept)
    flush = grown(old.flush, new.flush)
    return Between(
        accepted=rate(old.results["accepted"], new.results["accepted"]),
        refused=rate(sum(old.refusals.values()), sum(new.refusals.values())),
        queued=rate(old.events["enqueued"], new.events["enqueued"]),
        left=rate(old.events["removed"], new.events["removed"]),
        accept_p50=quantile(accept, smtp.ACCEPT.edges, 0.5),
        accept_p99=quantile(accept, smtp.ACCEPT.edges, 0.99),
        flush_p99=quantile(flush, store.LOG_SYNC.edges, 0.99),
    )


def refusing(old: Figures, new: Figures) -> list[tuple[str, float]]:
    """Reasons that grew, a second, the most frequent first."""
    seconds = max(new.at - old.at, 0.001)
    grown = {why: n - old.refusals.get(why, 0) for why, n in new.refusals.items()}
    found = [(why, count / seconds) for why, count in grown.items() if count > 0]
    return sorted(found, key=lambda each: -each[1])
