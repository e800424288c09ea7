import pytest
from village import DOMAIN, NOW, Village, envelope, village

from fastsmtp.delivery import counts
from fastsmtp.errors import Damaged
from fastsmtp.mailbox import account
from fastsmtp.mailbox.mailbox import INBOX
from fastsmtp.mailbox.values import decode_email
from fastsmtp.queue import counts as events
from fastsmtp.queue import listing
from fastsmtp.queue.message import (
    Envelope,
    Filing,
    Standing,
    State,
    encode_envelope,
)
from fastsmtp.store import keys
from fastsmtp.store.base import Kind, Read, Record, Store


@village
async def test_mail_stands_in_the_inbox(town: Village) -> None:
    id = await town.send("alice", body=b"Return-Path: <s>\r\nhello\r\n")
    part = town.ids["alice"]
    ((uid, number, email),) = await account.emails(town.store, part, INBOX)
    assert (uid, email.blob, email.size, email.date) == (1, id, 25, NOW)
    assert (email.flags, email.places) == (0, {INBOX: 1})
    box = await account.open_box(town.store, part, INBOX)
    assert email.modseq == email.created == box.mailbox.modseq == box.head.modseq
    assert (box.mailbox.uidnext, box.mailbox.messages, box.mailbox.unseen) == (2, 1, 1)
    assert number == 1
    assert await town.queue() == []
    assert town.refs(id) == 1


@village
async def test_one_body_serves_many(town: Village) -> None:
    id = await town.send("alice", "bob", "ALICE", "alice+tag", "all")
    for name in ("alice", "bob", "carol"):
        assert await town.inbox(name) == [id]  # once, however it was addressed
    assert town.refs(id) == 3


@village
async def test_uids_ascend_over_messages(town: Village) -> None:
    ids = [await town.send("alice", "bob") for _ in range(5)]
    assert await town.inbox("alice") == await town.inbox("bob") == ids
    page = await account.emails(town.store, town.ids["bob"], INBOX)
    assert [uid for uid, _, _ in page] == [1, 2, 3, 4, 5]


@village
async def test_who_cannot_be_served_now_waits_alone(town: Village) -> None:
    town.injure("bob")
    id = await town.send("alice", "bob", "carol", "x@far.test")
    assert await town.inbox("alice") == await town.inbox("carol") == [id]
    (entry,) = await town.queue()
    assert (entry.id, entry.state) == (id, State.DEFERRED)
    bob, far = entry.queued.targets
    assert bob.address == f"bob@{DOMAIN}"
    assert bob.error.startswith("Damaged")
    assert (far.address, far.error) == ("x@far.test", "")
    assert (bob.standing, bob.attempts) == (Standing.WAITING, 1)
    assert NOW + 270_000 <= bob.due <= NOW + 330_000
    assert far.due == entry.queued.due == NOW
    assert entry.queued.done == (town.ids["alice"], town.ids["carol"])
    assert town.refs(id) == 3
    assert town.failures == [f"bob@{DOMAIN}"]
    depth = (await listing.gauges(town.store, NOW))[State.DEFERRED]
    assert (depth.messages, depth.octets) == (1, 6)


@village
async def test_who_is_gone_is_due_at_once(town: Village) -> None:
    """Nobody can be told inside a transaction; the queue does."""
    await town.leave("bob")
    id = await town.send("alice", "bob")
    assert await town.inbox("alice") == [id]
    (entry,) = await town.queue()
    assert (entry.state, entry.queued.due) == (State.SCHEDULED, NOW)
    (bob,) = entry.queued.targets
    assert (bob.address, bob.attempts, bob.error) == (f"bob@{DOMAIN}", 0, "")


@pytest.mark.parametrize("key", [keys.HEAD, keys.mailbox(INBOX)])
def test_a_damaged_account_defers_its_own_recipient(key: bytes) -> None:
    @village
    async def case(town: Village) -> None:
        part = town.ids["bob"]
        good = town.store.peek(part, key)
        await town.store.commit(part, puts=[(key, b"\xc1")])
        id = await town.send("all")
        assert await town.inbox("alice") == await town.inbox("carol") == [id]
        (entry,) = await town.queue()
        (target,) = entry.queued.targets
        assert (target.address, target.recipient) == (f"bob@{DOMAIN}", f"all@{DOMAIN}")
        assert target.error.startswith("Damaged: ")
        await town.store.commit(part, puts=[(key, good or b"")])
        again = await town.send("all")
        assert await town.inbox("bob") == [again]

    case()


@village
async def test_a_mailbox_that_fails_between_is_read_anew(town: Village) -> None:
    """The remembered working copy is used only if the store holds its bytes."""
    await town.send("alice")
    part = town.ids["alice"]
    await account.expunge(town.store, part, INBOX, [1])
    id = await town.send("alice")
    assert await town.inbox("alice") == [id]
    box = await account.open_box(town.store, part, INBOX)
    assert (box.mailbox.messages, box.mailbox.uidnext) == (1, 3)


