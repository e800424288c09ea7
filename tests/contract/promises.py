"""One test per promise of the store; see `contract.bench` for what they stand on."""

import asyncio
from pathlib import Path

import pytest

from contract.bench import (
    OTHER,
    PART,
    Answers,
    OnStore,
    deliver,
    followed,
    following,
    obey,
    order,
)
from fastsmtp.errors import Conflict, Damaged, Misused
from fastsmtp.store import keys
from fastsmtp.store.base import Check, Kind, Read, Record, Store, Writes

LO, HI = b"", b"\xff"
Q = keys.QUEUE


class Mail(OnStore):
    """append, submit, spool, follow, applied."""

    @followed
    async def test_ids_never_repeat(self, store: Store) -> None:
        ids = [store.next_id() for _ in range(1000)]
        assert len(set(ids)) == 1000
        assert all(0 < id < 2**64 for id in ids)
        assert ids == sorted(ids)

    @followed
    async def test_a_message_becomes_visible(self, store: Store) -> None:
        id = await deliver(store, b"hello\r\n", puts=[(PART, b"x", b"1")], refs=1)
        assert await store.get(PART, b"x") == b"1"
        assert store.peek(PART, b"x") == b"1"
        blob = await store.blob_open(id)
        assert (blob.length, blob.read(0, 100)) == (7, b"hello\r\n")
        blob.close()

    @followed
    async def test_submit_joins_head_and_body(self, store: Store) -> None:
        body = bytearray(b"the body\r\n")
        id, answers = store.next_id(), Answers()
        store.submit(id, Kind.MAIL, order(refs=1), b"head\r\n", body, answers)
        body[:] = b"overwritten"  # it was copied
        assert answers.got == []  # called on the loop, never from within
        assert await answers.wait() == [None]
        await store.applied(id)
        blob = await store.blob_open(id)
        assert blob.read(0, 100) == b"head\r\nthe body\r\n"
        blob.verify()
        blob.close()

    @followed
    async def test_a_memoryview_will_do(self, store: Store) -> None:
        id, answers = store.next_id(), Answers()
        part = memoryview(b"..four....")[2:6]
        store.submit(id, Kind.MAIL, order(refs=1), b"", part, answers)
        await answers.wait()
        await store.applied(id)
        blob = await store.blob_open(id)
        assert blob.read(0, 100) == b"four"
        blob.close()

    @followed
    async def test_a_body_may_be_empty(self, store: Store) -> None:
        id = await deliver(store, b"", refs=1)
        blob = await store.blob_open(id)
        assert (blob.length, blob.read(0, 10)) == (0, b"")
        blob.verify()
        blob.close()

    @followed
    async def test_records_are_applied_in_order(self, store: Store) -> None:
        answers = Answers()
        for n in range(50):
            envelope = order(puts=[(PART, b"last", b"%d" % n)], count=b"n")
            id = store.next_id()
            store.submit(id, Kind.MAIL, envelope, b"", b"b", answers)
        assert await answers.wait(50) == [None] * 50
        await store.applied(id)
        assert await store.get(PART, b"last") == b"49"
        assert await store.get(PART, b"n") == b"50"  # each read what the last wrote

    @followed
    async def test_applied_answers_late_and_early(self, store: Store) -> None:
        id = await deliver(store, puts=[(PART, b"x", b"1")])
        await asyncio.wait_for(store.applied(id), 10)
        await asyncio.wait_for(store.applied(id), 10)

    @followed
    async def test_a_record_spans_partitions(self, store: Store) -> None:
        puts = [(PART, b"x", b"1"), (OTHER, b"x", b"2"), (Q, b"mx", b"3")]
        await deliver(store, puts=puts)
        assert await store.get(PART, b"x") == b"1"
        assert await store.get(OTHER, b"x") == b"2"
        assert await store.get(Q, b"mx") == b"3"
        await deliver(store, deletes=[(OTHER, b"x")])
        assert await store.get(OTHER, b"x") is None
        assert await store.get(PART, b"x") == b"1"

    @followed
    async def test_a_record_that_cannot_be_applied_stops_nothing(
        self, store: Store
    ) -> None:
        bad = await store.append(Kind.MAIL, order(fail=True), b"kept\r\n")
        await deliver(store, puts=[(PART, b"x", b"1")])
        assert await store.get(PART, b"x") == b"1"
        with pytest.raises(Damaged):
            await asyncio.wait_for(store.applied(bad), 10)
        await self.age(store)
        blob = await store.blob_open(bad)  # never dropped
        assert blob.read(0, 100) == b"kept\r\n"
        blob.close()

    @followed
    async def test_a_body_streams_in(self, store: Store) -> None:
        id, answers = store.next_id(), Answers()
        spool = store.spool(id, b"head\r\n")
        piece = bytearray(4096)
        for n in range(100):
            piece[:] = bytes([n]) * 4096
            spool.write(memoryview(piece))
            assert spool.backlog() >= 0
        spool.finish(Kind.MAIL, order(refs=1), answers)
        assert await answers.wait() == [None]
        await store.applied(id)
        blob = await store.blob_open(id)
        assert blob.length == 6 + 409_600
        assert blob.read(0, 6) == b"head\r\n"
        assert blob.read(6 + 99 * 4096, 5000) == bytes([99]) * 4096
        blob.verify()
        blob.close()

    @followed
    async def test_a_spool_is_read_again_before_it_is_finished(
        self, store: Store
    ) -> None:
        id, answers = store.next_id(), Answers()
        spool = store.spool(id, b"head\r\n")
        spool.write(b"x" * 300_000)
        spool.write(b"the end\r\n")
        written = await spool.reread()
        assert written.length == 6 + 300_000 + 9
        assert written.read(0, 8) == b"head\r\nxx"
        assert written.read(written.length - 9, 100) == b"the end\r\n"
        assert written.read(written.length, 100) == b""
        spool.write(b"and more\r\n")
        assert (await spool.reread()).read(300_006, 100) == b"the end\r\nand more\r\n"
        spool.finish(Kind.MAIL, order(refs=1), answers)
        assert await answers.wait() == [None]
        await store.applied(id)
        blob = await store.blob_open(id)
        blob.verify()
        assert blob.length == 300_006 + 19
        assert written.read(written.length - 9, 100) == b"the end\r\n"
        blob.close()

    @followed
    async def test_an_aborted_spool_leaves_nothing(self, store: Store) -> None:
        id = store.next_id()
        spool = store.spool(id, b"head\r\n")
        spool.write(b"x" * 10_000)
        spool.abort()
        await deliver(store)
        with pytest.raises(KeyError):
            await store.blob_open(id)

    @followed
    async def test_applies_are_called_for_mail_alone(self, store: Store) -> None:
        # `obey` would fail on this envelope
        id = await store.append(Kind.BLOB, b"\xc1 not msgpack", b"a draft\r\n")
        await asyncio.wait_for(store.applied(id), 10)
        await store.commit(PART, puts=[(b"draft", b"1")], refs={id: 1})
        blob = await store.blob_open(id)
        assert blob.read(0, 100) == b"a draft\r\n"
        blob.close()

    def test_what_is_durable_is_applied_after_a_restart(self, tmp_path: Path) -> None:
        if not self.survives:
            pytest.skip("nothing of it outlives the process")

        async def receive() -> int:
            async with self.opened(tmp_path) as store:  # nobody follows
                envelope = order(puts=[(PART, b"x", b"1")], refs=1, count=b"n")
                id = await store.append(Kind.MAIL, envelope, b"kept\r\n")
                assert await store.get(PART, b"x") is None
                return id

        async def keep(id: int) -> None:
            async with self.opened(tmp_path) as store, following(store):
                await deliver(store, count=b"n")
                assert await store.get(PART, b"x") == b"1"
                assert await store.get(PART, b"n") == b"2"
                blob = await store.blob_open(id)
                assert blob.read(0, 10) == b"kept\r\n"
                blob.close()
                assert store.next_id() > id

        async def again() -> None:
            async with self.opened(tmp_path) as store, following(store):
                await deliver(store, count=b"n")
                assert await store.get(PART, b"n") == b"3"  # none applied twice

        id = asyncio.run(receive())
        asyncio.run(keep(id))
        asyncio.run(again())

    def test_apply_is_told_id_and_length(self, tmp_path: Path) -> None:
        seen: list[Record] = []

        def note(record: Record, read: object) -> Writes:
            seen.append(record)
            return Writes()

        async def run() -> None:
            async with self.opened(tmp_path) as store, following(store, note):
                id, answers = store.next_id(), Answers()
                store.submit(id, Kind.MAIL, b"envelope", b"head", b"body", answers)
                await answers.wait()
                await store.applied(id)
                assert [tuple(r) for r in seen] == [(id, Kind.MAIL, b"envelope", 8)]

        asyncio.run(run())


