"""The benchmark of many destinations: its names, its relay domains, and a small run."""

import shutil
import socket
import struct
from pathlib import Path

import pytest

from fastsmtp_bench.destinations import main, relays
from fastsmtp_bench.names import ADDRESS, answer, names

QUERY = struct.pack(">6H", 4711, 0x0100, 1, 0, 0, 0) + b"\2mx\4test\0"


def asked(kind: int) -> bytes:
    return QUERY + struct.pack(">2H", kind, 1)


@pytest.mark.parametrize(("kind", "records"), [(1, 1), (28, 0), (15, 0)])
def test_every_name_has_one_address(kind: int, records: int) -> None:
    said = answer(asked(kind))
    assert said[:2] == QUERY[:2]
    assert struct.unpack_from(">5H", said, 2) == (0x8180, 1, records, 0, 0)
    assert said[12:].startswith(asked(kind)[12:])
    assert said.endswith(ADDRESS) == bool(records)


def test_it_answers_until_it_is_told_to_end() -> None:
    with names() as place, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        host, _, port = place.partition(":")
        sock.settimeout(10)
        sock.connect((host, int(port)))
        sock.send(asked(1))
        assert sock.recv(512) == answer(asked(1))


def test_the_last_are_dead_each_in_its_way() -> None:
    rows = relays(25, {"a": 1, "b": 2, "c": 3}, 10, 3)
    assert rows.count(':25"') == 7
    assert [rows.count(f':{port}"') for port in (1, 2, 3)] == [1, 1, 1]
    assert 'relay_domains."d0010.far.test"' in rows


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
def test_a_small_run_says_both_times_and_their_ratio(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--messages", "120", "--destinations", "30", "--dead", "0.1"]
    main([*words, "--rounds", "1"])
    without, with_dead, ratio = capsys.readouterr().out.splitlines()
    assert without.startswith("without ")
    assert with_dead.startswith("with ")
    assert ratio.startswith("with 3 dead of 30 / without: ")
