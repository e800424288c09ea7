"""The ring files of `fastsmtp why`: what is written is found, and nothing else is."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model import trace as model

from fastsmtp.errors import Damaged, FormatTooNew
from fastsmtp.trace import ring
from fastsmtp.trace.ring import Trace, scan

SMALL = 16384  # octets: the smallest ring


@pytest.fixture
def trace(tmp_path: Path) -> Iterator[Trace]:
    made = Trace(str(tmp_path / "one"), SMALL)
    yield made
    made.close()


def mail(tmp_path: Path) -> bytes:
    return (tmp_path / "one.mail").read_bytes()


def ids(data: bytes) -> list[int]:
    """From the oldest on."""
    return [row[2] for row in sorted(scan(data)[0], key=lambda row: row[2])]


def test_what_is_noted_is_read(trace: Trace, tmp_path: Path) -> None:
    card = ring.card("smtp", "192.0.2.1", "", "mail.example.org", "", "")
    trace.note(ring.ACCEPTED, 1, (5, -6), ("a@b.example", "ü"), card)
    trace.applied(1, 2, 0)
    trace.attempt(2, "a@b.example", "b.example", "mx [192.0.2.2]", 451, "busy", 12)
    trace.moved(2**64 - 1, "deferred", "until later")
    rows, oldest = scan(mail(tmp_path))
    when = min(row[0] for row in rows)
    assert oldest == when > 1_700_000_000_000
    card_texts = ("smtp", "192.0.2.1", "", "mail.example.org", "", "")
    assert [row[1:] for row in rows] == [
        (ring.ACCEPTED, 1, (5, -6), (*card_texts, "a@b.example", "ü")),
        (ring.APPLIED, 1, (2, 0), ()),
        (
            *(ring.ATTEMPT, 2, (451, 12)),
            ("a@b.example", "b.example", "mx [192.0.2.2]", "busy"),
        ),
        (ring.MOVED, 2**64 - 1, (), ("deferred", "until later")),
    ]


def test_refusals_cannot_push_out_what_became_of_mail(
    trace: Trace, tmp_path: Path
) -> None:
    trace.moved(1, "held", "by hand")
    for kind in (ring.REFUSED, ring.DROPPED, ring.AWAY):
        for id in range(500):
            trace.note(kind, id, (550,), ("x@y.example",))
    assert ids(mail(tmp_path)) == [1]
    assert len(scan((tmp_path / "one.refused").read_bytes())[0]) > 100


def test_the_newest_stay_when_it_goes_round(trace: Trace, tmp_path: Path) -> None:
    for id in range(1, 2001):
        trace.moved(id, "held", "x" * (id * id % 90))
        if id % 97 == 0:
            found = ids(mail(tmp_path))
            assert found == list(range(found[0], id + 1))
    assert len(found) > 100
    assert len(mail(tmp_path)) == SMALL + 4096


def test_a_new_process_goes_on_where_the_last_one_was(tmp_path: Path) -> None:
    for id in range(1, 1000):
        trace = Trace(str(tmp_path / "one"), SMALL)
        trace.moved(id, "held", "x" * (id % 50))
        trace.close()
    found = ids(mail(tmp_path))
    assert found == list(range(found[0], 1000))
    assert len(found) > 100


def test_it_may_get_another_size(tmp_path: Path) -> None:
    for size in (2 * SMALL, SMALL, 4 * SMALL):
        trace = Trace(str(tmp_path / "one"), size)
        for id in range(1, 1000):
            trace.moved(id, "held", "")
        trace.close()
        found = ids(mail(tmp_path))
        assert found[-1] == 999
        assert len(mail(tmp_path)) == size + 4096


def test_a_file_grows_only_as_it_is_filled(tmp_path: Path) -> None:
    trace = Trace(str(tmp_path / "one"), 1 << 30)
    assert len(mail(tmp_path)) == 4096
    trace.moved(1, "held", "")
    assert len(mail(tmp_path)) == 4096 + (1 << 20)
    trace.close()


def test_a_full_disk_makes_it_go_round_in_what_it_has(tmp_path: Path) -> None:
    trace = Trace(str(tmp_path / "one"), 1 << 30)
    trace.moved(1, "held", "")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096 + (1 << 20), limits[1]))
    try:
        for id in range(2, 30_000):
            trace.moved(id, "held", "x" * 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    trace.close()
    found = ids(mail(tmp_path))
    assert found == list(range(found[0], 30_000))
    assert len(mail(tmp_path)) == 4096 + (1 << 20)


def test_without_a_file_it_takes_nothing(tmp_path: Path) -> None:
    for off in (Trace(), Trace(str(tmp_path / "one"), 0)):
        off.moved(1, "held", "")
        off.applied(1, 1, 0)
        off.sweep(0)
        off.close()
        assert not off.on
    assert os.listdir(tmp_path) == []


def test_after_the_end_it_takes_nothing(trace: Trace, tmp_path: Path) -> None:
    trace.close()
    trace.moved(1, "held", "")
    assert ids(mail(tmp_path)) == []


def test_long_texts_are_cut_and_many_left_out(trace: Trace, tmp_path: Path) -> None:
    texts = ("é" * 500, *("x" * 300 for _ in range(100)))
    trace.note(ring.MOVED, 1, (7,), texts)
    trace.note(ring.MOVED, 2, (), ("\ud800",))
    (_, _, _, numbers, cut), (_, _, _, _, lone) = scan(mail(tmp_path))[0]
    assert numbers == (7,)
    assert cut[0] == "é" * 128
    assert 50 < len(cut) < 64
    assert set(cut[1:]) == {"x" * 256}
    assert lone == ("\\ud800",)


def test_needles_ids_and_age_choose(trace: Trace, tmp_path: Path) -> None:
    trace.moved(1, "held", "for Alice@Example.org")
    trace.moved(2, "held", "for bob@example.net")
    data = mail(tmp_path)

    def chosen(needle: bytes, *of: int) -> list[int]:
        return [row[2] for row in scan(data, (needle,), of)[0]]

    assert chosen(b"alice@example.org") == [1]
    assert chosen(b"@example.") == [1, 2]
    assert chosen(b"carol") == []
    assert chosen(b"alice", 2) == [1, 2]
    later = scan(data)[1] + 60_000
    assert scan(data, since=later) == ([], 0)


def test_what_is_too_old_is_erased(trace: Trace, tmp_path: Path) -> None:
    for id in range(500):
        trace.moved(id, "held", "secret")
    _, oldest = scan(mail(tmp_path))
    trace.sweep(oldest)
    assert b"secret" in mail(tmp_path)
    trace.sweep(oldest + 60_000)
    assert b"secret" not in mail(tmp_path)
    trace.moved(501, "held", "later")
    assert ids(mail(tmp_path)) == [501]


def test_a_sweep_stops_at_what_is_young_enough(tmp_path: Path) -> None:
    """The clock is read when a record is made, so an old file is made by hand."""
    trace = Trace(str(tmp_path / "one"), SMALL)
    for id in range(1, 11):
        trace.moved(id, "held", "")
    trace.close()
    data = bytearray(mail(tmp_path))
    salt = int.from_bytes(data[12:16], "little")
    place = 4096
    for _ in range(5):  # an hour older
        length = int.from_bytes(data[place : place + 4], "little")
        stamp = int.from_bytes(data[place + 24 : place + 32], "little")
        data[place + 24 : place + 32] = (stamp - (3_600_000 << 8)).to_bytes(8, "little")
        check = model.crc32c(bytes(data[place + 8 : place + length]), salt)
        data[place + 4 : place + 8] = check.to_bytes(4, "little")
        place += length
    (tmp_path / "one.mail").write_bytes(data)
    trace = Trace(str(tmp_path / "one"), SMALL)
    rows, oldest = scan(mail(tmp_path))
    assert len(rows) == 10
    for _ in range(SMALL // 64):
        trace.sweep(oldest + 1_800_000, 64)
    assert ids(mail(tmp_path)) == [6, 7, 8, 9, 10]
    trace.close()


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Damaged):
        scan(b"x" * 5000)
    with pytest.raises(Damaged):
        scan(b"")
    Trace(str(tmp_path / "one"), SMALL).close()
    data = bytearray(mail(tmp_path))
    data[8] = 99
    with pytest.raises(FormatTooNew):
        scan(data)
    (tmp_path / "one.mail").write_bytes(data)
    with pytest.raises(FormatTooNew):
        Trace(str(tmp_path / "one"), SMALL)


def test_a_record_forged_in_a_text_is_not_read(trace: Trace, tmp_path: Path) -> None:
    """A stranger who knows the format, not the salt."""
    place = 48 // 8 + 1
    forged = (40).to_bytes(4, "little") + bytes(4) + bytes(4)
    forged += place.to_bytes(4, "little") + bytes(24)
    trace.moved(1, "x", forged.decode("latin-1"))
    assert ids(mail(tmp_path)) == [1]


@given(
    st.lists(st.tuples(st.integers(0, 2**64 - 1), st.text(max_size=40)), max_size=8),
    st.lists(st.tuples(st.integers(4096, 4999), st.integers(1, 255)), max_size=3),
)
def test_it_agrees_with_the_model_whatever_is_damaged(
    tmp_path_factory: pytest.TempPathFactory,
    records: list[tuple[int, str]],
    damage: list[tuple[int, int]],
) -> None:
    folder = tmp_path_factory.mktemp("ring")
    trace = Trace(str(folder / "one"), SMALL)
    for id, text in records:
        trace.note(ring.MOVED, id, (id % 7,) * (id % 3), (text, text[::2]))
    trace.close()
    data = bytearray(mail(folder)[:5000])
    for place, change in damage:
        if place < len(data):
            data[place] ^= change
    found = scan(data)[0]
    assert found == list(model.rows(bytes(data)))
    if not damage:
        assert [row[2] for row in found] == [id for id, _ in records][: len(found)]
