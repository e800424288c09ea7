"""The engine's laws: cuts of the input, waiting, memory, counters."""

import random
from typing import Any

import pytest
from fakes import Dialogue, FakeDoor

from fastsmtp.cells import Seen, fresh
from fastsmtp.errors import Misused, Refused, StoreUnavailable
from fastsmtp.smtp import counts
from fastsmtp.smtp.door import PENDING
from fastsmtp.smtp.states import CLOSED, MOVES, TRANSACTION, State

SESSION = (
    b"EHLO client.test\r\n",
    b"mail FROM: <a@client.test> SIZE=30\r\n",
    b"RCPT TO:<bob@example.test>\r\nRCPT TO:<b@>\r\nRCPT TO:<c@x.test>\r\nDATA\r\n",
    b"Subject: x\r\n\r\n..\r\n.a\r\n\r\n.\r\n",
    b"NOOP " + b"x" * 2000 + b"\r\nBARE\nLF\r\nBLURB\r\n\r\n",
    b"MAIL FROM:<>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n",
    b"bare\nLF\r\n.\r\n",
    b"VRFY x\r\nHELP\r\nRSET\r\nQUIT\r\nNOOP\r\n",
)
UNAVAILABLE = Refused(452, "4.3.1", "Later", "store_error")


def run(pieces: list[bytes]) -> tuple[bytes, list[Any], list[int]]:
    d = Dialogue()
    out = b"".join(d.feed(piece) for piece in pieces)
    assert d.service.kept == 0
    return out, d.door.messages, list(d.cells)


def test_the_cut_of_the_input_never_changes_the_replies() -> None:
    whole = run(list(SESSION))
    assert whole[0].count(b"\r\n") == 5 + 1 + 4 + 1 + 4 + 3 + 1 + 4
    octets = b"".join(SESSION)
    first, rest = SESSION[0], octets[len(SESSION[0]) :]
    assert run([bytes([c]) for c in octets])[:2] == whole[:2]
    for at in range(1, len(rest)):
        assert run([first, rest[:at], rest[at:]])[:2] == whole[:2], at
    for seed in range(100):
        luck = random.Random(seed)
        cuts = sorted(luck.sample(range(1, len(rest)), 12))
        pieces = [rest[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True)]
        assert run([first, *pieces])[:2] == whole[:2], cuts


def undecided(*_: object) -> Any:
    return random.choice((None, None, PENDING, UNAVAILABLE))


def test_a_random_walk_makes_only_the_moves_of_the_table() -> None:
    lines = [line for text in SESSION for line in text.split(b"\r\n")]
    lines += [b"DATA", b"RSET", b".", b"MAIL FROM:<>", b"RCPT TO:<a@example.test>"] * 3
    for seed in range(200):
        random.seed(seed)
        door = FakeDoor()
        door.says = dict.fromkeys(("mail", "recipient", "data", "message"), undecided)
        d = Dialogue(door, max_errors=50)
        d.feed(b"HELO x\r\n")
        for _ in range(60):
            before = State(d.session.state)
            if d.session.pending:
                d.session.answer(random.choice((None, UNAVAILABLE)))
            else:
                d.feed(random.choice(lines) + b"\r\n")
            after = State(d.session.state)
            assert after == before or after in MOVES[before], (before, after)
            assert d.session.in_transaction == (after in TRANSACTION)
        d.session.lost()
        assert d.service.kept == 0


def test_input_is_held_while_an_answer_is_pending() -> None:
    d = Dialogue()
    d.door.says = dict.fromkeys(("mail", "recipient", "data", "message"), PENDING)
    d.say("EHLO x")
    assert d.feed(b"MAIL FROM:<>\r\nRCPT TO:<a@x.test>\r\nDATA\r\n") == b""
    assert d.session.pending
    assert d.session.holding == len(b"RCPT TO:<a@x.test>\r\nDATA\r\n") == d.service.kept
    assert d.feed(b"hello\r\n.\r\nRSET\r\nQUIT\r\n") == b""
    assert d.session.resume() is None
    assert d.session.answer(None) == b"250 2.1.0 Ok\r\n"
    assert d.session.answer(None) == b"250 2.1.5 Ok\r\n"
    assert (d.session.answer(None) or b"")[:3] == b"354"
    assert d.session.holding == len(b"RSET\r\nQUIT\r\n")
    said = d.session.answer(UNAVAILABLE)
    assert said == b"452 4.3.1 Later\r\n250 2.0.0 Ok\r\n221 2.0.0 Bye\r\n"
    assert d.service.kept == 0
    with pytest.raises(Misused):
        Dialogue().session.answer(None)


def test_an_answer_given_inside_the_question_counts() -> None:
    d = Dialogue()
    d.door.says["message"] = lambda: (d.session.answer(None), PENDING)[1]
    assert d.start().say("x", ".") == ["250 2.0.0 Ok: queued as Q1"]
    assert not d.session.pending


