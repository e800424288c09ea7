"""Whom mail for a domain is given to: what the DNS says, and what it cannot say."""

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeResolver, turns_until
from nameserver import FAILURE, a, aaaa, cname, mx, serving

from fastsmtp.errors import DnsTrouble, NoData
from fastsmtp.net import exchangers
from fastsmtp.net.dns import Resolver
from fastsmtp.net.exchangers import (
    ADDRESSES_MOST,
    HOSTS_MOST,
    CannotFind,
    Exchangers,
    Host,
    HostsFile,
    Ours,
    Search,
    has_route,
    in_order,
    is_here,
)
from fastsmtp.net.options import DnsOptions

NONE, TROUBLE = NoData("none"), DnsTrouble("SERVFAIL")


class Book(FakeResolver):
    """A name that has any record has none of the other kinds; `known` says nothing."""

    def __init__(self, answers: dict[tuple[str, str], Any]) -> None:
        names = {name for _, name in answers}
        whole = {(kind, n): NONE for kind in ("MX", "A", "AAAA") for n in names}
        super().__init__(whole | answers)

    def known(self, kind: str, name: str) -> Any:
        return None


def find(
    answers: dict[tuple[str, str], Any],
    name: str = "a.test",
    own: tuple[str, ...] = ("Us.Test.",),
    ours: tuple[tuple[str, int], ...] = (),
    **more: Any,
) -> Exchangers | tuple[int, str]:
    """What is found, or code and status."""

    async def run() -> Exchangers:
        search = Search(
            *(Book(answers), own, lambda *place: place in ours),
            shuffle=lambda things: None,
            reachable=lambda address: True,
        )
        return await search.find(name, **more)

    try:
        return asyncio.run(run())
    except CannotFind as cannot:
        return cannot.code, cannot.enhanced


def hosts(found: Exchangers | tuple[int, str]) -> list[str]:
    assert isinstance(found, Exchangers), found
    return [host.name for host in found.hosts]


A1, A2, A3 = ({("A", f"m{n}.test"): [f"192.0.2.{n}"]} for n in (1, 2, 3))
EQUAL = {("MX", "a.test"): [(10, "m1.test"), (10, "m2.test"), (20, "m3.test")]}
ALL = {**EQUAL, **A1, **A2, **A3}


def test_rfc_18_mx_hosts_come_by_preference_then_by_chance() -> None:
    first = set()
    for seed in range(40):
        search = Search(Book(ALL), shuffle=random.Random(seed).shuffle)
        found = asyncio.run(search.find("A.Test."))
        assert found.hosts[2] == Host("m3.test", ("192.0.2.3",), 20)
        assert found.mx
        first.add(found.hosts[0].name)
    assert first == {"m1.test", "m2.test"}


def test_rfc_18_without_mx_it_is_the_host_itself() -> None:
    found = find({("A", "a.test"): ["192.0.2.1"], ("AAAA", "a.test"): ["2001:db8::1"]})
    host = Host("a.test", ("2001:db8::1", "192.0.2.1"))
    assert found == Exchangers((host,), "a.test", False)


def test_rfc_18_a_null_mx_is_for_ever() -> None:
    null = {("MX", "a.test"): [(0, "")], ("A", "a.test"): ["192.0.2.1"]}
    assert find(null) == (556, "5.1.10")


def test_a_null_mx_beside_others_is_no_host() -> None:
    assert hosts(find({("MX", "a.test"): [(0, ""), (5, "m1.test")], **A1})) == [
        "m1.test"
    ]


@pytest.mark.parametrize(
    ("records", "left"),
    [
        ([(10, "m1.test"), (20, "us.test"), (30, "m2.test")], ["m1.test"]),
        ([(10, "m1.test"), (20, "us.test"), (20, "m2.test")], ["m1.test"]),
        ([(10, "us.test"), (5, "m2.test"), (30, "us.test")], ["m2.test"]),
        ([(10, "us.test"), (10, "m1.test"), (20, "m2.test")], None),
        ([(10, "us.test")], None),
    ],
)
def test_rfc_18_where_we_are_one_of_them_only_better_ones_are_left(
    records: list[tuple[int, str]], left: list[str] | None
) -> None:
    found = find({("MX", "a.test"): records, **A1, **A2})
    if left is None:
        assert found == (554, "5.4.6")
    else:
        assert hosts(found) == left