class Index(OnStore):
    """commit, get, scan."""

    @followed
    async def test_a_commit_is_visible_when_it_returns(self, store: Store) -> None:
        first = await store.commit(PART, puts=[(b"a", b"1"), (b"b", b"2")])
        second = await store.commit(PART, puts=[(b"b", b"3")], deletes=[b"a", b"none"])
        assert second > first
        assert store.peek(PART, b"a") is None
        assert await store.get(PART, b"b") == b"3"
        assert await store.get(OTHER, b"b") is None

    @followed
    async def test_deletes_come_before_puts(self, store: Store) -> None:
        await store.commit(PART, puts=[(b"a", b"1")])
        await store.commit(PART, puts=[(b"a", b"2")], deletes=[b"a"])
        assert await store.get(PART, b"a") == b"2"

    @followed
    async def test_a_failed_check_writes_nothing(self, store: Store) -> None:
        await store.commit(PART, puts=[(b"a", b"1")])
        for check in (
            Check(b"a", None),
            Check(b"a", b"2"),
            Check(b"b", b"1"),
            Check(b"b", b""),
        ):
            with pytest.raises(Conflict):
                await store.commit(
                    PART,
                    checks=[Check(b"a", b"1"), check],
                    puts=[(b"c", b"1")],
                    deletes=[b"a"],
                )
        assert await store.scan(PART, LO, HI, 10) == [(b"a", b"1")]
        await store.commit(
            PART, checks=[Check(b"a", b"1"), Check(b"b", None)], deletes=[b"a"]
        )
        assert await store.scan(PART, LO, HI, 10) == []

    @followed
    async def test_an_empty_value_is_a_value(self, store: Store) -> None:
        await store.commit(PART, puts=[(b"a", b"")])
        assert await store.get(PART, b"a") == b""
        with pytest.raises(Conflict):
            await store.commit(PART, checks=[Check(b"a", None)])

    @followed
    async def test_of_many_writers_one_wins_each_round(self, store: Store) -> None:
        async def add() -> None:
            while True:
                before = await store.get(PART, b"n")
                await asyncio.sleep(0)
                after = b"%d" % (int(before or b"0") + 1)
                try:
                    await store.commit(
                        PART, checks=[Check(b"n", before)], puts=[(b"n", after)]
                    )
                except Conflict:
                    continue
                return

        await asyncio.gather(*(add() for _ in range(20)))
        assert await store.get(PART, b"n") == b"20"

    @followed
    async def test_a_scan_is_ordered_bounded_and_limited(self, store: Store) -> None:
        names = [b"a", b"a\x00", b"a\xff", b"b", b"ba", b"\x00", b"\xfe"]
        await store.commit(PART, puts=[(n, n + b"!") for n in names])
        await store.commit(OTHER, puts=[(b"aa", b"elsewhere")])
        found = [k for k, _ in await store.scan(PART, LO, HI, 100)]
        assert found == sorted(names)
        assert await store.scan(PART, b"a", b"b", 100) == [
            (b"a", b"a!"),
            (b"a\x00", b"a\x00!"),
            (b"a\xff", b"a\xff!"),
        ]
        assert [k for k, _ in await store.scan(PART, LO, HI, 2)] == [b"\x00", b"a"]
        assert await store.scan(PART, b"b", b"b", 10) == []
        assert await store.scan(PART, b"c", b"b", 10) == []

    @followed
    async def test_several_values_are_read_at_once(self, store: Store) -> None:
        await store.commit(PART, puts=[(b"a", b"1"), (b"b", b""), (b"c", b"3")])
        await store.commit(OTHER, puts=[(b"d", b"4")])
        wanted = [b"c", b"d", b"b", b"a", b"a"]
        assert await store.get_each(PART, wanted) == [b"3", None, b"", b"1", b"1"]
        assert await store.get_each(PART, []) == []

    @followed
    async def test_sifting_gives_what_fits_and_where_to_go_on(
        self, store: Store
    ) -> None:
        rows = [(b"%02d" % n, b"%d" % (n % 3)) for n in range(20)]
        await store.commit(PART, puts=rows)
        await store.commit(PART + 1, puts=[(b"00", b"0")])

        def fits(value: bytes) -> bool:
            return value == b"0"

        found, at = await store.sift(PART, b"05", b"15", 4, fits)
        assert found == [(b"06", b"0")]
        assert at is not None
        assert b"08" < at <= b"09"
        assert await store.sift(PART, at, b"15", 100, fits) == (
            [(b"09", b"0"), (b"12", b"0")],
            None,
        )
        assert await store.sift(PART, b"05", b"15", 0, fits) == ([], None)
        assert await store.sift(PART, b"5", HI, 9, fits) == ([], None)
        assert await store.sift(PART, b"15", b"15", 9, fits) == ([], None)
        found, at = await store.sift(PART, LO, HI, 20, fits)
        assert found == [row for row in rows if row[1] == b"0"]
        if at is not None:
            assert await store.sift(PART, at, HI, 20, fits) == ([], None)
        assert await store.sift(PART - 1, LO, HI, 9, fits) == ([], None)

    @followed
    async def test_a_scan_goes_backwards_too(self, store: Store) -> None:
        await store.commit(PART, puts=[(b"%02d" % n, b"") for n in range(20)])
        back = [k for k, _ in await store.scan(PART, b"05", b"15", 3, reverse=True)]
        assert back == [b"14", b"13", b"12"]
        back = [k for k, _ in await store.scan(PART, LO, HI, 100, reverse=True)]
        assert back == [b"%02d" % n for n in range(19, -1, -1)]
        assert await store.scan(OTHER, LO, HI, 5, reverse=True) == []

    @followed
    async def test_neighbouring_partitions_do_not_mix(self, store: Store) -> None:
        await store.commit(PART - 1, puts=[(b"\xff\xff", b"before")])
        await store.commit(PART + 1, puts=[(b"\x00", b"behind")])
        assert await store.scan(PART, LO, b"\xff" * 8, 10) == []
        assert await store.scan(PART, LO, b"\xff" * 8, 10, reverse=True) == []

    @followed
    async def test_a_watch_hears_of_the_last_change(self, store: Store) -> None:
        heard: list[bytes | None] = []
        called = asyncio.Event()

        def changed() -> None:
            heard.append(store.peek(PART, b"x"))
            called.set()

        end = store.watch(PART, changed)
        await store.commit(OTHER, puts=[(b"x", b"elsewhere")])
        for n in range(5):
            await store.commit(PART, puts=[(b"x", b"%d" % n)])
        while not heard or heard[-1] != b"4":
            called.clear()
            await asyncio.wait_for(called.wait(), 10)
        await deliver(store, puts=[(PART, b"x", b"mail")])
        while heard[-1] != b"mail":
            called.clear()
            await asyncio.wait_for(called.wait(), 10)
        end()
        told = len(heard)
        await store.commit(PART, puts=[(b"x", b"unheard")])
        await asyncio.sleep(0)
        assert len(heard) == told

    @followed
    async def test_a_store_that_works_says_nothing(self, store: Store) -> None:
        assert store.healthy() is None


