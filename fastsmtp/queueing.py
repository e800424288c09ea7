"""What the keeper builds to work off the queue; see `fastsmtp.roles`."""

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

from fastsmtp.config import Config
from fastsmtp.delivery.alarm import LoopAlarm
from fastsmtp.delivery.attempt import After, Attempt
from fastsmtp.delivery.bounce import Clerk, Notice
from fastsmtp.delivery.dispatch import Dispatcher
from fastsmtp.delivery.record import Cells, Recorder
from fastsmtp.delivery.route import Route
from fastsmtp.delivery.telling import Telling
from fastsmtp.delivery.worker import LocalAttempts
from fastsmtp.policy.relaying import LOCAL, NextHop, Relaying
from fastsmtp.queue import actives
from fastsmtp.queue.message import Queued, Standing, queue_id
from fastsmtp.queue.schedule import Schedule
from fastsmtp.report import Report
from fastsmtp.serve.operations_queue import Hands
from fastsmtp.smtp.letter import Answer
from fastsmtp.store.base import Store
from fastsmtp.trace.ring import Trace

WORDS: Final = {
    "hold": "held",
    "release": "released",
    "retry": "retried",
    "move": "moved",
    "bounce": "bounced",
    "delete": "removed",
}
"""What `fastsmtp why` says of an order."""

TOLD: Final = 1.0  # seconds between two looks at what is active


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Ways(Protocol):
    """Where mail goes, as the configuration has it now: to accounts here, and to next
    hops."""

    @property
    def route(self) -> Route: ...

    @property
    def relaying(self) -> Relaying: ...


class Told:
    """`delivery.record.Told`: into the log, and what `fastsmtp why` reads."""

    def __init__(self, report: Report, trace: Trace) -> None:
        self._report = report
        self._trace = trace

    def attempted(self, by: Attempt, after: After) -> None:
        name, report = queue_id(by.id), self._report
        for target, answer in after.changed:
            self._traced(by, target.address, answer)
            cause = target.error
            if target.standing == Standing.DELIVERED:
                report.delivered(name, target.address, by.hop, by.host, str(answer))
            elif target.standing == Standing.GIVEN_UP:
                report.delivery_failed(name, target.address, cause)
            else:
                due = target.due / 1000
                report.delivery_deferred(
                    name, target.address, cause, target.attempts, due
                )

    def delivered(self, by: Attempt) -> None:
        for address, answer in by.answers.items():
            self._traced(by, address, answer)
            if self._report.at_info:
                name, said = queue_id(by.id), str(answer)
                self._report.delivered(name, address, by.hop, by.host, said)

    def _traced(self, by: Attempt, address: str, answer: Answer) -> None:
        if self._trace.on:
            text = f"{answer.enhanced} {answer.text}".lstrip()
            self._trace.attempt(
                *(by.id, address, by.hop, by.host),
                *(answer.code, text, int(by.seconds * 1000)),
            )

    def notified(self, about: int, notice: Notice) -> None:
        """A sender, or the postmaster, is told."""
        kind, to = notice.kind.value, notice.envelope.recipients[0].address
        self._report.notice_sent(queue_id(about), queue_id(notice.id), kind, to)
        if self._trace.on:
            text = f"{kind} notice {queue_id(notice.id)} to {to}"
            self._trace.moved(about, "notice", text)

    def failed(self, id: int, address: str, error: Exception) -> None:
        """At the mailbox, or before anybody was asked."""
        if not id:
            self._report.store_trouble("the queue waits", str(error))
        elif not address:
            self._report.fault(f"queue entry {queue_id(id)}", error)


def notices(config: Config, store: Store, told: Told | None = None) -> Telling:
    """Who tells senders what became of their mail."""
    options = config.delivery
    clerk = Clerk(config.hostname, options)
    if told is None:
        return Telling(store, clerk, options, now_ms)
    return Telling(store, clerk, options, now_ms, told=told.notified)


def dispatcher(
    config: Config,
    store: Store,
    ways: Ways,
    cells: Cells,
    told: Told,
    telling: Telling,
) -> Dispatcher:
    """The one of this process; `run` it."""
    options = config.delivery
    schedule = Schedule(store, now_ms, LoopAlarm(), options.active)
    recorder = Recorder(store, schedule, cells, telling, told)
    local = LocalAttempts(store, ways.route, told.failed)
    return Dispatcher(recorder, local, next_hop(ways), options)


def next_hop(ways: Ways) -> Callable[[Queued, str], NextHop]:
    """Where mail of an entry goes, by its envelope and the recipient: as an operator
    has chosen, else as the tables say."""

    def find(queued: Queued, address: str) -> NextHop:
        relaying = ways.relaying
        if queued.via:
            return relaying.through(queued.via, address)
        if relaying.shared(address) and ways.route.is_here(address):
            return LOCAL
        return relaying.next_hop(queued.envelope.reverse_path, address)

    return find


def hands(
    ways: Ways,
    worker: Dispatcher,
    notices: Telling,
    queue: "memoryview[int]",
    trace: Trace,
) -> Hands:
    """For commands that change the queue, beside the dispatcher that works on it."""

    def told(id: int, action: str) -> None:
        if trace.on:
            trace.moved(id, WORDS[action], "by a command")

    find = next_hop(ways)
    return Hands(
        worker.schedule,
        notices.bounce,
        queue,
        lambda queued, target: find(queued, target.address).key,
        worker.hurry,
        told,
    )


async def tell_active(schedule: Schedule, cells: "memoryview[int]") -> None:
    """Keep the gauges of what is being worked on, see `queue.actives`."""
    while True:
        actives.tell(cells, schedule.active(), now_ms())
        await asyncio.sleep(TOLD)
