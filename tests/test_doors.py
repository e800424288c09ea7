"""Sockets by kind and address: how receivers share them, and what a reload changes."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from socket import create_server
from types import SimpleNamespace
from typing import cast

import pytest

from fastsmtp.config import Config
from fastsmtp.doors import Doors, sort_inherited, why_not
from fastsmtp.net.listener import CannotListen
from fastsmtp_bench.served import free_port


def config(smtp: list[str], metrics: str = "", **more: list[str]) -> Config:
    return cast(
        Config,
        SimpleNamespace(
            listeners={"smtp": smtp, **more}, metrics=SimpleNamespace(listen=metrics)
        ),
    )


LOOP = "127.0.0.1:0"


@pytest.fixture
def taken() -> Iterator[str]:
    with create_server(("127.0.0.1", 0)) as sock:
        yield f"127.0.0.1:{sock.getsockname()[1]}"


def free() -> str:
    return f"127.0.0.1:{free_port()}"


def numbers(place: dict[str, list[socket.socket]]) -> list[int]:
    return [sock.fileno() for sock in place["smtp"]]


@pytest.mark.parametrize(("bound", "receivers"), [(3, 3), (3, 1), (3, 2), (1, 4)])
def test_every_socket_has_a_receiver_and_every_receiver_a_socket(
    bound: int, receivers: int
) -> None:
    with closing(Doors(config([LOOP]), bound)) as doors:
        every = {
            fd for place in doors.places(config([LOOP]), bound) for fd in numbers(place)
        }
        places = [numbers(place) for place in doors.places(config([LOOP]), receivers)]
        assert len(every) == bound
        assert {fd for place in places for fd in place} == every
        assert all(places)


def test_kinds_and_metrics_are_apart() -> None:
    wanted = config([LOOP], LOOP, submission=[LOOP])
    with closing(Doors(wanted, 2)) as doors:
        first, second = doors.places(wanted, 2)
        assert [len(first[kind]) for kind in ("smtp", "submission")] == [1, 1]
        assert not set(numbers(first)) & set(numbers(second))
        assert len(doors.watch) == 1
        assert "(submission)" in doors.addresses


def test_receivers_share_a_unix_socket(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/lmtp"
    wanted = config([LOOP], lmtp=[address])
    with closing(Doors(wanted, 3)) as doors:
        places = doors.places(wanted, 3)
        assert len({sock.fileno() for place in places for sock in place["lmtp"]}) == 1
        assert f"{address} (lmtp)" in doors.addresses
        inherited = sort_inherited(wanted, [("any", places[0]["lmtp"][0])])
        assert list(inherited) == ["lmtp"]


def test_what_a_reload_adds_is_bound_and_what_it_drops_is_closed() -> None:
    one, other = free(), free()
    both = config([one, other])
    with closing(Doors(config([one]), 1)) as doors:
        (kept,) = numbers(doors.places(config([one]), 1)[0])
        opened = doors.open_more(both)
        assert opened == [("smtp", other)]
        assert kept in numbers(doors.places(both, 1)[0])
        (left,) = doors.places(config([other]), 1)[0]["smtp"]
        doors.shut_others(config([other]))
        assert left.getsockname()[1] == int(other.rpartition(":")[2])
        with pytest.raises(OSError, match=r"[Bb]ad"):
            os.fstat(kept)


def test_a_reload_that_cannot_bind_changes_nothing(taken: str) -> None:
    with closing(Doors(config([LOOP]), 1)) as doors:
        before = numbers(doors.places(config([LOOP]), 1)[0])
        with pytest.raises(CannotListen, match="another process"):
            doors.open_more(config([LOOP, free(), taken]))
        assert numbers(doors.places(config([LOOP]), 1)[0]) == before


def test_a_port_that_root_would_need_asks_for_a_restart() -> None:
    assert "restart the server" in why_not(CannotListen(13, "cannot listen on x"))
    assert why_not(CannotListen(98, "it is taken")) == "it is taken"


def test_what_systemd_opened_takes_the_place_of_what_is_configured(taken: str) -> None:
    with create_server(("127.0.0.1", 0)) as given:
        doors = Doors(config([taken]), 4, {"smtp": [given]})
        assert [numbers(p) for p in doors.places(config([taken]), 4)] == [
            [given.fileno()]
        ] * 4
        assert doors.open_more(config([taken])) == []
        doors.shut_others(config([taken]))
        assert numbers(doors.places(config([taken]), 1)[0]) == [given.fileno()]
        doors.close()


def test_a_socket_is_known_by_its_name_or_by_its_port() -> None:
    with create_server(("127.0.0.1", 0)) as one, create_server(("127.0.0.1", 0)) as two:
        port = one.getsockname()[1]
        wanted = config([f"0.0.0.0:{port}"], submission=[])
        found = sort_inherited(wanted, [("fastsmtp.socket", one), ("submission", two)])
        assert found == {"smtp": [one], "submission": [two]}
        with pytest.raises(OSError, match="FileDescriptorName"):
            sort_inherited(wanted, [("unknown", two)])


def test_no_door_stays_open_when_one_cannot_be_opened(taken: str) -> None:
    first = free()
    with pytest.raises(CannotListen, match="another process listens there"):
        Doors(config([first, taken]), 2)
    create_server(("127.0.0.1", int(first.rpartition(":")[2]))).close()


def test_a_socket_that_mixes_families_is_refused() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with (
        socket.create_server(
            ("::", 0), family=socket.AF_INET6, dualstack_ipv6=True
        ) as sock,
        pytest.raises(OSError, match="ipv6-only"),
    ):
        sort_inherited(config([]), [("smtp", sock)])