class Blobs(OnStore):
    """References and the life of bodies."""

    @followed
    async def test_a_body_lives_while_something_refers_to_it(
        self, store: Store
    ) -> None:
        id = await deliver(store, b"twice\r\n", refs=2)
        await store.commit(PART, refs={id: -1})
        await self.age(store)
        blob = await store.blob_open(id)
        await store.commit(PART, refs={id: -1})
        assert blob.read(0, 10) == b"twice\r\n"
        if await self.age(store):
            with pytest.raises(KeyError):
                await store.blob_open(id)
        assert blob.read(0, 10) == b"twice\r\n"  # the open one stays good
        blob.close()

    @followed
    async def test_a_body_without_references_waits_for_one(self, store: Store) -> None:
        id = await store.append(Kind.BLOB, b"", b"draft\r\n")
        await store.applied(id)
        await store.commit(PART, puts=[(b"d", b"")], refs={id: 1})
        await self.age(store)
        blob = await store.blob_open(id)
        assert blob.read(0, 10) == b"draft\r\n"
        blob.close()

    @followed
    async def test_references_move_with_their_commit(self, store: Store) -> None:
        one, two = await deliver(store, refs=1), await deliver(store, refs=1)
        with pytest.raises(Conflict):
            await store.commit(
                PART, checks=[Check(b"never", b"x")], refs={one: -1, two: -1}
            )
        await store.commit(PART, refs={one: -1, two: 1})
        await store.commit(PART, refs={two: -1})
        if await self.age(store):
            with pytest.raises(KeyError):
                await store.blob_open(one)
        (await store.blob_open(two)).close()

    @followed
    async def test_an_unknown_body_is_refused(self, store: Store) -> None:
        id = store.next_id()
        with pytest.raises(KeyError):
            await store.blob_open(id)
        with pytest.raises(KeyError):
            await store.commit(PART, puts=[(b"a", b"1")], refs={id: 1})
        assert await store.get(PART, b"a") is None

    @followed
    async def test_references_never_fall_below_none(self, store: Store) -> None:
        id = await deliver(store, refs=1)
        with pytest.raises(Misused):
            await store.commit(PART, puts=[(b"a", b"1")], refs={id: -2})
        assert await store.get(PART, b"a") is None
        await store.commit(PART, refs={id: -1})

    @followed
    async def test_several_bodies_are_opened_at_once(self, store: Store) -> None:
        ids = [await deliver(store, b"%d" % n, refs=1) for n in range(3)]
        found = store.open_now([ids[2], 1, ids[0]])
        assert found[1] is None
        assert [b.read(0, 9) for b in found if b is not None] == [b"2", b"0"]
        for blob in found:
            if blob is not None:
                blob.close()

    @followed
    async def test_reads_stay_inside_the_body(self, store: Store) -> None:
        neighbours = [await deliver(store, b"n" * 500, refs=1) for _ in range(2)]
        id = await deliver(store, b"0123456789", refs=1)
        neighbours.append(await deliver(store, b"n" * 500, refs=1))
        blob = await store.blob_open(id)
        assert blob.read(0, 4) == b"0123"
        assert blob.read(8, 100) == b"89"
        assert blob.read(10, 1) == b""
        assert blob.read(500, 1) == b""
        assert blob.read(3, 0) == b""
        blob.close()