@pytest.mark.parametrize("way", ["lost", "shut"])
@pytest.mark.parametrize("answer", [None, UNAVAILABLE])
def test_a_connection_lost_while_the_commit_is_pending_is_harmless(
    answer: Refused | None, way: str
) -> None:
    d = Dialogue()
    d.door.says["message"] = PENDING
    d.start().feed(b"x\r\n.\r\nNOOP\r\n")
    if way == "shut":
        d.session.shut(Refused(421, "4.3.2", "Leaving", "overload"), "shutdown")
    d.session.lost()
    assert d.session.answer(answer) is None
    assert d.door.aborts == 0
    assert d.count(counts.MESSAGES, "accepted") == (answer is None)
    assert d.count(counts.MESSAGES, "deferred") == (answer is not None)
    assert d.service.kept == 0


def test_a_door_that_raises_is_our_own_trouble() -> None:
    d = Dialogue()
    d.door.says["mail"] = ZeroDivisionError()
    assert d.say("EHLO x", "MAIL FROM:<>")[-1].startswith("451 4.3.0 ")
    assert [type(t) for t in d.troubles] == [ZeroDivisionError]
    d.door.says["mail"] = StoreUnavailable("no disk")
    assert d.say("MAIL FROM:<>")[-1].startswith("452 4.3.1 ")
    d.door.says["mail"] = None
    d.door.says["message"] = ZeroDivisionError()
    assert d.start().say("x", ".")[0].startswith("451 4.3.0 ")


def test_an_idle_session_owns_no_memory_and_a_busy_one_is_counted() -> None:
    d = Dialogue()
    d.say("EHLO x")
    assert d.service.kept == 0
    d.start()
    assert d.service.kept == 0
    d.feed(b"x" * 4096)
    assert 4096 <= d.service.kept <= 8192
    d.feed(b"x" * 100_000)
    assert 104_096 <= d.service.kept <= 262_144 + 64
    d.feed(b"\r\n.\r\n")
    assert d.service.kept == 0
    assert len(d.door.messages[0][2]) == 104_098


def test_a_large_body_streams() -> None:
    d = Dialogue(memory_per_message=16_384)
    d.start()
    line = b"0123456789" * 7 + b"\r\n"
    for _ in range(100):
        d.feed(line * 20)
        assert d.service.kept <= 16_384 + 64
    assert d.session.busy
    assert d.feed(b".\r\n").startswith(b"250 ")
    assert d.door.messages[0][2] == line * 2000
    assert not d.door.streams[0].aborted
    assert d.session.stream is None
    assert 8 <= d.door.streams[0].writes <= 20
    facts = d.door.bodies[0]
    assert (len(facts), facts.size, facts.lines) == (0, 144_000, 2000)


@pytest.mark.parametrize("how", ["lost", "refused", "too big", "broken", "bad"])
def test_a_stream_that_is_not_taken_is_aborted(how: str) -> None:
    d = Dialogue(memory_per_message=16_384, max_message_size=65_536)
    d.start()
    d.feed(b"x" * 20_000)
    d.feed(b"x" * 20_000)
    stream = d.door.streams[0]
    if how == "lost":
        d.session.lost()
        assert d.door.aborts == 1
    elif how == "refused":
        d.door.says["message"] = UNAVAILABLE
        assert d.feed(b"\r\n.\r\n") == b"452 4.3.1 Later\r\n"
    elif how == "too big":
        d.feed(b"x" * 30_000)
        assert stream.aborted
        assert d.service.kept == 0
        assert d.feed(b"\r\n.\r\n").startswith(b"552 5.3.4 ")
    elif how == "broken":
        stream.broken = True
        d.feed(b"x" * 20_000)
        assert d.feed(b"\r\n.\r\n").startswith(b"452 4.3.1 ")
    else:
        assert d.feed(b"\0\r\n.\r\n").startswith(b"554 5.6.11 ")
    assert stream.aborted
    assert d.service.kept == 0


def test_no_place_for_a_stream_is_452_at_the_end() -> None:
    d = Dialogue(memory_per_message=16_384)
    d.door.says["stream"] = StoreUnavailable("disk full")
    d.start()
    assert d.feed(b"x" * 10_000 + b"\r\n" + b"x" * 10_000) == b""
    assert d.feed(b"\r\n.\r\n").startswith(b"452 4.3.1 ")
    assert d.count(counts.MESSAGES, "deferred") == 1


def test_bodies_stream_sooner_when_memory_is_short() -> None:
    d = Dialogue(memory_for_bodies=1 << 20, memory_per_message=1 << 20)
    d.start()
    for _ in range(16):
        d.feed(b"x" * 50_000)
    before = d.service.kept
    d.feed(b"x" * 250_000)
    assert not d.service.crowded
    for _ in range(20):
        d.feed(b"x" * 50_000)
    assert d.door.streams
    assert d.service.kept <= 2 * before
    d.session.lost()
    assert d.service.kept == 0


