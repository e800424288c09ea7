"""Accounts on a memory store, and a keeper that delivers to them: for tests of what
happens to mail behind the door."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from fastsmtp import queueing
from fastsmtp.auth.accounts import Account, Directory, decode_account, encode_account
from fastsmtp.cells import fresh
from fastsmtp.delivery import counts
from fastsmtp.delivery.attempt import After, Attempt
from fastsmtp.delivery.dispatch import Dispatcher
from fastsmtp.delivery.jobs import Job, Key
from fastsmtp.delivery.local import LocalDelivery
from fastsmtp.delivery.options import DeliveryOptions
from fastsmtp.delivery.record import Cells, Recorder
from fastsmtp.delivery.route import Route
from fastsmtp.delivery.worker import LocalAttempts
from fastsmtp.errors import Damaged
from fastsmtp.mailbox import account
from fastsmtp.mailbox import values as mailbox_values
from fastsmtp.mailbox.mailbox import INBOX
from fastsmtp.policy.options import DomainOptions, RelayDomainOptions
from fastsmtp.policy.recipients import Passed, Recipients
from fastsmtp.policy.relaying import Relaying
from fastsmtp.queue import counts as events
from fastsmtp.queue import listing, moves, selection
from fastsmtp.queue.message import (
    Envelope,
    Queued,
    Recipient,
    decode_queued,
    encode_envelope,
)
from fastsmtp.queue.schedule import Schedule
from fastsmtp.smtp.letter import Answer
from fastsmtp.store import keys
from fastsmtp.store.base import Kind
from fastsmtp.store.memory import MemoryStore

NOW = 1_700_000_000_000
DOMAIN = "example.test"
ALIASES = {
    "all": [f"alice@{DOMAIN}", f"bob@{DOMAIN}", f"carol@{DOMAIN}"],
    "some": [f"bob@{DOMAIN}", f"carol@{DOMAIN}"],
    "both": [f"alice@{DOMAIN}", "someone@far.test", "x@pass.test"],
    "away": ["someone@far.test"],
}
SPLIT = "split.test"
"""A domain whose mail goes to another server when nobody has it here."""


def at(name: str) -> str:
    return name if "@" in name else f"{name}@{DOMAIN}"


def envelope(
    *recipients: str, sender: str = "s@far.test", arrived: int = NOW, login: str = ""
) -> bytes:
    to = tuple(Recipient(at(name)) for name in recipients)
    return encode_envelope(Envelope(sender, to, arrived, 10, login=login))


PATIENT = DeliveryOptions()


class Dusk(Exception):
    """The day of a test is over."""


class Sun:
    """An alarm whose waits end at once: the clock is put forward instead."""

    def __init__(self, village: "Village") -> None:
        self.village = village
        self.until = 0
        self.rung = False

    def ring(self) -> None:
        self.rung = True

    def reset(self) -> None:
        self.rung = False

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(0)
        while self.village.busy() and not self.rung:  # noqa: ASYNC110
            await asyncio.sleep(0)
        if not self.rung:
            await self.rest(seconds)

    async def rest(self, seconds: float) -> None:
        if self.village.now >= self.until:
            raise Dusk
        self.village.pass_by(max(int(seconds * 1000), 1))


RELAYING = Relaying(
    (DOMAIN, SPLIT), {SPLIT: RelayDomainOptions(next_hop="lmtp:///run/split")}
)
"""All that is not the village's own is beyond, see `FarAway`."""


class FarAway:
    """A sender whose next hops answer at once, as `says` has it for their domain."""

    def __init__(self) -> None:
        self.dispatcher: Dispatcher | None = None
        self.says: dict[str, Answer] = {}
        self.unreached: set[str] = set()
        self.jobs: list[Job] = []
        self.at: list[int] = []  # when each came

    def give(self, job: Job) -> bool:
        assert self.dispatcher is not None
        self.jobs.append(job)
        self.at.append(self.dispatcher.terms().now)
        asyncio.get_running_loop().call_soon(self._finish, job)
        return True

    def _finish(self, job: Job) -> None:
        assert self.dispatcher is not None
        answer = self.says.get(job.destination, Answer(250, "2.0.0", "taken", "body"))
        made = Attempt(
            *(
                job.id,
                job.destination,
                {r.address: answer for r in job.envelope.recipients},
            ),
            hop=job.hop.key,
            reached=job.destination not in self.unreached,
        )
        self.dispatcher.finished(made)

    def recorded(self, key: Key) -> None: ...

    def times(self, domain: str) -> int:
        return sum(job.destination == domain for job in self.jobs)


