"""The log's format: the compiled codec against its slow twin, and against damage."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model import record as model
from model.record import Item

from fastsmtp.errors import Damaged, FormatTooNew
from fastsmtp.store import record

SALT = 0x1234_5678_9ABC_DEF0
ITEMS = [
    Item(1, 1, b"envelope", b"Subject: a\r\n\r\nbody\r\n", 1),
    Item(2, 2, b"", b"", 2),
    Item(3, 3, b"e" * 13, b"b" * 100, 5),
]

items = st.lists(
    st.builds(
        Item,
        st.integers(0, 2**64 - 1),
        st.integers(0, 255),
        st.binary(max_size=40),
        st.binary(max_size=200),
        st.integers(0, 2**64 - 1),
        big=st.just(0),
    ),
    max_size=5,
)


def parsed(data: bytes, salt: int = SALT) -> list[Item]:
    found, _, _ = record.scan(data[64:], 64, salt, len(data))
    return [as_item(one, data) for one in found]


def as_item(one: record.Found, data: bytes) -> Item:
    body = data[one.body_offset : one.body_offset + one.body_length]
    return Item(one.id, one.kind, one.envelope, body, one.sequence)


def ends_of(data: bytes) -> list[int]:
    """Where the header and each record of a whole segment end."""
    found, _, _ = record.scan(data[64:], 64, SALT, len(data))
    return [64, *(one.next_offset for one in found)]


def opened(tmp_path: Path, data: bytes) -> int:
    path = tmp_path / "segment"
    path.write_bytes(data)
    return os.open(path, os.O_RDWR)


def recovered(tmp_path: Path, data: bytes, known: int = 0) -> tuple[list[int], int]:
    """(ids of good records, end)."""
    fd = opened(tmp_path, data)
    found, _, end, _ = record.recover(fd, 64, SALT, known, len(data))
    os.close(fd)
    return [one.id for one in found], end


class TestChecksum:
    def test_known_values(self) -> None:
        assert record.crc32c(b"123456789") == 0xE3069283
        assert record.crc32c(bytes(32)) == 0x8A9136AA
        assert record.crc32c(b"") == 0

    @pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 383, 384, 385, 3071, 3072, 9000])
    def test_agrees_with_the_tables_at_the_edges_of_its_strides(
        self, size: int
    ) -> None:
        data = bytes(i * 7 & 255 for i in range(size + 3))
        for start in range(3):
            piece = data[start : start + size]
            assert record.crc32c(piece) == record.crc32c_portable(piece)

    @given(st.binary(max_size=600), st.binary(max_size=600))
    def test_agrees_with_the_model_in_pieces(self, a: bytes, b: bytes) -> None:
        whole = model.crc32c(a + b)
        assert record.crc32c(b, record.crc32c(a)) == whole
        assert record.crc32c_portable(b, record.crc32c_portable(a)) == whole

    def test_of_a_file(self, tmp_path: Path) -> None:
        data = os.urandom(3_000_000)
        fd = opened(tmp_path, data)
        assert record.file_crc(fd, 5, 2_500_000) == record.crc32c(data[5:2_500_005])
        with pytest.raises(Damaged):
            record.file_crc(fd, 5, 3_000_000)
        os.close(fd)
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            record.file_crc(fd, 0, 1)


class TestSegmentHeader:
    DATA = model.segment_header(3, 12, 9, SALT, (11, 4096), flags=2)

    def test_fields(self) -> None:
        header = record.read_segment_header(self.DATA)
        assert (header.series, header.number, header.epoch) == (3, 12, 9)
        assert (header.salt, header.big) == (SALT, False)
        assert (header.previous, header.previous_end) == (11, 4096)
        assert header.previous_failed

    def test_every_flipped_bit_is_seen(self) -> None:
        for bit in range(64 * 8):
            data = bytearray(self.DATA)
            data[bit // 8] ^= 1 << bit % 8
            with pytest.raises(Damaged):
                record.read_segment_header(data)

    def test_every_truncation_is_seen(self) -> None:
        for size in range(64):
            with pytest.raises(Damaged):
                record.read_segment_header(self.DATA[:size])

    def test_a_newer_format_is_refused(self) -> None:
        data = bytearray(self.DATA)
        data[8] = 2
        data[60:] = model.crc32c(bytes(data[:60])).to_bytes(4, "little")
        with pytest.raises(FormatTooNew, match="format 2, this is 1"):
            record.read_segment_header(data)


class TestScan:
    @given(items)
    def test_reads_what_the_model_writes(self, written: list[Item]) -> None:
        data = model.segment(written, SALT)
        assert parsed(data) == written == model.read(data, SALT)

    def test_tells_what_it_needs(self) -> None:
        data = model.segment(ITEMS, SALT)
        end = len(data)
        assert record.scan(b"", 64, SALT, end) == ([], 64, 64)
        assert record.scan(data[64:100], 64, SALT, end) == ([], 64, 64)
        assert record.scan(data[64:130], 64, SALT, end) == ([], 64, 64 + 8)
        found, offset, need = record.scan(data[64:136], 64, SALT, end)
        assert [one.id for one in found] == [1], "the body is not needed"
        assert need == 64
        found, offset, need = record.scan(data[offset:], offset, SALT, end)
        assert [one.id for one in found] == [2, 3]
        assert (offset, need) == (end, 0)

    def test_in_pieces_of_every_size(self) -> None:
        data = model.segment(ITEMS, SALT)
        for size in range(1, len(data)):
            found, offset, need = [], 64, size
            while need > 0:
                piece = data[offset : offset + max(need, size)]
                more, offset, need = record.scan(piece, offset, SALT, len(data))
                found += more
            assert [one.id for one in found] == [1, 2, 3]
            assert (offset, need) == (len(data), 0)

    def test_stops_at_the_limit(self) -> None:
        data = model.segment(ITEMS, SALT)
        ends = ends_of(data)
        for limit in range(64, len(data)):
            found, offset, need = record.scan(data[64:], 64, SALT, limit)
            assert offset == max(end for end in ends if end <= limit)
            assert need == (0 if limit in ends else -1)
            assert len(found) == ends.index(offset)

    def test_a_body_apart_takes_no_room(self) -> None:
        big = Item(8, 1, b"envelope", b"x" * 5000, 3, big=17)
        data = model.segment([big, ITEMS[0]], SALT)
        one, other = record.scan(data[64:], 64, SALT, len(data))[0]
        assert (one.flags, one.number) == (record.BIG, 17)
        assert (one.body_offset, one.body_length) == (record.BIG_BODY, 5000)
        assert one.body_crc == model.crc32c(big.body)
        assert other.offset == one.next_offset == 64 + 64 + 8

    def test_a_record_is_valid_in_its_place_and_file_only(self) -> None:
        data = model.segment(ITEMS, SALT)
        assert record.scan(data[64:], 64, SALT + 1, len(data)) == ([], 64, -1)
        assert record.scan(data[64:], 72, SALT, len(data) + 8) == ([], 72, -1)
        assert record.scan(bytes(4096), 64, SALT, 5000) == ([], 64, -1)

    @given(st.binary(max_size=300), st.integers(0, 2**64 - 1))
    def test_hostile_octets(self, data: bytes, limit: int) -> None:
        found, offset, need = record.scan(data, 64, SALT, limit)
        assert (found, offset) == ([], 64)
        assert need in (-1, 0, 64)

    @pytest.mark.parametrize("lengths", [(2**32 - 1, 0), (0, 2**64 - 1), (8, 2**63)])
    def test_lengths_that_overflow(self, lengths: tuple[int, int]) -> None:
        """A header that validates is ours; even so its lengths are not trusted."""
        data = bytearray(model.record(Item(1, 1, b"", b""), SALT, 64))
        data[32:36] = lengths[0].to_bytes(4, "little")
        data[24:32] = lengths[1].to_bytes(8, "little")
        data[60:64] = model.crc32c(bytes(data[:60]), model.folded(SALT)).to_bytes(
            4, "little"
        )
        for limit in (128, 2**62):
            assert record.scan(data, 64, SALT, limit) == ([], 64, -1)


class TestRecover:
    def test_every_truncation_is_a_torn_end(self, tmp_path: Path) -> None:
        data = model.segment(ITEMS, SALT)
        ends = ends_of(data)
        for size in range(64, len(data) + 1):
            ids, end = recovered(tmp_path, data[:size])
            assert end == max(e for e in ends if e <= size)
            assert ids == [1, 2, 3][: ends.index(end)]

    def test_every_flipped_bit_is_found(self, tmp_path: Path) -> None:
        data = model.segment(ITEMS, SALT)
        fd = opened(tmp_path, data)
        padding = {64 + 64 + 8 + 20 + n for n in range(4)} | {
            *range(len(data) - 7, len(data))
        }
        for place in range(64, len(data)):
            os.pwrite(fd, bytes([data[place] ^ 1 << place % 8]), place)
            found, rotten, end, ended = record.recover(
                fd, 64, SALT, len(data), len(data)
            )
            os.pwrite(fd, data[place : place + 1], place)
            assert ended
            assert end == len(data)
            if place in padding:
                continue
            assert len(found) == 2, "the others stay readable"
            assert len(rotten) == 1
            assert rotten[0].offset <= place < rotten[0].next_offset
        os.close(fd)

    def test_a_rotten_body_is_named(self, tmp_path: Path) -> None:
        data = bytearray(model.segment(ITEMS, SALT))
        data[64 + 64 + 8 + 3] ^= 0x10
        fd = opened(tmp_path, bytes(data))
        found, rotten, _, _ = record.recover(fd, 64, SALT, len(data), len(data))
        os.close(fd)
        assert [one.id for one in found] == [2, 3]
        assert rotten[0].found is not None
        assert rotten[0].found.id == 1

    def test_what_is_rot_below_the_known_position_is_torn_above(
        self, tmp_path: Path
    ) -> None:
        data = bytearray(model.segment(ITEMS, SALT))
        second = 64 + 64 + 8 + 20 + 4
        data[second] ^= 1
        assert recovered(tmp_path, bytes(data), known=second) == ([1], second)
        assert recovered(tmp_path, bytes(data), known=second + 64) == (
            [1, 3],
            len(data),
        )

    def test_goes_on_in_steps(self, tmp_path: Path) -> None:
        many = [Item(n, 1, b"e" * n, b"b" * 1000, n) for n in range(1, 40)]
        data = model.segment(many, SALT)
        fd = opened(tmp_path, data)
        offset, ended, ids = 64, False, []
        while not ended:
            found, _, offset, ended = record.recover(
                fd, offset, SALT, 0, len(data), most=7
            )
            assert len(found) <= 7
            ids += [one.id for one in found]
        os.close(fd)
        assert ids == [*range(1, 40)]
        assert offset == len(data)

    def test_a_body_that_imitates_a_record_leads_nobody_astray(
        self, tmp_path: Path
    ) -> None:
        fake = model.record(Item(666, 1, b"", b"x"), SALT, 64)
        data = bytearray(model.segment([Item(1, 1, b"", fake * 3), ITEMS[1]], SALT))
        data[64] ^= 1
        ids, _ = recovered(tmp_path, bytes(data), known=len(data))
        assert ids == [2]

    def test_leftovers_and_zeros_are_no_records(self, tmp_path: Path) -> None:
        old = model.segment(ITEMS * 3, SALT - 1)
        new = model.segment(ITEMS[:1], SALT)
        assert recovered(tmp_path, new + old[len(new) :]) == ([1], len(new))
        assert recovered(tmp_path, new + bytes(4096)) == ([1], len(new))

    def test_envelopes_and_bodies_larger_than_a_window(self, tmp_path: Path) -> None:
        salt = SALT
        body, envelope = os.urandom(2_500_000), os.urandom(1_200_000)
        head = bytearray(model.record(Item(5, 1, b"", b""), salt, 64))
        head[24:32] = len(body).to_bytes(8, "little")
        head[32:36] = len(envelope).to_bytes(4, "little")
        head[36:40] = record.crc32c(envelope).to_bytes(4, "little")
        head[40:44] = record.crc32c(body).to_bytes(4, "little")
        head[60:] = record.crc32c(head[:60], model.folded(salt)).to_bytes(4, "little")
        data = model.segment([], salt) + bytes(head) + envelope + body
        data += bytes(-len(data) % 8)
        fd = opened(tmp_path, data)
        found, rotten, end, _ = record.recover(fd, 64, salt, 0, len(data))
        assert (end, rotten) == (len(data), [])
        assert found[0].envelope == envelope
        os.pwrite(fd, b"\0\0\0", len(data) - 1000)
        assert record.recover(fd, 64, salt, 0, len(data))[2] == 64
        os.close(fd)


class TestNames:
    def test_round_trip(self) -> None:
        assert record.segment_name(1, 12) == "1-00000012.log"
        assert record.segment_name(0, 4_000_000_000, big=True) == "0-4000000000.big"
        for name in ("1-00000012.log", "65535-4000000000.big"):
            series, number, big = record.parse_name(name) or (0, 0, False)
            assert record.segment_name(series, number, big) == name

    @pytest.mark.parametrize(
        "name", ["", "1.new", "1-12.log", "a-00000012.log", "lock"]
    )
    def test_other_names(self, name: str) -> None:
        assert record.parse_name(name) is None
