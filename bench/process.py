"""What processes cost, read from /proc; waiting for them, and their end."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


def tree(pid: int) -> list[int]:
    """The process and all its descendants that live now."""
    children: dict[int, list[int]] = {}
    for entry in PROC.glob("[0-9]*"):
        try:
            parent = int(_stat(int(entry.name))[1])
        except (OSError, IndexError, ValueError):
            continue  # it ended while we looked
        children.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        found.append(one := todo.pop())
        todo += children.get(one, [])
    return found


def alive(pid: int) -> bool:
    """Whether it still runs; one that nobody has waited for yet does not."""
    try:
        return _stat(pid)[0] not in "ZX"
    except OSError:
        return False


def comes(
    true: Callable[[], bool],
    seconds: float,
    ended: Callable[[], bool] = lambda: False,
) -> bool:
    """Whether it comes true, in time and before something has `ended`. What is asked
    last counts: this process may have been held up for longer than that."""
    end = time.monotonic() + seconds
    while True:
        late = time.monotonic() > end or ended()
        if true():
            return True
        if late:
            return False
        time.sleep(0.005)


def stop(
    child: "subprocess.Popen[bytes]", seconds: float = 5.0, group: bool = False
) -> None:
    """SIGTERM; kill -9 when it has not ended in time. With `group` it began a session
    of its own, and what is left of that is killed too."""
    child.terminate()
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    if group:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


def cpu_seconds(pid: int) -> float:
    """User and system time of the tree and of the children it has waited for."""
    return sum(_cpu_of(one) for one in tree(pid))


def thread_seconds(pid: int) -> dict[tuple[str, str], float]:
    """User and system time of each thread of a fastsmtp, by (role, name of the thread);
    the role is `receive` or `keep`, or `serve` for what runs all or watches all."""
    found: dict[tuple[str, str], float] = {}
    for one in tree(pid):
        words = (PROC / str(one) / "cmdline").read_bytes().decode().split("\0")
        role = next((w for w in words if w in ("receive", "keep")), "serve")
        for task in (PROC / str(one) / "task").glob("[0-9]*"):
            name = (task / "comm").read_text().strip()
            thread = "main" if task.name == str(one) else name
            spent = _fields(task / "stat")
            seconds = (int(spent[11]) + int(spent[12])) / TICK
            found[role, thread] = found.get((role, thread), 0.0) + seconds
    return found


def anonymous_bytes(pid: int) -> int:
    """RssAnon over the tree: memory that is not a mapped file."""
    return sum(_status_bytes(one, "RssAnon") for one in tree(pid))


def resident_bytes(pid: int) -> int:
    """VmRSS over the tree; pages that processes share count in each."""
    return sum(_status_bytes(one, "VmRSS") for one in tree(pid))


def descriptors(pid: int) -> int:
    """Open files over the tree."""
    count = 0
    for one in tree(pid):
        with suppress(OSError):
            count += len(list((PROC / str(one) / "fd").iterdir()))
    return count


def _status_bytes(pid: int, field: str) -> int:
    try:
        status = (PROC / str(pid) / "status").read_text()
    except OSError:
        return 0  # it ended while we looked
    found = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _cpu_of(pid: int) -> float:
    try:
        spent = _stat(pid)
    except OSError:
        return 0.0
    return sum(int(spent[n]) for n in (11, 12, 13, 14)) / TICK


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third (the state) on."""
    return _fields(PROC / str(pid) / "stat")


def _fields(stat: Path) -> list[str]:
    return stat.read_text().rsplit(")", 1)[1].split()
