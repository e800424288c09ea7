"""Power loss under load: what was acknowledged is on the disk.

The data directory stands on a file system in a file. `FS_IOC_SHUTDOWN` without log
flush loses everything that was not synced, as pulling the plug does; then it is
mounted again. The control runs with syncs that do nothing, and must lose mail.
"""

import random
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from crash.kill_disk import Disk, disk, missing
from crash.kill_rig import Load, check_ledger, prepared, shim, stored_ids, until

from fastsmtp_bench.client import pending
from fastsmtp_bench.served import Served

pytestmark = [
    pytest.mark.slow,
    pytest.mark.root,
    pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler"),
]
NOSYNC = Path(__file__).parent / "shims" / "nosync.c"
MIB = 1 << 20
ROUNDS = {"ext4": 12, "ext4 without journal": 6, "xfs": 6}
SMALL = '[store]\nsegment_size = "4 MiB"\nreserve = "8 MiB"\nmin_free = "8 MiB"\n'


def lose_power(
    server: Served, plug: Disk, load: Load, count: int
) -> tuple[dict[str, int], list[str]]:
    """Loads until `count` were acknowledged, pulls the plug, comes back.

    Returns the client's report, and what was acknowledged before the plug was pulled.
    Cut power ends a machine at once. This way the kernel goes on for a moment, and an
    fdatasync under way may find the journal's transaction gone, aborted, and take it
    for committed: one flush then counts that no power loss would have let count."""
    load.start()
    load.more(count)
    before = load.acked()
    plug.lose_power()
    server.kill()
    report = load.stop()
    plug.restart()
    return report, before


def served_on(plug: Disk, folder: Path, mode: str, **settings: object) -> Served:
    place = {"data": plug.place / "data", "more": SMALL}
    return prepared(folder, mode=mode, **place, **settings)


@pytest.mark.parametrize("mode", ["one", "split"])
@pytest.mark.parametrize("kind", list(ROUNDS))
def test_no_acknowledged_message_is_lost(tmp_path: Path, kind: str, mode: str) -> None:
    if why := missing(kind):
        pytest.skip(why)
    chance = random.Random(f"power {kind} {mode}")
    every: list[str] = []
    with disk(tmp_path, kind, 512 * MIB) as plug:
        server = served_on(plug, tmp_path / "home", mode)
        server.start()
        for number in range(ROUNDS[kind]):
            load = Load(server.port, tmp_path / f"acked{number}", tag=f"r{number:02}-")
            report, acked = lose_power(server, plug, load, chance.randrange(1, 1500))
            server.command("verify")
            server.start()
            until(lambda: pending(server.metrics) == 0, "everything applied")
            stored = stored_ids(server, tmp_path)
            every += acked
            assert not {one: stored[one] for one in every if stored[one] != 1}
            mine = {one: n for one, n in stored.items() if one.startswith(load.tag)}
            check_ledger(Counter(mine), acked, report["started"], load.tag)
        server.stop()
        server.command("verify")


def test_control_without_syncs_mail_is_lost(tmp_path: Path) -> None:
    if why := missing("ext4"):
        pytest.skip(why)
    lies = {"LD_PRELOAD": str(shim(tmp_path, NOSYNC))}
    caught = 0
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        with disk(folder, "ext4", 256 * MIB) as plug:
            server = served_on(plug, folder / "home", "one", extra=lies)
            server.start()
            load = Load(server.port, folder / "acked")
            lose_power(server, plug, load, 1000)
            caught += damaged(server, load, folder)
    assert caught == 3, "the rig does not lose what was not synced"


def damaged(server: Served, load: Load, folder: Path) -> bool:
    """Whether the store cannot be opened, or acknowledged mail is not in it."""
    server.extra = {}
    try:
        server.start()
        until(lambda: pending(server.metrics) == 0, "everything applied")
        stored = stored_ids(server, folder)
    except (RuntimeError, subprocess.CalledProcessError):
        return True
    finally:
        server.stop()
    return any(not stored[one] for one in load.acked())
