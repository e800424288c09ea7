"""A full or failing disk under a running server: 452, nothing lost, recovery."""

import errno
import os
import shutil
import smtplib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from crash.kill_disk import disk, missing
from crash.kill_rig import PASSWORD, Load, check_ledger, prepared, stored_ids, until
from shims.faults import Faults

from fastsmtp_bench.client import pending
from fastsmtp_bench.served import Served

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler"),
]
MIB = 1 << 20
OTHER = "other@example.test"
SMALL = """\
[store]
segment_size = "4 MiB"
reserve = "8 MiB"
min_free = "{min_free}"
"""
RECOVERY_SECONDS = 10.0


def reply_to_mail(server: Served) -> tuple[int, bytes]:
    """What a stranger hears to MAIL now."""
    with smtplib.SMTP("127.0.0.1", server.port, timeout=10) as client:
        client.ehlo("client.example")
        return client.mail("stranger@client.example")


def finish(server: Served, load: Load, folder: Path) -> None:
    report = load.stop()
    until(lambda: pending(server.metrics) == 0, "all mail in its mailbox")
    stored = stored_ids(server, folder)
    server.stop()
    server.command("verify")
    check_ledger(stored, load.acked(), report["started"], load.tag)


@contextmanager
def ballast(place: Path, leave: int) -> Iterator[None]:
    """Fills the file system until `leave` octets are free; takes it away again."""
    heavy = place / "ballast"
    with heavy.open("wb", buffering=0) as file, suppress(OSError):
        while (free := shutil.disk_usage(place).free) > leave:
            os.posix_fallocate(file.fileno(), file.tell(), min(free - leave, MIB))
            file.seek(0, os.SEEK_END)
    try:
        yield
    finally:
        heavy.unlink(missing_ok=True)


@pytest.mark.root
@pytest.mark.parametrize("mode", ["one", "split"])
@pytest.mark.parametrize("min_free", ["16 MiB", "0"])
def test_a_full_disk_is_answered_452_until_there_is_space(
    tmp_path: Path, mode: str, min_free: str
) -> None:
    """With `min_free` the door closes first; with 0 the writer itself meets ENOSPC."""
    if why := missing("ext4"):
        pytest.skip(why)
    with disk(tmp_path, "ext4", 192 * MIB) as small:
        settings = {
            "data": small.place / "data",
            "more": SMALL.format(min_free=min_free),
        }
        server = prepared(tmp_path / "home", mode=mode, **settings)
        server.command("user", "add", OTHER, "--password-stdin", given=PASSWORD)
        server.start()
        load = Load(server.port, tmp_path / "acked", size=16_384).start()
        try:
            load.more(200)
            with ballast(small.place, leave=MIB // 2):
                until(lambda: reply_to_mail(server)[0] == 452, "452 to MAIL")
                code, text = reply_to_mail(server)
                assert (code, text[:5]) == (452, b"4.3.1")
                until(lambda: not server.ready(), "/readyz says no")
                server.command("user", "remove", "--yes", OTHER)
            until(lambda: reply_to_mail(server)[0] == 250, "recovery", RECOVERY_SECONDS)
            load.more(200)
            until(server.ready, "/readyz says yes")
            finish(server, load, tmp_path)
        finally:
            server.stop()


@pytest.mark.parametrize("mode", ["one", "split"])
@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("fdatasync", errno.EIO),
        ("write", errno.EIO),
        ("write", errno.ENOSPC),
        ("write", 0),
        ("open", errno.EMFILE),
        ("fallocate", errno.ENOSPC),
    ],
)
def test_failing_calls_of_the_log_lose_nothing(
    tmp_path: Path, mode: str, call: str, error: int
) -> None:
    faults = Faults.build(tmp_path, on="/log/")
    more = SMALL.format(min_free="0").replace("4 MiB", "1 MiB")
    server = prepared(tmp_path / "home", mode=mode, more=more)
    server.extra = faults.environment()
    server.start()
    load = Load(server.port, tmp_path / "acked", size=4096).start()
    try:
        for first in (1, 2, 7):
            load.more(500)
            faults.set(call, error, first=first, count=3)
            load.more(500)
        faults.clear()
        load.more(500)
        finish(server, load, tmp_path)
    finally:
        server.stop()


def test_a_disk_that_fails_for_long_is_answered_452(tmp_path: Path) -> None:
    faults = Faults.build(tmp_path, on="/log/")
    server = prepared(tmp_path / "home")
    server.extra = faults.environment()
    server.start()
    load = Load(server.port, tmp_path / "acked", size=4096).start()
    try:
        load.more(200)
        faults.set("any", errno.EIO, count=0)
        until(lambda: reply_to_mail(server)[0] == 452, "452 to MAIL")
        assert not server.ready()
        faults.clear()
        until(lambda: reply_to_mail(server)[0] == 250, "recovery", RECOVERY_SECONDS)
        load.more(200)
        finish(server, load, tmp_path)
    finally:
        server.stop()
