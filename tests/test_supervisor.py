import os

import pytest

from fastsmtp.supervisor import STABLE, Orders, Worker, read_orders


def framed(data: bytes) -> int:
    theirs, ours = os.pipe()
    os.write(ours, data)
    os.close(ours)
    return theirs


def test_a_worker_reads_its_orders_from_the_pipe() -> None:
    import msgspec

    orders = Orders("receive", 1, 7, "{}", (5, 6))
    data = msgspec.json.encode(orders)
    assert read_orders(framed(len(data).to_bytes(8, "big") + data)) == orders


@pytest.mark.parametrize("data", [b"", (9).to_bytes(8, "big") + b"{"])
def test_without_whole_orders_a_worker_says_who_died(data: bytes) -> None:
    with pytest.raises(EOFError, match="supervisor"):
        read_orders(framed(data))


def test_a_worker_that_keeps_dying_is_replaced_ever_more_slowly() -> None:
    worker = Worker("keep", 0)
    worker.started = 100.0
    pauses = [worker.pause(100.1) for _ in range(12)]
    assert pauses[:4] == [0.0, 0.05, 0.1, 0.2]
    assert pauses[-1] == 10.0
    assert worker.pause(100.0 + STABLE + 1) == 0.0