class Village:
    """A store and all that stands between it and the mailboxes."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.ids: dict[str, int] = {}
        self.hurt: dict[str, bytes] = {}
        self.directory = Directory(
            lambda name: store.peek(keys.DIRECTORY, keys.account(name))
        )
        domains = {
            DOMAIN: DomainOptions(aliases=ALIASES),
            SPLIT: DomainOptions(aliases={"it": [f"alice@{DOMAIN}", f"it@{SPLIT}"]}),
        }
        policy = Recipients(
            domains,
            lambda name: self.directory.lookup(name) is not None,
            passed={"pass.test": Passed(), SPLIT: Passed()},
        )
        self.relaying = RELAYING
        self.route = Route(policy.resolve, self.directory.lookup)
        self.deliveries = fresh(counts.CELLS)
        self.events = fresh(events.CELLS)
        self.failures: list[str] = []
        self.now = NOW
        self.steady = 1e6  # seconds, monotonic
        self.alarm = Sun(self)
        self.far = FarAway()
        self.dispatcher: Dispatcher | None = None
        self.told: list[tuple[Attempt, After]] = []
        self.gone: list[Attempt] = []  # the same, of those that nobody is told of
        self.notices: list[tuple[int, After]] = []
        self.deliver = LocalDelivery(
            self.route,
            self.deliveries,
            self.events,
            clock=lambda: NOW / 1000 + 1,
            failed=lambda id, address, error: self.failures.append(address),
        )

    async def settle(self, *names: str) -> None:
        """Make accounts of these names."""
        for name in names:
            self.ids[name] = await account.create(
                self.store,
                at(name),
                lambda id, name=name: encode_account(Account(id, at(name))),
            )
        self.changed()

    async def leave(self, name: str) -> None:
        await account.remove(self.store, at(name), lambda v: decode_account(v).id)
        self.changed()

    def injure(self, *names: str) -> None:
        """Nothing can be filed for these, until they are healed."""
        for name in names:
            part = self.store.disk.parts[self.ids[name]]
            self.hurt[name] = part.values[keys.HEAD]
            part.put(keys.HEAD, b"\xc1")

    def heal(self, *names: str) -> None:
        for name in names:
            part = self.store.disk.parts[self.ids[name]]
            part.put(keys.HEAD, self.hurt.pop(name))

    def changed(self) -> None:
        self.directory.changed()
        self.route.changed()

    async def send(
        self, *recipients: str, body: bytes = b"body\r\n", login: str = ""
    ) -> int:
        """Append a message and wait until it is applied."""
        wrapped = envelope(*recipients, login=login)
        id = await self.store.append(Kind.MAIL, wrapped, body)
        async with self.keeping():
            await self.store.applied(id)
        return id

    @asynccontextmanager
    async def keeping(self) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self.store.follow(self.deliver))
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def inbox(self, name: str) -> list[int]:
        """The bodies in the INBOX of an account, by UID."""
        part = self.ids[name]
        return [e.blob for _, _, e in await account.emails(self.store, part, INBOX)]

    async def queue(self) -> list[selection.Entry]:
        return [entry async for entry in selection.entries(self.store)]

    def refs(self, id: int) -> int:
        """How often something refers to a body, by the store's own count."""
        return self.store.disk.blobs[id].refs

    def pass_by(self, milliseconds: int) -> None:
        """Time goes on, on both clocks."""
        self.now += milliseconds
        self.steady += milliseconds / 1000

    def busy(self) -> bool:
        """Whether anything is being worked on."""
        return self.dispatcher is not None and self.dispatcher.active > 0

    # `delivery.record.Notices` and `Told`

    async def tell(
        self, id: int, before: Queued, after: After, by: Attempt
    ) -> moves.Move:
        self.notices.append((id, after))
        return moves.Move()

    def attempted(self, by: Attempt, after: After) -> None:
        self.told.append((by, after))

    def delivered(self, by: Attempt) -> None:
        self.gone.append(by)

    def failed(self, id: int, address: str, error: Exception) -> None:
        self.failures.append(address or repr(error))

    def working(self, options: DeliveryOptions = PATIENT) -> Dispatcher:
        """A dispatcher that has this life of the store; its clock is `self.now`."""
        store, cells = self.store, Cells(self.deliveries, self.events)
        schedule = Schedule(store, lambda: self.now, self.alarm)
        recorder = Recorder(store, schedule, cells, self, self)
        local = LocalAttempts(store, self.route, self.failed, lambda: self.steady)
        self.dispatcher = dispatcher = Dispatcher(
            *(recorder, local, queueing.next_hop(self), options),
            lambda: self.steady,
        )
        self.deliver.entered = schedule.noted
        self.far.dispatcher = dispatcher
        dispatcher.sender = self.far
        return dispatcher

    async def work(self, until: int, options: DeliveryOptions = PATIENT) -> None:
        """Let a dispatcher run until this time has come and nothing is due."""
        self.alarm.until = until
        try:
            await self.working(options).run()
        except* Dusk:
            pass

    def verify(self) -> None:
        """References, counts of mailboxes and counters of the queue are those of what
        is there, and no mark stands without its entry."""
        refs: Counter[int] = Counter()
        rests: dict[bytes, tuple[int, int]] = {}
        entries = self.store.disk.parts[keys.QUEUE].values if self.queued_any() else {}
        for number, part in self.store.disk.parts.items():
            for key, value in part.values.items():
                for references in (listing.references, mailbox_values.references):
                    refs.update(references(number, key, value))
                if number >= keys.FIRST_ACCOUNT and key[:1] == b"k":
                    assert b"m" + key[1:9] in entries
            if number >= keys.FIRST_ACCOUNT:
                self._verify_counts(part.values)
        for key, value in entries.items():
            if key[:1] == b"m":
                queued = decode_queued(value)
                ours = moves.enter(int.from_bytes(key[1:], "big"), queued).adds
                for counter, by in ours.items():
                    have = rests.get(counter, (0, 0))
                    rests[counter] = (have[0] + by[0], have[1] + by[1])
                self._verify_rows(key, entries, queued)
        counted = {k: v for k, v in entries.items() if k[:1] in b"cg"}
        assert {k: tuple(moves.decode_counted(v)) for k, v in counted.items()} == rests
        refs.update(record.id for record, _ in self.store.disk.aside)
        for id, blob in self.store.disk.blobs.items():
            assert blob.refs == refs[id]

    def queued_any(self) -> bool:
        return keys.QUEUE in self.store.disk.parts

    @staticmethod
    def _verify_rows(key: bytes, entries: dict[bytes, bytes], queued: Queued) -> None:
        """An entry has the rows that follow from it, and no others."""
        have = {k: v for k, v in entries.items() if k[:1] == b"d" and k[-8:] == key[1:]}
        assert have == moves.rows(int.from_bytes(key[1:], "big"), queued)

    @staticmethod
    def _verify_counts(values: dict[bytes, bytes]) -> None:
        if keys.HEAD not in values:
            return
        try:
            head = mailbox_values.decode_head(values[keys.HEAD])
        except Damaged:
            return
        emails = [
            mailbox_values.decode_email(v) for k, v in values.items() if k[:1] == b"e"
        ]
        assert head.messages == len(emails)
        assert head.octets == sum(email.size for email in emails)
        for key, value in values.items():
            if key[:1] != b"b" or value == b"\xc1":
                continue
            id, mailbox = (
                int.from_bytes(key[1:], "big"),
                mailbox_values.decode_mailbox(value),
            )
            assert mailbox.messages == sum(id in email.places for email in emails)
            assert mailbox.messages == sum(k[:5] == b"u" + key[1:] for k in values)


Case = Callable[[Village], Awaitable[None]]


def village(case: Case) -> Callable[[], None]:
    """Run a test where alice, bob and carol live."""

    def test() -> None:
        async def run() -> None:
            town = Village(MemoryStore())
            await town.settle("alice", "bob", "carol")
            await case(town)
            town.verify()

        asyncio.run(run())

    return test
