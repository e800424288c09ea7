"""The view of a message: the same whether it is in memory or in a file."""

from collections.abc import Callable

import pytest

from fastsmtp.hooks import Body

MESSAGE = (
    b"Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\nFrom: a@example.test\r\n\r\n"
    + b"line of the text\r\n" * 40_000
)
HEAD = b"Received: from us\r\n"


def in_memory(message: bytes) -> Body:
    return Body(message)


class Filed:
    """As `store.base.Written`, over octets."""

    def __init__(self, data: bytes) -> None:
        self.data, self.length = data, len(data)

    def read(self, offset: int, size: int) -> bytes:
        return self.data[offset : offset + size]


def in_file(message: bytes) -> Body:
    return Body(None, Filed(HEAD + message), len(HEAD))


BOTH = pytest.mark.parametrize("view", [in_memory, in_file])


@BOTH
def test_octets_and_pieces(view: Callable[[bytes], Body]) -> None:
    body = view(MESSAGE)
    assert len(body) == body.size == len(MESSAGE)
    assert bytes(body) == MESSAGE
    sizes = [len(piece) for piece in body.pieces(100_000)]
    assert sizes == [100_000] * 7 + [len(MESSAGE) - 700_000]
    assert all(piece.readonly for piece in body.pieces())


@BOTH
def test_reads_stay_inside(view: Callable[[bytes], Body]) -> None:
    body = view(MESSAGE)
    assert body.read(0, 8) == b"Subject:"
    assert body.read(len(MESSAGE) - 3, 100) == b"t\r\n"
    assert body.read(len(MESSAGE) + 5, 100) == b""
    for offset, size in ((-1, 5), (0, -1)):
        with pytest.raises(ValueError, match="negative"):
            body.read(offset, size)


@BOTH
@pytest.mark.parametrize(
    ("message", "header"),
    [
        (MESSAGE, MESSAGE[: MESSAGE.index(b"\r\n\r\n") + 4]),
        (b"A: b\r\n", b"A: b\r\n"),
        (b"\r\nbody\r\n\r\nmore", b"\r\n"),
        (b"", b""),
        (b"A: " + b"x" * 65_531 + b"\r\n\r\nbody", None),  # across two pieces
        (b"A: b\r\n\r\n", b"A: b\r\n\r\n"),
        (b"x" * (1 << 21), b"x" * (1 << 20)),
    ],
)
def test_the_header(
    view: Callable[[bytes], Body], message: bytes, header: bytes | None
) -> None:
    wanted = message[: message.index(b"\r\n\r\n") + 4] if header is None else header
    assert view(message).header() == wanted


@BOTH
def test_the_email_package_reads_it(view: Callable[[bytes], Body]) -> None:
    body = view(MESSAGE)
    assert body.fields()["Subject"] == "grüße"
    assert body.parse().get_content().startswith("line of the text\r\n")
    with body.open() as file:
        assert file.readline().startswith(b"Subject:")
        assert len(file.read()) == len(MESSAGE) - MESSAGE.index(b"\r\n") - 2


def test_a_piece_in_memory_is_no_copy() -> None:
    octets = bytearray(b"Subject: x\r\n")
    (piece,) = Body(octets).pieces()
    octets[0] = ord("T")
    assert bytes(piece[:1]) == b"T"
