"""The compiled way of plain mail writes what the readable way writes."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastsmtp.cells import fresh
from fastsmtp.delivery import counts
from fastsmtp.delivery.inboxes import Inboxes
from fastsmtp.delivery.local import LocalDelivery
from fastsmtp.delivery.route import Destination, Elsewhere, NoUser, Route
from fastsmtp.mailbox.mailbox import INBOX
from fastsmtp.mailbox.values import AccountHead, Mailbox, encode
from fastsmtp.policy.recipients import Local, Unknown
from fastsmtp.queue import counts as events
from fastsmtp.queue.message import (
    Envelope,
    Filing,
    Recipient,
    decode_queued,
    encode_envelope,
)
from fastsmtp.store import keys
from fastsmtp.store.base import Kind, Record, Writes, added

PARTS = {name: keys.FIRST_ACCOUNT + n for n, name in enumerate("abcd")}
FAR = {
    "x@far.test": ("", "x@far.test"),
    "x@FAR.test": ("", "x@FAR.test"),
    "é@other.test": ("", "é@other.test"),
    "forwarded": ("", "x@far.test"),
    "both": ("b", "x@far.test"),
}
"""Names of accounts and the address to which it is sent as well."""
GONE = 99  # an address leads there, and nobody is there
ALIASES = {"all": "abc", "two": "bd", "a": "a", "b": "b", "c": "c", "d": "d", "é": "a"}
CLOCK = 1_700_000_005.0
PLAIN = ["s@x", [["a"]], 5, 0, "7BIT", "", "", None, True, True, "", "", "", ""]


class TownRoute(Route):
    """Names of one letter are accounts."""

    def __init__(self) -> None:
        self.known = {}

    def _find(self, address: str) -> tuple[Destination, ...]:
        if address == "lost":
            return (Destination(GONE, address),)
        if address in FAR:
            names, there = FAR[address]
            here = tuple(Destination(PARTS[name], name) for name in names)
            raise Elsewhere(here, (there,))
        if address not in ALIASES:
            raise NoUser("no such user here")
        found = tuple(Destination(PARTS[name], name) for name in ALIASES[address])
        self.known[address] = found
        return found


Values = dict[tuple[int, bytes], bytes]


def village() -> Values:
    values: Values = {}
    for part in PARTS.values():
        head = AccountHead(modseq=part % 5, next_email=part, octets=2**31)
        values[part, keys.HEAD] = encode(head)
        values[part, keys.mailbox(INBOX)] = encode(
            Mailbox("INBOX", part, uidnext=100, role="inbox", messages=3)
        )
        values[part, keys.mailbox(6)] = encode(Mailbox("Archive", 3))
    return values


class Town:
    """A keeper of both kinds and what it has written."""

    def __init__(self, quick: bool) -> None:
        self.values = village()
        self.deliveries, self.events = fresh(counts.CELLS), fresh(events.CELLS)
        self.apply = LocalDelivery(
            TownRoute(), self.deliveries, self.events, clock=lambda: CLOCK
        )
        self.quick: Inboxes | None = self.apply.quick if quick else None
        self.taken = 0

    def put(self, part: int, key: bytes, value: bytes) -> None:
        self.values[part, key] = value

    def read(self, part: int, key: bytes) -> bytes | None:
        return self.values.get((part, key))

    def add(self, writes: Writes) -> None:
        for part, adds in writes.adds.items():
            for key, by in adds.items():
                value = added(self.values.get((part, key)), by)
                assert value is not None
                self.put(part, key, value)

    def readable(self) -> dict[tuple[int, bytes], Any]:
        """What is written, entries of the queue decoded: the compiled way leaves out
        what has its default."""
        return {
            (part, key): decode_queued(value)
            if part == keys.QUEUE and key[:1] == b"m"
            else value
            for (part, key), value in self.values.items()
        }

    def transact(self, messages: list[tuple[int, bytes, int]]) -> list[Any]:
        """Apply them in one transaction; the references each makes, or its error."""
        if self.quick is not None:
            self.quick.begin(self.read, self.put)
        told = [self.one(*message) for message in messages]
        if self.quick is not None:
            writes = self.quick.end()
            for part, key, value in writes.puts:
                self.put(part, key, value)
            self.add(writes)
        return told

    def one(self, id: int, envelope: bytes, length: int) -> Any:
        if self.quick is not None and (refs := self.quick.take(id, envelope, length)):
            self.taken += 1
            return refs
        try:
            writes = self.apply(Record(id, Kind.MAIL, envelope, length), self.read)
        except Exception as error:
            return type(error)
        for part, key, value in writes.puts:
            self.put(part, key, value)
        self.add(writes)
        return writes.refs


def both(transactions: list[list[tuple[int, bytes, int]]]) -> Town:
    """Apply in both ways and compare everything; gives the quick town."""
    quick, plain = Town(True), Town(False)
    for messages in transactions:
        assert quick.transact(messages) == plain.transact(messages)
        assert quick.readable() == plain.readable()
    counted = counts.DELAYED.end
    assert quick.deliveries[:counted] == plain.deliveries[:counted]
    for of in (counted, counted + 1):  # exemplars: ids, values; not the time of day
        assert quick.deliveries[of::3] == plain.deliveries[of::3]
    assert quick.events == plain.events
    told: list[Any] = []
    for town in (quick, plain):
        town.apply.entered = lambda names: told.append(set(names))
        town.apply.committed()
    assert len(told) in (0, 2)
    assert told[:1] == told[1:]
    return quick


def mail(*to: str, arrived: int = 1_700_000_000_000, **more: Any) -> bytes:
    recipients = tuple(Recipient(name) for name in to)
    return encode_envelope(Envelope("s@x", recipients, arrived, **more))


_names = st.sampled_from([*ALIASES, *FAR, "nobody", "lost"])
_numbers = st.integers(0, 2**63 - 1) | st.sampled_from(
    [n + d for n in (0x80, 0x100, 0x10000, 2**32) for d in (-1, 0)]
)
_filings = st.none() | st.builds(
    Filing,
    account=st.sampled_from([*PARTS.values(), GONE]),
    mailbox=st.sampled_from([INBOX, 6, 7]),
    flags=st.integers(0, 15),
    deleted=st.booleans(),
)
_texts = st.text(max_size=40) | st.just("x" * 300)
_recipients = st.builds(Recipient, _names) | st.builds(
    Recipient, _names, st.sampled_from(["", "NEVER"]), st.just("rfc822;a@b")
)
_envelopes = st.builds(
    Envelope,
    reverse_path=_texts,
    recipients=st.lists(_recipients, max_size=20).map(tuple),
    arrived=st.integers(0, 2**50),
    body=st.sampled_from(["7BIT", "8BITMIME"]),
    skip=st.integers(0, 2**20),
    client=_texts,
    helo=st.just("mx.example.test"),
    filing=_filings | st.none(),
    smtputf8=st.booleans(),
    requiretls=st.booleans(),
    ret=st.sampled_from(["", "HDRS"]),
    envid=_texts,
    login=st.sampled_from(["", "a@b.test"]),
    priority=st.sampled_from([0, 0, 4]),
    by=st.sampled_from([0, 0, 7]),
    release=st.sampled_from([0, 0, 2**41, 2**50]),
).map(encode_envelope)
_messages = st.tuples(_numbers, _envelopes, _numbers.filter(lambda n: n < 2**50))


@given(st.lists(st.lists(_messages, max_size=8), max_size=4))
def test_both_ways_write_the_same(
    transactions: list[list[tuple[int, bytes, int]]],
) -> None:
    both(transactions)


@given(
    _envelopes,
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=3),
)
def test_damaged_envelopes_are_left_to_the_readable_way(
    envelope: bytes, damage: list[tuple[int, int]]
) -> None:
    data = bytearray(envelope)
    for place, octet in damage:
        data[place % len(data)] = octet
    both([[(1, bytes(data), 10), (2, mail("a"), 11)]])
    for cut in range(0, len(envelope), 7):
        both([[(1, envelope[:cut], 10)]])
    both([[(1, envelope + b"\xc0", 10)]])


def test_plain_mail_is_taken() -> None:
    town = both(
        [[(n, mail(*to), n) for n, to in enumerate(["a", "aab", ("all", "b"), "bcd"])]]
    )
    assert town.taken == 4


def test_plain_mail_for_other_servers_is_taken() -> None:
    far = ("x@far.test", "x@FAR.test", "x@far.test", "é@other.test")
    later = 1_700_000_000_000 + 60_000
    town = both(
        [
            [(n, mail(*to), n) for n, to in enumerate([far[:1], far, "a", far], 1)],
            [(9, mail(*far, arrived=later), 5), (10, mail("x@far.test"), 6)],
        ]
    )
    assert town.taken == 6
    queued = town.readable()[keys.QUEUE, keys.queued(2)]
    assert [target.address for target in queued.targets] == [far[0], far[1], far[3]]
    assert town.values[keys.QUEUE, keys.destination("far.test")][:8] == keys.u64(5)


@pytest.mark.parametrize(
    "to", [("forwarded",), ("both",), ("a", "x@far.test"), ("x@far.test", "nobody")]
)
def test_mail_in_two_ways_is_left_to_the_readable_one(to: tuple[str, ...]) -> None:
    town = both([[(1, mail("x@far.test"), 5), (2, mail(*to), 6)]])
    assert town.taken == 1


def test_entries_of_a_transaction_that_is_given_up_are_made_again() -> None:
    town, quiet = Town(True), Town(True)
    quick = town.apply.quick
    quick.begin(town.read, town.put)
    assert quick.take(1, mail("x@far.test"), 5) == 1  # and now it is given up
    for one in (town, quiet):
        one.transact([(1, mail("x@far.test"), 5)])
    assert town.values == quiet.values


def test_a_minute_without_a_counter_is_left_to_the_readable_way() -> None:
    late = 2**32 * 60_000
    assert both([[(1, mail("x@far.test", arrived=late - 1), 5)]]).taken == 1
    assert both([[(1, mail("x@far.test", arrived=late), 5)]]).taken == 0


@pytest.mark.parametrize(
    "fields",
    [
        ["s@x", [["a"]], 5],
        ["s@x", [["a"]], 5, 0, "7BIT", "", ""],
        ["s@x", [["a", "", "", 0]], 5, 0, "7BIT", "", "", None, False, False],
        [*("s@x", [["a"]], 5, 0, "7BIT", "", "", None, True, True), "HDRS", "Q1", "b"],
        [*PLAIN, 0, 0, 0, "", []],
        [*("s@x", [["a"]], 5, 0, "7BIT", "", "", None, True, True), "", "", "", "a@b"],
    ],
)
def test_fields_that_say_nothing_are_plain(fields: list[Any]) -> None:
    assert both([[(1, encode(fields), 5)]]).taken == 1


@pytest.mark.parametrize(
    "fields",
    [
        ["s@x", [["a", "never"]], 5],
        ["s@x", [["a", 1]], 5],
        ["s@x", [["a", "", None]], 5],
        ["s@x", [["a"]], 5, 0, "7BIT", "", "", False],
        ["s@x", [["a"]], 5, 0, "7BIT", "", "", None, 1],
        ["s@x", [["a"]], 5, 0, "7BIT", "", "", None, False, "full"],
        [*("s@x", [["a"]], 5, 0, "7BIT", "", "", None, True, True), None],
        [*("s@x", [["a"]], 5, 0, "7BIT", "", "", None, True, True), "", "", "", 1],
        [*PLAIN, 1],
        [*PLAIN, ""],
        [*PLAIN, 0, 0, 0, 0],
        [*PLAIN, 0, 2**41],  # released later: nobody has it before, here neither
        [*PLAIN, 0, 0, 2**41, "R"],  # to be there by then
        ["s@x", [], 5],
        ["s@x", [["a"]], -5],
        ["ü@x", [["a"]], 5],
        ["s@x", [["a"], ["nobody"]], 5],
        ["s@x", [["lost"]], 5],
    ],
)
def test_what_says_more_is_not(fields: list[Any]) -> None:
    assert both([[(1, mail("a"), 5), (2, encode(fields), 5)]]).taken == 1


def test_a_uid_has_32_bits() -> None:
    quick, plain = Town(True), Town(False)
    for town in (quick, plain):
        last = encode(Mailbox("INBOX", 5, uidnext=2**32 - 1))
        town.put(PARTS["a"], keys.mailbox(INBOX), last)
    messages = [(n, mail("a", "b"), 5) for n in (1, 2, 3)]
    assert quick.transact(messages) == plain.transact(messages)
    assert quick.values == plain.values
    assert quick.taken == 1


def test_a_transaction_that_is_given_up_leaves_nothing() -> None:
    town = Town(True)
    before = dict(town.values)
    quick = town.apply.quick
    quick.begin(town.read, town.put)
    assert quick.take(1, mail("a"), 5) == 1
    assert town.values == before  # and now it is given up
    quick.begin(town.read, town.put)
    assert quick.take(1, mail("b"), 5) == 1
    quick.end()  # this one is given up after its end
    fresh_town = Town(True)
    for one in (town, fresh_town):
        one.transact([(n, mail("all"), 5) for n in (1, 2)])
    assert town.values == fresh_town.values


def test_changes_of_others_are_seen() -> None:
    """The working copy serves only while the store holds its bytes."""
    quick, plain = Town(True), Town(False)
    for town in (quick, plain):
        town.transact([(1, mail("a"), 5)])
        town.put(PARTS["a"], keys.HEAD, encode(AccountHead(900, 900, 7)))
        town.transact([(2, mail("a"), 5)])
        del town.values[PARTS["a"], keys.HEAD]
        town.transact([(3, mail("a", "b"), 5)])
    assert quick.values == plain.values


def real_route(find: Callable[[str], int]) -> Route:
    def lookup(name: str) -> Any:
        return type("Account", (), {"id": find(name)})

    return Route(
        lambda name: Local((name,)) if find(name) else Unknown(),
        lookup,
    )


def test_a_changed_route_is_asked_again() -> None:
    to = {"a": PARTS["a"]}
    route = real_route(lambda name: to[name])
    town = Town(True)
    inboxes = Inboxes(route, lambda *_: None, lambda: CLOCK, limit=1)

    def parts() -> set[int]:
        inboxes.begin(town.read, town.put)
        assert inboxes.take(1, mail("a"), 5) == 1
        return {part for part, _, _ in inboxes.end().puts}

    assert parts() == {PARTS["a"]}
    to["a"] = PARTS["b"]
    assert parts() == {PARTS["a"]}
    route.changed()
    assert parts() == {PARTS["b"]}
