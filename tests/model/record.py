"""The message log's format once more, slowly: the oracle of record and msglog."""

import struct
from typing import NamedTuple

HEAD = struct.Struct("<8sHHIQQQII12x")
RECORD = struct.Struct("<IBBHQQQIIIIQ4x")
MASK = (1 << 64) - 1


def crc32c(data: bytes, crc: int = 0) -> int:
    """Bit by bit; the reflected polynomial of Castagnoli."""
    crc ^= 0xFFFFFFFF
    for octet in data:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def mark(salt: int, offset: int) -> int:
    x = (salt + offset * 0x9E3779B97F4A7C15) & MASK
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK
    return x ^ x >> 31


def folded(salt: int) -> int:
    """What the checksum of a record header begins with."""
    return (salt ^ salt >> 32) & 0xFFFFFFFF


def segment_header(
    series: int,
    number: int,
    epoch: int,
    salt: int,
    previous: tuple[int, int] = (0, 0),
    flags: int = 0,
) -> bytes:
    """`previous` is (number, end)."""
    head = HEAD.pack(
        b"FSMTPLOG", 1, series, number, epoch, salt, previous[1], previous[0], flags
    )
    return head + crc32c(head).to_bytes(4, "little")


class Item(NamedTuple):
    """A record as the model sees it; `big` is the segment of a body apart, or 0."""

    id: int
    kind: int
    envelope: bytes
    body: bytes
    sequence: int = 1
    big: int = 0


def record(item: Item, salt: int, offset: int) -> bytes:
    head = RECORD.pack(
        int.from_bytes(b"REC1", "little"),
        item.kind,
        1 if item.big else 0,
        0,
        item.id,
        item.sequence,
        len(item.body),
        len(item.envelope),
        crc32c(item.envelope),
        crc32c(item.body),
        item.big,
        mark(salt, offset),
    )
    head += crc32c(head, folded(salt)).to_bytes(4, "little")
    data = head + item.envelope + (b"" if item.big else item.body)
    return data + bytes(-len(data) % 8)


def segment(items: list[Item], salt: int, series: int = 1, number: int = 1) -> bytes:
    """A whole segment; records one behind the other."""
    data = segment_header(series, number, 7, salt)
    for item in items:
        data += record(item, salt, len(data))
    return data


def read(data: bytes, salt: int) -> list[Item]:
    """The records of a segment up to the first that does not validate."""
    items, at = [], 64
    while (item := _read_one(data, salt, at)) is not None:
        items.append(item[0])
        at = item[1]
    return items


def _read_one(data: bytes, salt: int, at: int) -> tuple[Item, int] | None:
    head = data[at : at + 64]
    if len(head) < 64 or head[:4] != b"REC1":
        return None
    if crc32c(head[:60], folded(salt)) != int.from_bytes(head[60:], "little"):
        return None
    fields = RECORD.unpack(head[:60])
    _, kind, flags, _, id, sequence, size, envelope_size, *crcs, big, at_mark = fields
    inside = 0 if flags & 1 else size
    begin = at + 64 + envelope_size
    end = (begin + inside + 7) & ~7
    envelope, body = data[at + 64 : begin], data[begin : begin + inside]
    if at_mark != mark(salt, at) or end > len(data):
        return None
    if crc32c(envelope) != crcs[0] or (not flags & 1 and crc32c(body) != crcs[1]):
        return None
    return Item(id, kind, envelope, body, sequence, big), end
