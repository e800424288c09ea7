"""`gather` finds what `scan` finds, and writes the places that `Batch` would write."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fastsmtp.store import keys
from fastsmtp.store.base import Kind
from fastsmtp.store.lmdb.gather import gather, overlay
from fastsmtp.store.lmdb.index import pack_place
from fastsmtp.store.msglog import LogWriter
from fastsmtp.store.record import SEGMENT_HEADER, read_segment_header, scan

NAME = (3, 1)
RECORDS = [  # kind, envelope, body
    *((Kind.MAIL, b"e" * n, b"b" * (n * 5)) for n in range(12)),
    (Kind.BLOB, b"", b"blob"),
    *((Kind.MAIL, b"refuse" if n == 3 else b"take", bytes(n)) for n in range(6)),
    (Kind.MOVED, b"place", b"moved"),
    (Kind.MAIL, b"last", b""),
]


def segment(place: Path) -> tuple[bytes, int, int]:
    """Its octets, salt and durable end."""
    with LogWriter(str(place), NAME[0], 1, 1 << 20) as writer:
        for n, (kind, envelope, body) in enumerate(RECORDS):
            writer.append(n << 50 | n, kind, envelope, b"", body)
        writer.sync()
        number, end = writer.position()
        data = (place / f"3-{number:08d}.log").read_bytes()
    assert number == NAME[1]
    return data, read_segment_header(data).salt, end


def take(id: int, envelope: bytes, length: int) -> int:
    assert id == (id & 1023) << 50 | id & 1023
    return 0 if envelope == b"refuse" else 1 + length % 7


def test_it_takes_what_scan_finds(tmp_path: Path) -> None:
    data, salt, end = segment(tmp_path)

    @given(st.integers(0, end), st.integers(0, end))
    def at_any_cut(size: int, limit: int) -> None:
        piece = data[SEGMENT_HEADER : SEGMENT_HEADER + size]
        everything, _, _ = scan(piece, SEGMENT_HEADER, salt, limit)
        offset, got = SEGMENT_HEADER, 0
        places: list[tuple[bytes, bytes]] = []
        wanted = []
        while got < len(everything):
            rest = piece[offset - SEGMENT_HEADER :]
            records, live, offset = gather(
                rest, offset, (*NAME, salt, limit), take, places
            )
            taken = everything[got : got + records]
            assert live == sum(item.body_length for item in taken)
            for f in taken:
                refs = take(f.id, f.envelope, f.body_length)
                assert refs
                wanted.append(
                    (
                        keys.u64(f.id),
                        pack_place(
                            *(*NAME, f.body_offset, f.body_length),
                            *(f.body_crc, refs, 0, 0),
                        ),
                    )
                )
            got += records
            if got < len(everything):  # what `scan` has the next word about
                item = everything[got]
                assert item.offset == offset
                assert item.kind != Kind.MAIL or item.envelope == b"refuse"
                got, offset = got + 1, item.next_offset
        assert places == wanted
        tail = piece[offset - SEGMENT_HEADER :]
        assert gather(tail, offset, (*NAME, salt, limit), take, places)[0] == 0

    at_any_cut()


def test_scan_gives_as_many_as_are_wanted(tmp_path: Path) -> None:
    data, salt, end = segment(tmp_path)
    everything, _, _ = scan(data[SEGMENT_HEADER:end], SEGMENT_HEADER, salt, end)
    offset, found, need = SEGMENT_HEADER, [], 1
    while need > 0:
        some, offset, need = scan(data[offset:end], offset, salt, end, 2)
        found += [item.id for item in some]
    assert (offset, need) == (end, 0)
    assert found == [item.id for item in everything]


def test_the_last_put_of_a_key_counts() -> None:
    over: dict[bytes, bytes | None] = {b"1x": None}
    overlay(
        [(1, b"x", b"a"), (2, b"x", b"b"), (1, b"x", b"c")], over, {1: b"1", 2: b"2"}
    )
    assert over == {b"1x": b"c", b"2x": b"b"}