def test_rfc_18_we_are_known_by_address_and_port_too() -> None:
    ours = (("192.0.2.2", 25),)
    records = {("MX", "a.test"): [(1, "m1.test"), (2, "m2.test"), (3, "m3.test")]}
    answers = {**records, **A1, **A2, **A3}
    assert hosts(find(answers, ours=ours)) == ["m1.test"]
    assert len(hosts(find(answers, ours=ours, port=26))) == 3
    assert find({**records, **A2}, ours=ours) == (554, "5.4.6")
    assert find(A2, "m2.test", ours=ours) == (554, "5.4.6")
    assert find(A2, "m2.test", ours=ours, mx=False) == (554, "5.4.6")
    assert find({}, "192.0.2.2", ours=ours) == (554, "5.4.6")
    assert find({("A", "us.test"): ["192.0.2.9"]}, "us.test") == (554, "5.4.6")


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({}, (550, "5.1.2")),
        ({("MX", "a.test"): NONE}, (550, "5.4.4")),
        ({("MX", "a.test"): TROUBLE}, (451, "4.4.3")),
        ({("MX", "a.test"): TROUBLE, ("A", "a.test"): ["192.0.2.1"]}, (451, "4.4.3")),
        ({("A", "a.test"): TROUBLE}, (451, "4.4.3")),
        (EQUAL, (550, "5.4.4")),
        ({**EQUAL, ("A", "m1.test"): TROUBLE}, (451, "4.4.3")),
        ({**EQUAL, ("AAAA", "m1.test"): TROUBLE}, (451, "4.4.3")),
        # the host that cannot be asked may be the only one there is, beside us
        (
            {
                ("MX", "a.test"): [(1, "m1.test"), (2, "us.test")],
                ("A", "m1.test"): TROUBLE,
            },
            (451, "4.4.3"),
        ),
    ],
)
def test_only_what_is_certain_is_for_ever(
    answers: dict[tuple[str, str], Any], expected: tuple[int, str]
) -> None:
    assert find(answers) == expected


def test_trouble_with_one_host_or_family_leaves_the_others() -> None:
    trouble = {("A", "m1.test"): TROUBLE, ("AAAA", "m2.test"): TROUBLE}
    assert hosts(find({**ALL, **trouble})) == ["m2.test", "m3.test"]


def test_a_host_that_the_operator_names_is_not_looked_up_as_a_domain() -> None:
    answers = {("MX", "m1.test"): [(1, "m2.test")], **A1, **A2}
    found = find(answers, "M1.test", mx=False, port=587)
    assert found == Exchangers((Host("m1.test", ("192.0.2.1",)),), "m1.test")
    assert find({}, "m1.test", mx=False) == (451, "4.3.5")
    assert find({("A", "m1.test"): TROUBLE}, "m1.test", mx=False) == (451, "4.4.3")
    # it may be this machine, where another server listens
    assert hosts(find({("A", "us.test"): ["127.0.0.1"]}, "us.test", mx=False))


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_an_address_is_what_it_is(address: str) -> None:
    found = find({}, address)
    assert found == Exchangers((Host("", (address,)),), f"[{address}]")


def test_what_stands_in_the_dns_is_bounded() -> None:
    records = [(n, f"m{n}.test") for n in range(100)]
    many = [f"192.0.2.{n}" for n in range(100)]
    answers: dict[tuple[str, str], Any] = {("MX", "a.test"): records}
    answers |= {("A", name): many for _, name in records}
    answers |= {("AAAA", name): ["2001:db8::1"] for _, name in records}
    found = find(answers)
    assert isinstance(found, Exchangers)
    assert hosts(found) == [f"m{n}.test" for n in range(HOSTS_MOST)]
    assert all(len(h.addresses) == ADDRESSES_MOST for h in found.hosts)
    assert len(found.group) <= exchangers.GROUP_MOST


def test_questions_at_once_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        book = Book(A1)
        book.held["m1.test"] = asyncio.get_running_loop().create_future()
        search = Search(book)
        asking = [
            asyncio.ensure_future(search.find("m1.test", mx=False)) for _ in range(9)
        ]
        await turns_until(lambda: len(book.asked) == 4)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(book.asked) == 4
        book.held["m1.test"].set_result(None)
        assert len({found.group for found in await asyncio.gather(*asking)}) == 1

    monkeypatch.setattr(exchangers, "UNDER_WAY", 4)
    asyncio.run(run())


def test_domains_with_the_same_hosts_are_one_group() -> None:
    def group(*records: tuple[int, str]) -> str:
        found = find({("MX", "a.test"): records, **A1, **A2})
        assert isinstance(found, Exchangers)
        return found.group

    same = group((10, "m1.test"), (20, "m2.test"))
    assert same == group((5, "m2.test"), (5, "m1.test")) == "m1.test+m2.test"
    assert same != group((10, "m1.test"))


@pytest.mark.parametrize(
    ("addresses", "unreachable", "expected"),
    [
        (["192.0.2.1", "192.0.2.2"], "", ["192.0.2.1", "192.0.2.2"]),
        (
            ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "2001:db8::3"],
            "",
            ["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "2001:db8::3"],
        ),
        (
            ["192.0.2.1", "2001:db8::1", "192.0.2.2"],
            "2001",
            ["192.0.2.1", "192.0.2.2", "2001:db8::1"],
        ),
        (["2001:db8::1"], "2001", ["2001:db8::1"]),
        (["192.0.2.1", "192.0.2.1"], "", ["192.0.2.1"]),
    ],
)
def test_addresses_are_dialled_in_turns(
    addresses: list[str], unreachable: str, expected: list[str]
) -> None:
    def reachable(address: str) -> bool:
        return not (unreachable and address.startswith(unreachable))

    assert list(in_order(addresses, reachable)) == expected


