"""The search for mail hosts against a real name server."""

import asyncio

import pytest
from interop.private_dns import private_dns

from fastsmtp.net.dns import Resolver
from fastsmtp.net.exchangers import CannotFind, Exchangers, Search
from fastsmtp.net.options import DnsOptions
from fastsmtp_bench import peers

pytestmark = pytest.mark.slow

ZONE = {
    "a.test": ["MX 20 mx2.a.test.", "MX 10 mx1.a.test."],
    "mx1.a.test": ["A 127.0.0.9", "AAAA ::1"],
    "mx2.a.test": ["A 127.0.0.10"],
    "plain.test": ["A 127.0.0.11"],
    "null.test": ["MX 0 ."],
    "text.test": ['TXT "nothing else"'],
    "refused.test": "REFUSED",
    "silent.test": "SILENT",
}


def test_what_a_real_name_server_says() -> None:
    async def find(search: Search, name: str) -> Exchangers | str:
        try:
            return await search.find(name)
        except CannotFind as cannot:
            return f"{cannot.code} {cannot.enhanced}"

    async def run(server: str) -> dict[str, Exchangers | str]:
        resolver = Resolver(DnsOptions(servers=[server], timeout=2.0))
        search = Search(resolver, reachable=lambda address: True)
        names = [name for name in ZONE if not name.startswith("mx")]
        found = await asyncio.gather(
            *(find(search, name) for name in [*names, "none.test"])
        )
        await resolver.close()
        return dict(zip([*names, "none.test"], found, strict=True))

    try:
        with private_dns(ZONE) as server:
            found = asyncio.run(run(server))
    except peers.Unavailable as why:
        pytest.skip(str(why))
    best = found.pop("a.test")
    assert isinstance(best, Exchangers)
    assert [(host.name, host.addresses) for host in best.hosts] == [
        ("mx1.a.test", ("::1", "127.0.0.9")),
        ("mx2.a.test", ("127.0.0.10",)),
    ]
    plain = found.pop("plain.test")
    assert isinstance(plain, Exchangers)
    assert plain.hosts[0].addresses == ("127.0.0.11",)
    assert found == {
        "null.test": "556 5.1.10",
        "text.test": "550 5.4.4",
        "refused.test": "451 4.4.3",
        "silent.test": "451 4.4.3",
        "none.test": "550 5.1.2",
    }
