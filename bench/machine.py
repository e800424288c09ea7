"""The facts a figure is worth nothing without: processor, kernel, file system."""

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def processor() -> str:
    info = Path("/proc/cpuinfo").read_text()
    found = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    cores = len(os.sched_getaffinity(0))
    return f"{found[1] if found else platform.machine()}, {cores} cores"


def file_system(path: Path) -> str:
    """Type and device of the file system that holds `path`, with its journal."""
    best = ("", "?", "?")
    for line in Path("/proc/mounts").read_text().splitlines():
        device, mount, kind, *_ = line.split()
        holds = path.resolve().is_relative_to(mount)
        if holds and len(mount) >= len(best[0]):
            best = (mount, kind, device)
    _, kind, device = best
    return f"{kind} ({device}{_journal(kind, device)})"


def versions() -> str:
    """Interpreter and compiled parts, as they are installed."""
    found = [f"Python {platform.python_version()}", f"Linux {platform.release()}"]
    for package in ("uvloop", "lmdb", "Cython"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _journal(kind: str, device: str) -> str:
    """Whether an ext4 has a journal: it shows as a directory of jbd2's statistics."""
    if kind != "ext4":
        return ""
    name = Path(device).name
    journals = [p.name for p in Path("/proc/fs/jbd2").glob(f"{name}-*")]
    return ", with journal" if journals else ", without journal"