class Counters(OnStore):
    """adds, and what `apply` hears of its commits."""

    @followed
    async def test_many_count_in_one_row(self, store: Store) -> None:
        await asyncio.gather(*(store.commit(Q, adds={b"g": (1, n)}) for n in range(20)))
        assert await store.get(Q, b"g") == keys.u64(20) + keys.u64(190)

    @followed
    async def test_a_row_goes_when_it_comes_to_nothing(self, store: Store) -> None:
        await store.commit(Q, adds={b"g": (2, 50), b"h": (1, 1)})
        await store.commit(Q, adds={b"g": (-1, -20)})
        assert await store.get(Q, b"g") == keys.u64(1) + keys.u64(30)
        await store.commit(Q, adds={b"g": (-1, -30)})
        assert await store.get(Q, b"g") is None
        assert await store.get(Q, b"h") == keys.u64(1) + keys.u64(1)

    @followed
    async def test_a_failed_check_counts_nothing(self, store: Store) -> None:
        with pytest.raises(Conflict):
            await store.commit(Q, checks=[Check(b"x", b"1")], adds={b"g": (1, 1)})
        assert await store.get(Q, b"g") is None

    @followed
    async def test_records_count_beside_commits(self, store: Store) -> None:
        await store.commit(Q, adds={b"g": (1, 10)})
        ids = [
            await store.append(Kind.MAIL, order(adds=(b"g", 1, 5)), b"body\r\n")
            for _ in range(10)
        ]
        await store.commit(Q, adds={b"g": (2, 20)})
        await asyncio.wait_for(store.applied(ids[-1]), 10)
        assert await store.get(Q, b"g") == keys.u64(13) + keys.u64(80)

    def test_apply_hears_when_it_is_visible(self, tmp_path: Path) -> None:
        async def run() -> None:
            class Heard:
                calls = 0

                def __call__(self, record: Record, read: Read) -> Writes:
                    return obey(record, read)

                def committed(self) -> None:
                    self.calls += 1

            heard = Heard()
            async with self.opened(tmp_path) as store, following(store, heard):
                before = heard.calls
                await deliver(store, puts=[(PART, b"x", b"1")])
                assert heard.calls > before

        asyncio.run(run())


class StoreContract(Mail, Index, Blobs, Counters):
    """All promises; a backend's test class inherits this one and `StoreModel`."""


__all__ = ["StoreContract", "obey"]