def test_replies_collected_in_one_read_are_bounded() -> None:
    d = Dialogue(max_idle_commands=100_000)
    many = b"NOOP\r\n" * 10_000
    said = d.session.receive(many, len(many)) or b""
    assert 16_384 <= len(said) < 17_000
    assert d.session.holding == len(many) - len(said) // 14 * 6
    while d.session.holding:
        said += d.session.resume() or b""
    assert said == b"250 2.0.0 Ok\r\n" * 10_000


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ({"max_errors": 5}, ["BLURB"] * 5),
        ({"max_idle_commands": 10}, ["NOOP"] * 11),
        ({"max_commands": 10}, ["RSET", "MAIL FROM:<>"] * 5 + ["NOOP"]),
    ],
)
def test_too_much_ends_the_session(options: dict[str, Any], lines: list[str]) -> None:
    d = Dialogue(**options)
    d.say("EHLO x")
    said = d.say(*lines)
    assert said[-1].startswith("421 4.7.0 ")
    assert d.session.parting == "too_many_errors"
    assert d.session.state == CLOSED
    assert d.feed(b"NOOP\r\n") == b""


def test_an_accepted_message_forgives_errors_and_idling() -> None:
    d = Dialogue(max_errors=3, max_idle_commands=10)
    for _ in range(5):
        d.say("BLURB", "BLURB", *["NOOP"] * 8)
        d.start().say("x", ".")
    assert len(d.door.messages) == 5


@pytest.mark.parametrize(
    ("mode", "parameter", "answer"),
    [
        ("accept", "", "250 2.0.0"),
        ("accept", " BODY=8BITMIME", "250 2.0.0"),
        ("declared", "", "554 5.6.1"),
        ("declared", " BODY=7BIT", "554 5.6.1"),
        ("declared", " BODY=8BITMIME", "250 2.0.0"),
        ("reject", "", "554 5.6.1"),
    ],
)
def test_eight_bit_data_by_the_mode(mode: str, parameter: str, answer: str) -> None:
    d = Dialogue(eight_bit=mode)
    d.say("EHLO x", f"MAIL FROM:<>{parameter}", "RCPT TO:<b@example.test>", "DATA")
    assert d.say("ascii", "", "gr\u00fcn", ".")[0].startswith(answer)
    if answer == "554 5.6.1":
        d.say(f"MAIL FROM:<>{parameter}", "RCPT TO:<b@example.test>", "DATA")
        assert d.say("ascii", "", "gr\u00fcn", ".")[0].endswith("(line 3)")


def test_what_happened_is_counted_once() -> None:
    d = Dialogue()
    d.start().say("x" * 300, ".")
    d.say("BLURB", "MAIL FROM:<>", "RSET", "RCPT TO:<x@example.test>")
    said = counts.COMMANDS
    assert d.count(said, "EHLO", "2") == d.count(said, "DATA", "3") == 1
    assert d.count(said, "MAIL", "2") == 2
    assert d.count(said, "eod", "2") == d.count(said, "other", "5") == 1
    assert d.count(counts.REJECTS, "mail", "syntax", "5") == 1
    assert d.count(counts.REJECTS, "rcpt", "sequence", "5") == 1
    assert d.count(counts.MESSAGES, "accepted") == 1
    assert d.count(counts.MESSAGES, "aborted") == 1
    assert d.cells[counts.SIZE.first + 1] == 1  # 256 < 302 ≤ 1024
    assert d.cells[counts.RECIPIENTS.first] == 1
    assert d.door.refusals == [("mail", 500), ("rcpt", 503)]


def test_durations_are_measured_with_the_clock() -> None:
    d = Dialogue()
    d.door.says = {"message": PENDING, "mail": lambda _: d.clock.advance(0.5)}
    d.start().feed(b"x\r\n")
    d.clock.advance(2)
    d.feed(b".\r\n")
    d.clock.advance(0.02)
    d.session.id = 77
    d.session.answer(None)
    mail, eod = counts.duration("MAIL", "2"), counts.duration("eod", "2")
    assert d.cells[mail.first + len(mail.edges) + 1] == pytest.approx(500_000, abs=2)
    assert d.cells[eod.first + len(eod.edges) + 1] == pytest.approx(20_000, abs=2)
    accept, receive = counts.ACCEPT, counts.RECEIVE
    total = d.cells[accept.first + len(accept.edges) + 1]
    assert total == pytest.approx(2_520_000, abs=2)
    wanted = fresh(counts.CELLS)
    counts.ACCEPT_SEEN.note(wanted, total / 1e6, 77, d.clock())
    spoken = counts.spoken("eod", "2")
    assert isinstance(spoken, Seen)
    spoken.note(wanted, 0.02, 77, d.clock())
    seen = range(counts.ACCEPT_SEEN.first, counts.SPOKEN.end)
    for place in seen:
        assert d.cells[place] == pytest.approx(wanted[place], abs=2)
    assert sum(1 for place in seen if d.cells[place]) == 6
    assert d.cells[receive.first + len(receive.edges) + 1] == pytest.approx(
        2_000_000, abs=2
    )


def test_a_count_beyond_the_buffer_is_misuse() -> None:
    with pytest.raises(Misused):
        Dialogue().session.receive(b"NOOP\r\n", 7)
