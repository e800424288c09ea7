"""The stub resolver of the commands, against a server of our own on loopback."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fastsmtp.cli import lookup
from fastsmtp.cli.lookup import NoAnswer, NoSuchName, ask, servers

Reply = Callable[[bytes], bytes]
AT_QUESTION = b"\xc0\x0c"


def answer(
    query: bytes, *records: tuple[int, bytes], code: int = 0, flags: int = 0
) -> bytes:
    head = query[:2] + struct.pack(">5H", 0x8180 | flags | code, 1, len(records), 0, 0)
    body = b"".join(
        AT_QUESTION + struct.pack(">HHIH", kind, 1, 60, len(data)) + data
        for kind, data in records
    )
    return head + query[12:] + body


@contextmanager
def serving(reply: Reply, by_tcp: Reply | None = None) -> Iterator[list[lookup.Server]]:
    with (
        socket.create_server(("127.0.0.1", 0)) as stream,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
    ):
        datagrams.bind(stream.getsockname())

        def answer_datagrams() -> None:
            with contextlib.suppress(OSError):
                while True:
                    query, client = datagrams.recvfrom(1000)
                    if not query:
                        return
                    datagrams.sendto(reply(query), client)

        def answer_streams() -> None:
            with contextlib.suppress(OSError):
                sock, _ = stream.accept()
                with sock:
                    query = sock.recv(1000)[2:]
                    if query and by_tcp is not None:
                        said = by_tcp(query)
                        sock.sendall(len(said).to_bytes(2, "big") + said)

        threads = [
            threading.Thread(target=answer_datagrams),
            threading.Thread(target=answer_streams),
        ]
        for thread in threads:
            thread.start()
        try:
            yield [stream.getsockname()]
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", datagrams.getsockname())
            with contextlib.suppress(OSError):
                socket.create_connection(stream.getsockname()).close()
            for thread in threads:
                thread.join()


def name(text: str) -> bytes:
    labels = (bytes((len(part),)) + part.encode() for part in text.split("."))
    return b"".join(labels) + b"\0"


def test_each_kind_of_record() -> None:
    records = {
        1: (1, bytes((192, 0, 2, 7))),
        28: (28, bytes(15) + b"\1"),
        12: (12, name("MX.example.test")),
    }

    def reply(query: bytes) -> bytes:
        (kind,) = struct.unpack_from(">H", query, len(query) - 4)
        cname = (5, name("elsewhere.test"))
        return answer(query, cname, records[kind])

    with serving(reply) as of:
        assert ask("mx.example.test", "A", of) == ["192.0.2.7"]
        assert ask("mx.example.test", "AAAA", of) == ["::1"]
        assert ask(lookup.reverse("192.0.2.7"), "PTR", of) == ["mx.example.test"]


def test_exchangers_come_in_their_order() -> None:
    def reply(query: bytes) -> bytes:
        second = (15, struct.pack(">H", 20) + name("b.test"))
        first = (15, struct.pack(">H", 5) + b"\x01a" + AT_QUESTION)
        return answer(query, second, first)

    with serving(reply) as of:
        assert ask("example.test", "MX", of) == ["5 a.example.test", "20 b.test"]


def test_no_record_no_name_and_no_mail() -> None:
    with serving(answer) as of:
        assert ask("example.test", "MX", of) == []
    with serving(lambda query: answer(query, code=3)) as of, pytest.raises(NoSuchName):
        ask("example.test", "MX", of)
    with serving(lambda query: answer(query, (15, b"\0\0\0"))) as of:
        assert ask("example.test", "MX", of) == ["0 ."]


def test_a_long_answer_comes_by_tcp() -> None:
    def cut(query: bytes) -> bytes:
        return answer(query, flags=lookup.CUT)

    with serving(cut, lambda query: answer(query, (1, bytes(4)))) as of:
        assert ask("example.test", "A", of) == ["0.0.0.0"]


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (lambda query: answer(query, code=2), "code 2"),
        (lambda query: answer(query, (12, b"\x01a\x00"))[:-1], "no proper answer"),
        (lambda query: answer(query, (12, b"\xc0\xff")), "no proper answer"),
        (lambda query: answer(query, (12, b"\x3fa")), "no proper answer"),
        (lambda query: answer(query, (12, b"\xc0\x2c" * 2)), "no proper answer"),
        (lambda query: answer(query)[:-1] + b"\x00", "no answer in time"),
        (lambda query: b"?" + answer(query)[1:], "no answer in time"),
        (lambda query: query, "no answer in time"),
    ],
)
def test_what_is_no_answer_is_said(
    reply: Reply, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "PATIENCE", 0.02)
    with serving(reply) as of, pytest.raises(NoAnswer, match=why):
        ask("example.test", "PTR", of)


def test_a_silent_server_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "PATIENCE", 0.05)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent,
        serving(lambda query: answer(query, (1, bytes(4)))) as of,
    ):
        silent.bind(("127.0.0.1", 0))
        assert ask("example.test", "A", [silent.getsockname(), *of]) == ["0.0.0.0"]


def test_names_that_are_none() -> None:
    with pytest.raises(NoSuchName):
        ask("x" * 64 + ".test", "A", [])
    with pytest.raises(NoAnswer, match="no name server"):
        ask("example.test", "A", [])


def test_name_servers_of_this_machine(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("search x\nnameserver 192.0.2.1\nnameserver 2001:db8::1\n#\n\n")
    assert servers(file) == [("192.0.2.1", 53), ("2001:db8::1", 53)]
    assert servers(tmp_path / "absent") == [("127.0.0.1", 53)]
