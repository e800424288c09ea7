"""The records of a ring file, read slowly; `fastsmtp.trace.ring` must agree."""

import struct
from collections.abc import Iterator

from model.record import crc32c

FIRST = 4096
HEAD = struct.Struct("<IIIIQQ")
LARGEST = 16384
Row = tuple[int, int, int, tuple[int, ...], tuple[str, ...]]


def rows(data: bytes) -> Iterator[Row]:
    """Every record that validates, in the order of the file."""
    salt = int.from_bytes(data[12:16], "little")
    records = data[FIRST:]
    place = 0
    while place + HEAD.size + 8 <= len(records):
        length, check, _, eighth, id, stamp = HEAD.unpack_from(records, place)
        record = records[place : place + length]
        valid = (
            eighth == place // 8
            and length % 8 == 0
            and HEAD.size + 8 <= length == len(record) <= LARGEST
            and crc32c(record[8:], salt) == check
        )
        if not valid:
            place += 8
            continue
        place += length
        made = content(record[HEAD.size :])
        if made is not None:
            yield (stamp >> 8, stamp & 255, id, *made)


def content(octets: bytes) -> tuple[tuple[int, ...], tuple[str, ...]] | None:
    many, texts = struct.unpack_from("<HH", octets)
    at = 8 + 8 * many
    if at > len(octets):
        return None
    numbers = struct.unpack_from(f"<{many}q", octets, 8)
    found = []
    for _ in range(texts):
        size = int.from_bytes(octets[at : at + 2], "little")
        if at + 2 + size > len(octets):
            return None
        found.append(octets[at + 2 : at + 2 + size].decode("utf-8", "replace"))
        at += 2 + size
    return numbers, tuple(found)
