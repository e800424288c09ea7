"""A real server and its policy: two client networks of loopback, a real name server."""

import asyncio
import contextlib
import smtplib
import socket
from pathlib import Path

import pytest
from crash.kill_rig import USER, prepared, until
from nameserver import Zone, a, ptr, serving, txt

from fastsmtp_bench.served import Served

pytestmark = pytest.mark.slow
FEW = "max_connections = 100\nmax_connections_per_network = 1000\n"
GREEDY, MODEST = ("127.0.0.2", 0), ("127.0.0.3", 0)


@pytest.mark.parametrize("mode", ["one", "split"])
def test_one_network_takes_all_it_can_and_another_gets_in_at_once(
    tmp_path: Path, mode: str
) -> None:
    served = Served(tmp_path, mode="one" if mode == "one" else "split", smtp=FEW)
    served.configure()
    served.start()
    place = ("127.0.0.1", served.port)
    try:
        until(served.ready, "ready")
        with contextlib.ExitStack() as stack:
            said = []
            for _ in range(200):
                client = socket.create_connection(place, 10, GREEDY)
                said.append(stack.enter_context(client).recv(100)[:10])
            assert said.count(b"421 4.3.2 ") >= 115
            assert 75 <= sum(line.startswith(b"220 ") for line in said) <= 85
            for _ in range(5):
                client = socket.create_connection(place, 1, MODEST)
                assert stack.enter_context(client).recv(100).startswith(b"220 ")
        overload = 'result="overload"} '
        lines = [x for x in served.read_metrics().splitlines() if overload in x]
        assert sum(float(line.split()[-1]) for line in lines) >= 115
    finally:
        served.stop()


POSTMASTER = "postmaster@example.test"
MORE = """\
[policy]
trusted_networks = []
reverse_dns = true

[dns]
servers = ["{server}"]

[dnsbl."zen.example.net"]
"""
ZONE: Zone = {
    ("A", "2.0.0.127.zen.example.net"): [a("127.0.0.2")],
    ("TXT", "2.0.0.127.zen.example.net"): [txt(b"Listed for the test")],
    ("PTR", "3.0.0.127.in-addr.arpa"): [ptr("mx.client.test")],
    ("A", "mx.client.test"): [a("127.0.0.3")],
}


def test_a_listed_client_and_one_with_a_name(tmp_path: Path) -> None:
    def dialogue(served: Served, address: tuple[str, int]) -> tuple[int, bytes]:
        with smtplib.SMTP(
            "127.0.0.1", served.port, timeout=10, source_address=address
        ) as client:
            client.ehlo("client.test")
            client.mail("a@client.test")
            answer: tuple[int, bytes] = client.rcpt(POSTMASTER)
            assert answer[0] == 250
            return client.rcpt(USER)

    async def test() -> None:
        async with serving(ZONE) as server:
            more = MORE.format(server=server.address)
            served = await asyncio.to_thread(prepared, tmp_path, more=more)
            words = ("user", "add", POSTMASTER, "--password-stdin")
            await asyncio.to_thread(served.command, *words, given="secret1secret")
            await asyncio.to_thread(served.start)
            try:
                code, said = await asyncio.to_thread(dialogue, served, GREEDY)
                assert (code, said) == (554, b"5.7.1 Refused: Listed for the test")
                code, said = await asyncio.to_thread(dialogue, served, MODEST)
                assert code == 250
            finally:
                await asyncio.to_thread(served.stop)
            log = served.log.read_text()
            assert '"lists":"zen.example.net=1"' in log
            assert '"name":"mx.client.test"' in log
            assert '"reason":"dnsbl"' in log

    asyncio.run(test())