def test_the_machine_knows_its_routes_and_addresses() -> None:
    assert has_route("127.0.0.1")
    assert is_here("127.0.0.1")
    assert not is_here("192.0.2.1")  # TEST-NET-1, which nobody has (RFC 5737)


@pytest.mark.parametrize(
    ("listening", "address", "port", "ours"),
    [
        (("127.0.0.1", 25), "127.0.0.1", 25, True),
        (("127.0.0.1", 25), "127.0.0.1", 2525, False),
        (("127.0.0.1", 25), "127.0.0.2", 25, False),
        (("0.0.0.0", 25), "127.0.0.9", 25, True),
        (("0.0.0.0", 25), "127.0.0.9", 26, False),
        (("0.0.0.0", 25), "192.0.2.1", 25, False),
        (("::", 25), "127.0.0.9", 25, True),
        (("127.0.0.1", 25), "::ffff:127.0.0.1", 25, True),
        (("127.0.0.1", 25), "0.0.0.0", 25, True),  # connecting there comes to us
    ],
)
def test_what_we_listen_on_is_ours(
    listening: tuple[str, int], address: str, port: int, ours: bool
) -> None:
    here = lambda ip: ip.startswith("127.")  # noqa: E731
    assert Ours([listening], here)(address, port) is ours


def test_names_that_the_machine_knows(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    known = HostsFile(str(file))
    assert known("back.test") == ()
    file.write_text("# all\n192.0.2.1 Back.Test back # x\nnonsense\n::1 back\n\n")
    assert known("back.test") == ("192.0.2.1",)
    assert known("BACK") == ("192.0.2.1", "::1")
    file.write_text("192.0.2.2 back.test\n")
    assert known("back.test") == ("192.0.2.2",)

    async def run(mx: bool) -> Exchangers:
        search = Search(Book({("A", "back.test"): ["192.0.2.9"]}), local=known)
        return await search.find("back.test", mx=mx)

    assert asyncio.run(run(False)).hosts[0].addresses == ("192.0.2.2",)
    assert asyncio.run(run(True)).hosts[0].addresses == ("192.0.2.9",)


def with_server(
    zone: dict[Any, Any], test: Callable[[Search, Any], Awaitable[None]]
) -> None:
    async def run() -> None:
        async with serving(zone) as server:
            options = DnsOptions(servers=[server.address], timeout=2.0)
            resolver = Resolver(options)
            try:
                await test(Search(resolver), server)
            finally:
                await resolver.close()

    asyncio.run(run())


def test_a_real_resolver_follows_names_and_is_asked_once() -> None:
    zone = {
        ("MX", "a.test"): [cname("b.test"), mx(10, "m1.test")],
        ("A", "m1.test"): [cname("m9.test"), a("192.0.2.9")],
        ("AAAA", "m1.test"): [cname("m9.test"), aaaa("2001:db8::9")],
        ("MX", "null.test"): [mx(0, "")],
    }

    async def test(search: Search, server: Any) -> None:
        for _ in range(2):
            found = await search.find("a.test")
            (host,) = found.hosts
            assert host.name == "m1.test"
            assert set(host.addresses) == {"192.0.2.9", "2001:db8::9"}
        assert sorted(server.asked) == [
            *(("A", "m1.test"), ("AAAA", "m1.test"), ("MX", "a.test"))
        ]
        for name, code in (("null.test", 556), ("none.test", 550)):
            with pytest.raises(CannotFind) as cannot:
                await search.find(name)
            assert cannot.value.code == code

    with_server(zone, test)


@pytest.mark.parametrize("code", [FAILURE, 1, 4, 5])
def test_no_failure_of_a_server_is_for_ever(code: int) -> None:
    """SERVFAIL, FORMERR, NOTIMP, REFUSED."""

    async def test(search: Search, server: Any) -> None:
        with pytest.raises(CannotFind) as cannot:
            await search.find("a.test")
        assert (cannot.value.code, cannot.value.enhanced) == (451, "4.4.3")

    with_server({("MX", "a.test"): code}, test)


def test_a_server_that_is_not_there_is_not_for_ever() -> None:
    async def run() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        resolver = Resolver(DnsOptions(servers=[f"127.0.0.1:{port}"], timeout=0.2))
        try:
            with pytest.raises(CannotFind) as cannot:
                await Search(resolver).find("a.test")
        finally:
            await resolver.close()
        assert cannot.value.code == 451

    asyncio.run(run())
