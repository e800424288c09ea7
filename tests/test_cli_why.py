"""`fastsmtp why` as people and programs use it, on files a server left behind."""

import json
from pathlib import Path

import pytest

from fastsmtp.cli import main
from fastsmtp.queue.message import queue_id
from fastsmtp.trace import ring
from fastsmtp.trace.ring import Trace, card

ID = queue_id(7)
Output = pytest.CaptureFixture[str]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "fastsmtp.toml"
    path.write_text(
        'hostname = "mx.example.test"\ndata = "data"\n[domains."example.test"]\n'
    )
    (tmp_path / "data" / "why").mkdir(parents=True, mode=0o700)
    return path


def noted(file: Path, name: str = "all") -> Trace:
    return Trace(str(file.parent / "data" / "why" / name), 1 << 20)


@pytest.fixture
def trace(file: Path) -> Trace:
    """Two messages, one mail that was refused, and a client sent away."""
    trace = noted(file)
    who = card("smtp", "192.0.2.1", "", "c.test", "", "")
    whom = ("s@c.test", "<1@c.test>", "bob@example.test", "\x1b[2Jeve@example.test")
    trace.note(ring.ACCEPTED, 7, (1_000, 1_000, 99, 5, 6, 7, 3), whom, who)
    trace.applied(7, 1, 0)
    trace.moved(8, "held", "by hand")
    no = ("s@c.test", "nobody@example.test", "rcpt", "5.1.1", "x", "No such user", "")
    trace.note(ring.REFUSED, 0, (1_000, 0, 550), no, who)
    trace.note(ring.AWAY, 0, (1_000, 554), ("banned", "5.7.1", "Go away"), who)
    return trace


def test_a_message_is_told_line_by_line(
    file: Path, trace: Trace, capsys: Output
) -> None:
    assert main(["why", "-c", str(file), ID]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == ID
    assert lines[1] == (
        "  1970-01-01T00:00:01.000Z  connected  192.0.2.1 to smtp, HELO c.test"
    )
    words = [line.split()[1] for line in lines[1:] if line]
    assert words == [
        *("connected", "sender", "recipient", "recipient", "recipient"),
        *("received", "durable", "filed"),
    ]
    assert lines[5].endswith("and 1 more")
    assert "\x1b" not in "".join(lines)


def test_programs_get_one_object_for_each_message(
    file: Path, trace: Trace, capsys: Output
) -> None:
    assert main(["why", "-c", str(file), "192.0.2.1", "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(one["id"] for one in told) == ["", "", ID]
    message = next(one["events"] for one in told if one["id"])
    assert message[0] == {
        "time": "1970-01-01T00:00:01.000Z",
        "event": "connected",
        "client": "192.0.2.1",
        "name": "",
        "helo": "c.test",
        "listener": "smtp",
    }
    ends = [one["events"][-1] for one in told if not one["id"]]
    assert {end["code"] for end in ends} == {550, 554}


def test_only_the_latest_are_shown(file: Path, trace: Trace, capsys: Output) -> None:
    for id in range(10, 40):
        trace.moved(id, "held", "")
        trace.note(ring.ATTEMPT, id, (250, 5), ("x@far.test", "far.test", "", "ok"))
    assert main(["why", "-c", str(file), "x@far.test", "--limit", "3"]) == 0
    out = capsys.readouterr().out
    assert queue_id(39) in out
    assert queue_id(36) not in out
    assert "27 earlier ones" in out


def test_nothing_found_says_how_far_back_it_goes(
    file: Path, trace: Trace, capsys: Output
) -> None:
    assert main(["why", "-c", str(file), "carol@example.test"]) == 1
    error = capsys.readouterr().err
    assert "nothing is known of carol@example.test" in error
    assert "what is kept begins at 20" in error
    assert main(["why", "-c", str(file), queue_id(99)]) == 1


def test_without_any_files_it_says_so(file: Path, capsys: Output) -> None:
    assert main(["why", "-c", str(file), ID]) == 1
    assert "nothing is kept in" in capsys.readouterr().err


def test_what_is_older_than_asked_for_is_left_out(
    file: Path, trace: Trace, capsys: Output
) -> None:
    assert main(["why", "-c", str(file), ID, "--since", "1 h"]) == 0
    assert main(["why", "-c", str(file), ID, "--since", "0"]) == 1
    assert main(["why", "-c", str(file), ID, "--since", "soon"]) == 2


@pytest.mark.parametrize("what", ["", "<>", "@", " "])
def test_a_question_needs_something_to_look_for(
    file: Path, trace: Trace, capsys: Output, what: str
) -> None:
    assert main(["why", "-c", str(file), what]) == 2


def test_all_files_are_read(file: Path, trace: Trace, capsys: Output) -> None:
    other = noted(file, "keep")
    other.attempt(7, "bob@example.test", "far.test", "mx.far.test", 250, "ok", 12)
    assert main(["why", "-c", str(file), ID]) == 0
    assert (
        "<bob@example.test> at mx.far.test: 250 ok (12 ms)" in capsys.readouterr().out
    )
