"""The name of a client: believed only if it leads back, and if it is one."""

import asyncio
from typing import Any

import pytest
from fakes import FakeResolver

from fastsmtp.errors import DnsTrouble, NoData
from fastsmtp.policy.names import confirmed_name

POINTER = "7.2.0.192.in-addr.arpa"
HERE = ("192.0.2.1", "192.0.2.7")


@pytest.mark.parametrize(
    ("names", "addresses", "found"),
    [
        (("mx.a.test",), {"mx.a.test": HERE}, "mx.a.test"),
        (("mx.a.test",), {"mx.a.test": ("192.0.2.8",)}, ""),
        (("mx.a.test",), {}, ""),
        (("mx.a.test",), {"mx.a.test": NoData("x")}, ""),
        (("no.test", "mx.a.test"), {"mx.a.test": HERE}, "mx.a.test"),
        (("1.a", "2.a", "3.a", "mx.a.test"), {"mx.a.test": HERE}, ""),
        (("broken.test", "mx.a.test"), {"mx.a.test": HERE}, "mx.a.test"),
        (("evil (by\r\nme).test",), {"evil (by\r\nme).test": HERE}, ""),
        (("dotless",), {"dotless": HERE}, ""),
        (("x" * 300 + ".test",), {"x" * 300 + ".test": HERE}, ""),
    ],
)
def test_forward_and_back(names: Any, addresses: dict[str, Any], found: str) -> None:
    answers: dict[tuple[str, str], Any] = {("PTR", POINTER): names}
    answers |= {("A", name): said for name, said in addresses.items()}
    answers["A", "broken.test"] = DnsTrouble("x")
    assert asyncio.run(confirmed_name(FakeResolver(answers), "192.0.2.7")) == found


def test_ipv6_in_any_spelling() -> None:
    pointer = ".".join("7" + "0" * 23 + "8bd01002") + ".ip6.arpa"
    answers = {
        ("PTR", pointer): ("mx.a.test",),
        ("AAAA", "mx.a.test"): ("2001:0DB8:0::7",),
    }
    assert asyncio.run(confirmed_name(FakeResolver(answers), "2001:db8::7")) == (
        "mx.a.test"
    )


@pytest.mark.parametrize("broken", [("PTR", POINTER), ("A", "mx.a.test")])
def test_trouble_is_not_no_name(broken: tuple[str, str]) -> None:
    answers: dict[tuple[str, str], Any] = {("PTR", POINTER): ("mx.a.test",)}
    answers[broken] = DnsTrouble("no answer")
    with pytest.raises(DnsTrouble):
        asyncio.run(confirmed_name(FakeResolver(answers), "192.0.2.7"))
