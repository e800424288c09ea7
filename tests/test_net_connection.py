from fakes import FakeTransport

from fastsmtp.net.connection import Connection, shared_buffer


class Seen(Connection):
    __slots__ = ("seen",)

    def __init__(self, shared: bytearray) -> None:
        super().__init__(shared)
        self.seen: list[str] = []

    def opened(self) -> None:
        self.seen.append("opened")

    def steer(self) -> None:
        self.seen.append(f"full {self.full}")

    def ended(self) -> None:
        self.seen.append("ended")


def made() -> tuple[Seen, FakeTransport]:
    connection, transport = Seen(shared_buffer()), FakeTransport()
    connection.connection_made(transport)
    return connection, transport


def test_all_connections_read_into_one_buffer() -> None:
    shared = shared_buffer()
    assert Seen(shared).get_buffer(-1) is Seen(shared).get_buffer(65536) is shared
    assert not hasattr(Seen(shared), "__dict__")


def test_reading_stops_and_goes_on() -> None:
    connection, transport = made()
    connection.read(True)
    assert (transport.reading, connection.paused) == (True, False)
    connection.read(False)
    connection.read(False)
    assert (transport.reading, connection.paused) == (False, True)
    connection.read(True)
    assert (transport.reading, connection.paused) == (True, False)


def test_a_peer_that_does_not_read_is_noticed() -> None:
    connection, _ = made()
    connection.pause_writing()
    assert connection.full
    connection.resume_writing()
    assert connection.seen == ["opened", "full True", "full False"]


def test_the_end_comes_once_and_nothing_is_touched_behind_it() -> None:
    connection, transport = made()
    connection.close()
    connection.close()
    assert transport.closed
    assert not transport.aborted
    connection.abort()
    assert transport.aborted
    connection.connection_lost(None)
    connection.read(False)
    connection.close()
    connection.abort()
    assert connection.seen == ["opened", "ended"]
    assert connection.eof_received() is False
