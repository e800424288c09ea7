"""When mail goes on: priorities (RFC 6710), later release (RFC 4865), in time or not at
all (RFC 2852)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from club import ALICE, BOB, Club, Visitor, in_club
from fakes import Dialogue
from hypothesis import given
from hypothesis import strategies as st

from fastsmtp.queue.message import Envelope
from fastsmtp.smtp import parameters
from fastsmtp.smtp.offers import Offers

DAY: Final = 86_400
NEW_YEAR: Final = 1_798_761_600  # 2027-01-01T00:00:00Z
WISHES: Final = Offers(
    priorities=True, future_release=True, deliver_by=True, wall=lambda: NEW_YEAR
)
LINES: Final = (
    *("MT-PRIORITY", "FUTURERELEASE 2592000 2027-01-31T00:00:00Z", "DELIVERBY 60"),
)


def known(**options: Any) -> Dialogue:
    """A session that has logged in."""
    d = Dialogue(None, WISHES, **options)
    d.session.login = "alice"
    d.say("EHLO client.test")
    return d


def mail(d: Dialogue, parameters: str) -> str:
    return d.say("RSET", f"MAIL FROM:<a@client.test> {parameters}")[1]


def shown(d: Dialogue) -> list[str]:
    words = ("MT-PRIORITY", "FUTURERELEASE", "DELIVERBY")
    said = (line[4:] for line in d.say("EHLO client.test"))
    return [line for line in said if line.split()[0] in words]


def test_rfc_22_they_are_shown_to_whom_they_are_for() -> None:
    d = Dialogue(None, WISHES)
    assert shown(d) == ["DELIVERBY 60"]
    d.session.login = "alice"
    assert shown(d) == list(LINES)
    everybody = Offers(mechanisms=("PLAIN",), auth_required=True)
    assert shown(Dialogue(None, everybody)) == []
    both = Offers(
        mechanisms=("PLAIN",),
        auth_required=True,
        priorities=True,
        future_release=True,
        deliver_by=True,
        wall=lambda: NEW_YEAR,
    )
    assert shown(Dialogue(None, both)) == list(LINES)


def test_the_latest_release_moves_with_the_clock() -> None:
    """RFC 4865 3: a date that was right once is not said for ever."""
    now = [float(NEW_YEAR)]
    d = Dialogue(
        None,
        Offers(mechanisms=("PLAIN",), future_release=True, wall=lambda: now[0]),
        max_future_release=3600,
    )
    d.session.login = "alice"
    assert shown(d) == ["FUTURERELEASE 3600 2027-01-01T01:00:00Z"]
    now[0] += DAY
    assert shown(d) == ["FUTURERELEASE 3600 2027-01-02T01:00:00Z"]


def test_no_shortest_time_is_no_number() -> None:
    assert shown(Dialogue(None, WISHES, min_deliver_by=0)) == ["DELIVERBY"]


@pytest.mark.parametrize(
    "parameter",
    ["MT-PRIORITY=1", "HOLDFOR=60", "HOLDUNTIL=2027-01-02T00:00:00Z", "BY=120;R"],
)
def test_what_is_not_offered_is_not_recognized(parameter: str) -> None:
    d = Dialogue()
    d.session.login = "alice"
    d.say("EHLO x")
    assert mail(d, parameter) == "555 5.5.4 Parameter not recognized"
    stranger = Dialogue(None, WISHES)
    stranger.say("EHLO x")
    said = mail(stranger, parameter)
    assert said.startswith("250 " if parameter.startswith("BY") else "555 5.5.4 ")


@pytest.mark.parametrize(
    ("said", "priority"), [("-9", -9), ("-1", -1), ("0", 0), ("4", 4)]
)
def test_rfc_6710_a_priority_is_kept(said: str, priority: int) -> None:
    d = known()
    assert mail(d, f"mt-priority={said}") == "250 2.1.0 Ok"
    assert d.session.priority == priority
    d.say("RSET")
    assert d.session.priority == 0


def test_rfc_6710_4_1_what_is_above_the_limit_is_lowered_and_that_is_said() -> None:
    d = known()
    assert mail(d, "MT-PRIORITY=9").startswith("250 2.3.6 4 ")
    assert d.session.priority == 4
    d = known(max_priority=0)
    assert mail(d, "MT-PRIORITY=1").startswith("250 2.3.6 0 ")
    assert d.session.priority == 0
    assert mail(d, "MT-PRIORITY=-9") == "250 2.1.0 Ok"


@pytest.mark.parametrize(
    "parameter",
    [
        *("MT-PRIORITY", "MT-PRIORITY=10", "MT-PRIORITY=+1", "MT-PRIORITY=-0"),
        *("MT-PRIORITY=01", "MT-PRIORITY=1 MT-PRIORITY=1", "MT-PRIORITY=--1"),
        *("HOLDFOR", "HOLDFOR=0", "HOLDFOR=-1", "HOLDFOR=1000000000", "HOLDFOR=1h"),
        *("HOLDFOR=60 HOLDFOR=60", "HOLDFOR=60 HOLDUNTIL=2027-01-02T00:00:00Z"),
        *("HOLDUNTIL", "HOLDUNTIL=2027-01-02", "HOLDUNTIL=2027-13-02T00:00:00Z"),
        *("HOLDUNTIL=2027-01-02T00:00:00", "HOLDUNTIL=2027-01-02T24:00:01Z"),
        *("BY", "BY=120", "BY=120;", "BY=120;X", "BY=120;RX", "BY=;R"),
        *(
            "BY=1200000000;N",
            "BY=0;R",
            "BY=-5;RT",
            "BY=120;R BY=120;N",
            "BY=120;NTT",
            "BY=+;N",
        ),
    ],
)
def test_wrong_values(parameter: str) -> None:
    d = known()
    assert mail(d, parameter).startswith("501 5.5.4 ")
    d.say("MAIL FROM:<a@client.test>")
    session = d.session
    assert (session.priority, session.hold_for, session.hold_until) == (0, 0, 0)
    assert (session.by, session.by_mode) == (0, "")


def test_rfc_4865_4_longer_than_the_limit_is_refused() -> None:
    d = known(max_future_release=3600)
    assert mail(d, "HOLDFOR=3600") == "250 2.1.0 Ok"
    assert d.session.hold_for == 3600
    assert mail(d, "HOLDFOR=3601").startswith("501 5.5.4 ")


def test_rfc_4865_4_the_moment_is_one_of_rfc_3339() -> None:
    d = known()
    for said in ("2027-01-01T00:00:00Z", "2027-01-01t02:30:00+02:30"):
        assert mail(d, f"HOLDUNTIL={said}") == "250 2.1.0 Ok"
        assert d.session.hold_until == NEW_YEAR * 1000


def test_rfc_2852_4_mode_trace_and_late_notice() -> None:
    d = known()
    for said, seconds, mode in (
        *(("120;R", 120, "R"), ("+120;rt", 120, "RT"), ("60;R", 60, "R")),
        *(("-120;N", -120, "N"), ("0;NT", 0, "NT"), ("000000001;n", 1, "N")),
    ):
        assert mail(d, f"BY={said}") == "250 2.1.0 Ok"
        assert (d.session.by, d.session.by_mode) == (seconds, mode)


def test_rfc_2852_3_sooner_than_was_offered_is_refused() -> None:
    d = known(min_deliver_by=300)
    assert mail(d, "BY=299;R").startswith("555 5.5.4 ")
    assert mail(d, "BY=299;N") == "250 2.1.0 Ok"
    assert mail(d, "BY=300;R") == "250 2.1.0 Ok"


@given(st.integers(-9, 9))
def test_a_priority_reads_back(n: int) -> None:
    assert parameters.priority(b"%d" % n) == n


@given(st.integers(0, 4_000_000_000), st.integers(-840, 840))
def test_a_moment_reads_back_from_any_zone(second: int, minutes: int) -> None:
    at = datetime.fromtimestamp(second, UTC)
    hours, rest = divmod(abs(minutes), 60)
    zone = f"{'-' if minutes < 0 else '+'}{hours:02}:{rest:02}"
    local = at + timedelta(minutes=minutes)
    text = f"{local:%Y-%m-%dT%H:%M:%S}{zone}"
    assert parameters.hold_until(text.encode()) == second * 1000


@given(st.integers(-999_999_999, 999_999_999), st.sampled_from(["N", "NT"]))
def test_a_time_to_deliver_by_reads_back(seconds: int, mode: str) -> None:
    assert parameters.by(f"{seconds};{mode}".encode()) == (seconds, mode)


@given(st.binary(max_size=40))
def test_nothing_else_is_taken(octets: bytes) -> None:
    for read in (
        *(parameters.priority, parameters.hold_for, parameters.hold_until),
        parameters.by,
    ):
        try:
            read(octets)
        except ValueError:
            continue
        assert octets.isascii()


# What is kept of them with the message


def sending(test: Callable[[Club, Visitor], Awaitable[None]], **settings: Any) -> None:
    async def run(club: Club) -> None:
        visitor = Visitor(club)
        await visitor.login()
        await test(club, visitor)

    in_club(run, **settings)


async def send(club: Club, visitor: Visitor, wishes: str) -> tuple[Envelope, bytes]:
    """The envelope and the trace fields of a message with these parameters."""
    begun = f"MAIL FROM:<{ALICE}> {wishes}"
    assert (await visitor.say(begun, f"RCPT TO:<{BOB}>")).startswith("250 ")
    await visitor.say("DATA")
    assert (await visitor.send(b"Subject: x\r\n\r\nx\r\n.\r\n")).startswith("250 ")
    envelope, _ = club.mail()[-1]
    return envelope, club.store.disk.log[-1][1]


def test_they_stand_in_the_envelope_as_moments() -> None:
    async def test(club: Club, visitor: Visitor) -> None:
        wishes = "MT-PRIORITY=-3 HOLDFOR=3600 BY=7200;RT"
        envelope, body = await send(club, visitor, wishes)
        assert envelope.priority == -3
        assert envelope.release == envelope.arrived + 3_600_000
        assert envelope.by == envelope.arrived + 7_200_000
        assert envelope.by_mode == "RT"
        assert b"\tPRIORITY -3; " in body  # RFC 6710 4.1
        envelope, body = await send(club, visitor, "")
        assert (envelope.priority, envelope.release) == (0, 0)
        assert (envelope.by, envelope.by_mode) == (0, "")
        assert b"PRIORITY" not in body

    sending(test)


def test_a_moment_that_is_over_holds_nothing() -> None:
    async def test(club: Club, visitor: Visitor) -> None:
        envelope, _ = await send(club, visitor, "HOLDUNTIL=2020-01-01T00:00:00Z")
        assert envelope.release == 0
        soon = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
        said = f"HOLDUNTIL={soon:%Y-%m-%dT%H:%M:%SZ}"
        envelope, _ = await send(club, visitor, said)
        assert envelope.release == soon.timestamp() * 1000

    sending(test)


@pytest.mark.parametrize(
    ("wishes", "code"),
    [
        ("HOLDUNTIL=9999-12-31T23:59:59Z", "501 5.5.4"),  # beyond what EHLO showed
        ("HOLDFOR=600 BY=600;R", "501 5.5.4"),  # late before it is tried
        ("HOLDFOR=600 BY=601;R", "250 2.1.0"),
        ("HOLDFOR=600 BY=60;N", "501 5.5.4"),
    ],
)
def test_rfc_4865_4_wishes_that_cannot_be_granted(wishes: str, code: str) -> None:
    async def test(club: Club, visitor: Visitor) -> None:
        said = await visitor.say(f"MAIL FROM:<{ALICE}> {wishes}")
        assert said.startswith(code)
        assert (await visitor.say("RSET")).startswith("250 ")

    sending(test)


def test_each_has_a_switch() -> None:
    async def test(club: Club, visitor: Visitor) -> None:
        for parameter in ("MT-PRIORITY=1", "HOLDFOR=60", "BY=120;R"):
            said = await visitor.say(f"MAIL FROM:<{ALICE}> {parameter}")
            assert said.startswith("555 5.5.4 ")

    sending(test, priorities=False, future_release=False, deliver_by=False)
