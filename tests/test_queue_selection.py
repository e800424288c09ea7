"""Which messages are meant: the filter, and the compiled sieve in front of it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from fastsmtp.queue import moves, selection
from fastsmtp.queue.message import (
    Envelope,
    Queued,
    Recipient,
    Standing,
    State,
    Target,
    encode_queued,
)
from fastsmtp.queue.selection import Entry, Filter, Sight, Survey
from fastsmtp.queue.sieve import Sieve
from fastsmtp.store import keys
from fastsmtp.store.memory import MemoryStore

NOW: Final = 1_700_000_000_000


def run(case: Coroutine[Any, Any, None]) -> None:
    asyncio.run(case)


def target(address: str, **more: Any) -> Target:
    return Target(**{"address": address, "recipient": address, "due": NOW, **more})


def queued(*targets: Target, sender: str = "s@x.test", **more: Any) -> Queued:
    arrived = more.pop("arrived", NOW)
    envelope = Envelope(sender, tuple(Recipient(t.recipient) for t in targets), arrived)
    values = {"octets": 100, "state": State.DEFERRED, "due": NOW, **more}
    return Queued(envelope, targets=targets, **values)


async def enter(store: MemoryStore, *targets: Target, **more: Any) -> int:
    id = store.next_id()
    await moves.make(store, moves.enter(id, queued(*targets, **more)))
    return id


async def ids(store: MemoryStore, sight: Any = None, **wanted: Any) -> list[int]:
    sight = sight or Sight()
    return [e.id async for e in selection.entries(store, Filter(**wanted), sight)]


def test_entries_come_in_pages_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "PAGE", 3)

    async def case() -> None:
        store = MemoryStore()
        made = [await enter(store, target("a@y.test")) for _ in range(10)]
        assert await ids(store) == made
        assert await ids(store, domain="Y.test") == made

    run(case())


@pytest.mark.parametrize("few", [0, 100])
def test_a_domain_is_found_by_its_rows_or_by_its_entries(
    few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "FEW", few)

    async def case() -> None:
        store = MemoryStore()
        made = [await enter(store, target(f"a@{n % 2}.test")) for n in range(10)]
        await enter(store, target("a@1.test", standing=Standing.DELIVERED))
        assert await ids(store, domain="1.TEST") == made[1::2]
        assert await ids(store, domain="2.test") == []

    run(case())


def test_all_that_is_asked_must_hold() -> None:
    async def case() -> None:
        store = MemoryStore()
        tried = target("a@y.test", recipient="all@y.test", attempts=3, error="451 No")
        one = await enter(store, tried, sender="S@x.test", arrived=NOW - 1)
        two = await enter(
            *(store, target("b@z.test")),
            sender="",
            state=State.HOLD,
            octets=5000,
        )
        for wanted, found in (
            ({"sender": "s@X.test"}, [one]),
            ({"sender": ""}, [two]),
            ({"sender": "@x.test"}, [one]),
            ({"recipient": "B@z.test"}, [two]),
            ({"recipient": "all@y.test"}, [one]),  # as it was given
            ({"recipient": "@y.test"}, [one]),
            ({"domain": "z.test"}, [two]),
            ({"domain": "test"}, []),
            ({"state": State.HOLD}, [two]),
            ({"before": NOW}, [one]),
            ({"since": NOW}, [two]),
            ({"attempts": 3}, [one]),
            ({"attempts": 4}, []),
            ({"error": "1 nO"}, [one]),
            ({"larger": 101}, [two]),
            ({"smaller": 100}, [one]),
            ({"before": NOW, "recipient": "b@z.test"}, []),
        ):
            assert await ids(store, **wanted) == found, wanted  # type: ignore[arg-type]

    run(case())


def test_one_recipient_must_fit_all_that_is_asked_of_recipients() -> None:
    async def case() -> None:
        store = MemoryStore()
        one = await enter(
            store,
            target("a@y.test", error="451 busy"),
            target("b@z.test", error="550 no"),
            target("c@w.test", standing=Standing.DELIVERED),
        )
        assert await ids(store, domain="y.test", error="busy") == [one]
        assert await ids(store, domain="y.test", error="550") == []
        assert await ids(store, recipient="c@w.test") == []  # waits no more
        wanted = Filter(domain="z.test")
        held = moves.read(store, one)
        assert held is not None
        assert [t.address for t in wanted.waiting(held.queued)] == ["b@z.test"]
        everybody = Filter().waiting(held.queued)
        assert [t.address for t in everybody] == ["a@y.test", "b@z.test"]

    run(case())


@pytest.mark.parametrize(
    ("key", "written"),
    [
        ("smtp:gmail.test", ["smtp:gmail.test", "GMAIL.test", "smtp://gmail.test"]),
        (
            "smtp:[mail.test]:2525 as u@mail.test:2525",
            [
                "mail.test",
                "mail.test:2525",
                "smtp://mail.test:2525",
                "[mail.test]:2525",
            ],
        ),
        ("lmtp:/run/x.sock", ["/run/x.sock", "lmtp:/run/x.sock"]),
    ],
)
def test_a_next_hop_may_be_written_in_many_ways(key: str, written: list[str]) -> None:
    entry = Entry(1, State.DEFERRED, queued(target("a@y.test", hop=key)))
    for text in written:
        assert Filter(hop=text).takes(entry), text
    for text in ("test", "mail", "smtp", "", "2525"):
        assert not Filter(hop=text).takes(entry), text


def test_the_next_hop_is_asked_of_whoever_knows() -> None:
    entry = Entry(1, State.DEFERRED, queued(target("a@y.test", hop="smtp:old.test")))
    assert Filter(hop="new.test").takes(entry, lambda queued, target: "smtp:new.test")
    moved = Entry(1, State.DEFERRED, queued(target("a@y.test"), via="smtp:there.test"))
    assert Filter(hop="there.test").takes(moved)


def test_who_is_worked_on_is_active() -> None:
    async def case() -> None:
        store = MemoryStore()
        one = await enter(store, target("a@y.test"))
        two = await enter(store, target("a@y.test"))
        sight = Sight(frozenset((one, 99)))
        assert await ids(store, sight, state=State.ACTIVE) == [one]
        assert await ids(store, sight, state=State.DEFERRED) == [two]
        shown = await selection.show(store, one, sight.active)
        assert shown is not None
        assert (shown.state, shown.queued.state) == (State.ACTIVE, State.DEFERRED)
        assert await selection.show(store, 99) is None

    run(case())


def test_those_that_are_named_must_fit_too() -> None:
    async def case() -> None:
        store = MemoryStore()
        one = await enter(store, target("a@y.test"))
        two = await enter(store, target("b@z.test"))
        wanted = Filter(domain="z.test")
        found = [e.id async for e in selection.named(store, [one, two, 99], wanted)]
        assert found == [two]

    run(case())


def test_one_that_cannot_be_read_hides_no_other() -> None:
    async def case() -> None:
        store = MemoryStore()
        one = await enter(store, target("a@y.test"))
        await store.commit(keys.QUEUE, puts=[(keys.queued(one + 1), b"\xc1 rot")])
        damaged: list[int] = []
        sight = Sight(damaged=damaged.append)
        assert await ids(store, sight, sender="@x.test") == [one]
        assert damaged == [one + 1]

    run(case())


# The sieve: what the filter takes passes it

NAMES: Final = st.sampled_from(
    ["a@y.test", "A@Y.test", "b@z.test", "", "é@ü.test", "a@\u212a.test", "a@k.test"]
)
WORDS: Final = st.sampled_from(["451 busy", "", "KÖLN", "x" * 40, "550 5.1.1 No"])
NUMBERS: Final = st.sampled_from([0, 1, 127, 128, 300, 70_000, 2**33])
TARGETS: Final = st.builds(
    Target,
    *(NAMES, NAMES, st.sampled_from([0, 1, 2]), NUMBERS, NUMBERS, WORDS, WORDS),
)
ENTRIES: Final = st.builds(
    Queued,
    st.builds(
        Envelope,
        *(NAMES, st.lists(st.builds(Recipient, NAMES), max_size=20).map(tuple)),
        NUMBERS,
        login=WORDS,
        priority=st.integers(-9, 9),
    ),
    *(NUMBERS, st.sampled_from(list(moves.LETTERS)), NUMBERS),
    st.lists(TARGETS, max_size=20).map(tuple),
    done=st.lists(st.integers(0, 2**40), max_size=3).map(tuple),
    via=st.sampled_from(["", "smtp:[mail.test]:2525"]),
)
FILTERS: Final = st.builds(
    Filter,
    sender=st.none() | NAMES | st.sampled_from(["@y.test", "@ü.test"]),
    recipient=st.none() | NAMES | st.sampled_from(["@y.test", "@test", "@k.test"]),
    domain=st.none() | st.sampled_from(["y.test", "Z.test", "ü.test", "k.test"]),
    error=st.none() | WORDS | st.sampled_from(["BUSY", "köln", "5.1"]),
    attempts=NUMBERS,
    state=st.none() | st.sampled_from(list(moves.LETTERS)),
    before=st.none() | NUMBERS,
    since=st.none() | NUMBERS,
    larger=st.none() | NUMBERS,
    smaller=st.none() | NUMBERS,
)


def passes(wanted: Filter, value: bytes) -> bool:
    return Sieve(wanted).fits(value)


@settings(max_examples=500)
@given(ENTRIES, FILTERS)
def test_what_the_filter_takes_passes_the_sieve(entry: Queued, wanted: Filter) -> None:
    taken = wanted.takes(Entry(1, entry.state, entry))
    through = passes(wanted, encode_queued(entry))
    assert through or not taken


@given(ENTRIES.filter(lambda e: str(e).isascii()), FILTERS)
def test_of_ascii_the_sieve_lets_nothing_else_through(
    entry: Queued, wanted: Filter
) -> None:
    texts = (wanted.sender, wanted.recipient, wanted.domain, wanted.error)
    if all(text is None or (text.isascii() and text) for text in texts):
        taken = wanted.takes(Entry(1, entry.state, entry))
        assert passes(wanted, encode_queued(entry)) == taken


def surveyed(wanted: Filter, value: bytes, *active: int) -> Survey | None:
    """What is counted of one entry without decoding it; None: it must be decoded."""
    found = Survey()
    rows = [(keys.queued(7), value)]
    left = Sieve(wanted).survey(rows, active, found)
    assert left in ([], rows)
    found.end()
    return None if left else found


@settings(max_examples=500)
@given(ENTRIES, FILTERS)
def test_what_is_counted_undecoded_is_what_the_filter_takes(
    entry: Queued, wanted: Filter
) -> None:
    found = surveyed(wanted, encode_queued(entry))
    ours = Survey()
    if wanted.takes(Entry(7, entry.state, entry)):
        ours.add(Entry(7, entry.state, entry))
    assert found in (None, ours)
    texts = (wanted.sender, wanted.recipient, wanted.domain, wanted.error)
    plain = all(text is None or (text.isascii() and text) for text in texts)
    if plain and str(entry).isascii() and moves.destinations(entry):
        assert found == ours  # nearly all are of this kind


@given(ENTRIES, FILTERS, st.data())
def test_what_is_not_whole_is_not_counted(
    entry: Queued, wanted: Filter, data: st.DataObject
) -> None:
    whole = encode_queued(entry)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    for value in (cut, whole + b"\xc0", b"\x95" + whole):
        found = surveyed(wanted, value)
        assert found is None or not found.ids


def test_who_is_worked_on_is_counted_by_who_decodes() -> None:
    value = encode_queued(queued(target("a@y.test")))
    assert surveyed(Filter(), value, 7) is None
    assert surveyed(Filter(state=State.ACTIVE), value) is None
    assert surveyed(Filter(hop="y.test"), value) is None  # who has no table
    long = "d" * 70 + ".test"
    for address in (f"a@{long}", "a@\0.test", "a@\u00fc.test"):
        assert surveyed(Filter(), encode_queued(queued(target(address)))) is None


def test_a_survey_is_what_the_entries_come_to() -> None:
    async def case() -> None:
        store = MemoryStore()
        for n in range(5):
            await enter(
                store, target(f"a@y{n % 2}.test"), target("b@Z.test"), arrived=n
            )
        await enter(store, target("c@\u00fc.test"), arrived=9)
        await store.commit(keys.QUEUE, puts=[(keys.queued(99), b"\xc1 rot")])
        active = frozenset([1])
        for wanted in (Filter(), Filter(domain="z.test"), Filter(state=State.ACTIVE)):
            damaged: list[int] = []
            sight = Sight(active, damaged=damaged.append)
            ours, found = Survey(), Survey()
            async for entry in selection.entries(store, wanted, sight):
                ours.add(entry)
            await selection.survey(store, wanted, found, sight)
            assert found == ours
        assert damaged == []

    run(case())


@given(st.binary(max_size=80), FILTERS)
def test_what_is_no_entry_is_for_the_filter_to_say(data: bytes, wanted: Filter) -> None:
    passes(wanted, data)
    passes(wanted, b"\x95" + data)


@given(ENTRIES, FILTERS, st.data())
def test_an_entry_that_is_cut_is_not_read_past_its_end(
    entry: Queued, wanted: Filter, data: st.DataObject
) -> None:
    whole = encode_queued(entry)
    passes(wanted, whole[: data.draw(st.integers(0, len(whole) - 1))])


HOPS: Final = st.sampled_from(["smtp:y.test", "smtp:z.test", "smtp:[mail.test]:2525"])


@settings(max_examples=300)
@given(
    ENTRIES,
    st.dictionaries(st.sampled_from(["y.test", "Y.test", "z.test", "k.test"]), HOPS),
    st.booleans(),
    FILTERS,
    st.sampled_from(["y.test", "z.test", "mail.test", "nowhere.test"]),
)
def test_what_goes_to_a_next_hop_passes_the_sieve(
    entry: Queued, table: dict[str, str], by_sender: bool, wanted: Filter, hop: str
) -> None:
    """The sieve is told by domain, or by domain and sender where that decides."""

    def at(domain: str, sender: str | None) -> str | None:
        if by_sender and sender is None:
            return None
        return table.get(domain, f"smtp:{sender}" if by_sender else "smtp:else.test")

    def of(queued: Queued, target: Target) -> str:
        path = queued.envelope.reverse_path if by_sender else None
        return queued.via or at(target.address.rpartition("@")[2], path) or ""

    wanted = replace(wanted, hop=hop)
    sight = Sight(hop_of=of, hop_at=at)
    fits = Sieve(wanted, selection._leads_at(hop, sight)).fits(encode_queued(entry))
    taken = wanted.takes(Entry(1, entry.state, entry), of)
    assert fits or not taken


def test_the_table_is_asked_once_for_each_domain_and_sender() -> None:
    asked: list[tuple[bytes, bytes | None]] = []

    def leads(domain: bytes, sender: bytes | None) -> bool | None:
        asked.append((domain, sender))
        return None if domain == b"z.test" and sender is None else domain == b"y.test"

    fits = Sieve(Filter(hop="any"), leads).fits
    values = [
        encode_queued(queued(target(address), sender=sender))
        for address in ("a@y.test", "a@w.test", "a@z.test")
        for sender in ("s@x.test", "t@x.test", "s@x.test")
    ]
    assert [fits(value) for value in values] == [True] * 3 + [False] * 6
    z = b"z.test"
    assert asked == [
        *((b"y.test", None), (b"w.test", None), (z, None)),
        *((z, b"s@x.test"), (z, b"t@x.test")),
    ]
    assert fits(encode_queued(queued(target("a@w.test"), via="smtp://there")))


def test_the_sieve_looks_at_the_state_it_rests_in() -> None:
    value = encode_queued(queued(target("a@y.test"), state=State.HOLD))
    assert Sieve(Filter(state=State.HOLD)).fits(value)
    assert Sieve(Filter(state=State.ACTIVE)).fits(value)  # only the keeper knows
    assert not Sieve(Filter(state=State.DEFERRED)).fits(value)


def test_trouble_of_who_is_asked_is_told() -> None:
    def leads(domain: bytes, sender: bytes | None) -> bool | None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Sieve(Filter(hop="any"), leads).fits(encode_queued(queued(target("a@y.test"))))


def test_a_sieve_without_a_wish_lets_all_through() -> None:
    value = encode_queued(queued(target("a@y.test")))
    assert Sieve(Filter()).fits(value)
    assert Sieve(Filter(domain="y.test")).fits(value)
    assert not Sieve(Filter(domain="z.test")).fits(value)
    assert not Sieve(Filter(sender="")).fits(value)