@village
async def test_a_transaction_may_be_tried_again(town: Village) -> None:
    """The same record and the same reads give the same writes."""
    await town.leave("bob")
    record = Record(77, Kind.MAIL, envelope("alice", "bob", "carol"), 100)
    read = town.store.peek
    assert town.deliver(record, read) == town.deliver(record, read)


@village
async def test_an_apply_sees_what_the_transaction_wrote(town: Village) -> None:
    part, over = town.ids["alice"], dict[tuple[int, bytes], bytes]()

    def read(part: int, key: bytes) -> bytes | None:
        return over.get((part, key), town.store.peek(part, key))

    for n in range(3):
        record = Record(70 + n, Kind.MAIL, envelope("alice"), 100)
        for to, key, value in town.deliver(record, read).puts:
            over[to, key] = value
    blobs = [decode_email(over[part, keys.email(n)]).blob for n in (1, 2, 3)]
    assert blobs == [70, 71, 72]


@village
async def test_an_error_in_the_middle_spoils_nothing(town: Village) -> None:
    """Any error at all defers the recipient; what was remembered is dropped."""
    await town.send("alice")

    def failing(read: Read) -> Read:
        def inner(part: int, key: bytes) -> bytes | None:
            if part == town.ids["alice"]:
                raise OSError("disk")
            return read(part, key)

        return inner

    record = Record(77, Kind.MAIL, envelope("alice", "bob"), 100)
    writes = town.deliver(record, failing(town.store.peek))
    assert writes.refs == 2  # bob's email, the entry
    parts = {part for part, _, _ in writes.puts}
    assert parts == {town.ids["bob"], keys.QUEUE}


async def file(store: Store, filing: Filing, date: int, body: bytes) -> int:
    envelope = Envelope("", (), date, filing=filing)
    return await store.append(Kind.MAIL, encode_envelope(envelope), body)


@village
async def test_a_body_is_filed_as_it_is(town: Village) -> None:
    part = town.ids["alice"]
    filing = Filing(part, 6, 1, ("$old",))
    async with town.keeping():
        id = await file(town.store, filing, 17, b"From: x\r\n\r\n")
        await town.store.applied(id)
        ((uid, _, email),) = await account.emails(town.store, part, 6)
        assert (uid, email.blob, email.size, email.date) == (1, id, 11, 17)
        assert (email.flags, email.keywords) == (1, ("$old",))
        gone = await file(town.store, Filing(part, 99), 17, b"x")
        with pytest.raises(Damaged):
            await town.store.applied(gone)
    assert await town.inbox("alice") == []
    assert town.refs(gone) == 1  # set aside, not lost


@village
async def test_a_deleted_mail_is_filed_deleted(town: Village) -> None:
    part = town.ids["alice"]
    async with town.keeping():
        filing = Filing(part, 1, deleted=True)
        await town.store.applied(await file(town.store, filing, 17, b"x\r\n"))
        ((_, _, email),) = await account.emails(town.store, part, 1)
        ((_, inbox), *_) = await account.mailboxes(town.store, part)
    assert email.deleted == (1,)
    assert (inbox.deleted, inbox.messages) == (1, 1)


@village
async def test_an_envelope_that_does_not_decode_is_set_aside(town: Village) -> None:
    async with town.keeping():
        id = await town.store.append(Kind.MAIL, b"\xc1", b"body")
        with pytest.raises(Damaged):
            await town.store.applied(id)
    assert town.refs(id) == 1


@village
async def test_recipients_are_counted(town: Village) -> None:
    await town.send("all")
    town.injure("bob")
    await town.send("alice", "bob")
    place = counts.ATTEMPTS.place
    assert town.deliveries[place("local", "delivered")] == 4
    assert town.deliveries[place("local", "temp_fail")] == 1
    assert town.events[events.ENQUEUED] == 2
    assert town.events[events.DELIVERED] == 4
    assert town.events[events.DEFERRED] == 1
    delay = counts.delay("local", "delivered").of
    cells = town.deliveries[delay.first : delay.first + delay.size]
    assert sum(cells[:-1]) == 4
    assert cells[-1] == 4000  # a second each, in milliseconds
    duration = counts.duration("local", "delivered").of
    assert (
        sum(town.deliveries[duration.first : duration.first + duration.size - 1]) == 2
    )


def test_many_accounts_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    @village
    async def case(town: Village) -> None:
        monkeypatch.setattr(type(town.deliver), "BOXES", 2)
        ids = [await town.send("all") for _ in range(3)]
        for name in ("alice", "bob", "carol"):
            assert await town.inbox(name) == ids

    case()
