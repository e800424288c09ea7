"""What `fastsmtp doctor` looks at, one function per fact of this machine."""

import asyncio
import contextlib
import errno
import importlib.metadata
import os
import platform
import resource
import socket
import stat
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

from fastsmtp import __version__
from fastsmtp.cli import Failure
from fastsmtp.cli.remote import Remote, ask
from fastsmtp.cli.terminal import amount
from fastsmtp.config import Config
from fastsmtp.options import split_address, unix_path
from fastsmtp.serve.control import Summary, alive
from fastsmtp.serve.operations import Status

Verdict = Literal["good", "doubtful", "bad"]

SYNCS: Final = 20  # measured flushes; the median counts
SLOW_SYNC: Final = 0.02  # seconds: above it, each connection waits noticeably
INSTANT_SYNC: Final = 0.00002  # seconds: no disk is that quick; it does not sync
ANSWER: Final = 5.0  # seconds a living server may take to answer
OURS: Final = "in use by fastsmtp"
SPARE_FILES: Final = 200  # descriptors beside those of connections
FEW_INODES: Final = 10_000
VOLATILE: Final = {"tmpfs", "ramfs", "overlay"}
REMOTE: Final = {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"}
PACKAGES: Final = ("uvloop", "lmdb", "msgspec", "httptools", "argon2-cffi")


class Finding(NamedTuple):
    """One fact, what it means, and what to do about it."""

    about: str
    verdict: Verdict
    text: str
    advice: str = ""

    def __str__(self) -> str:
        line = f"{self.verdict:<8}  {self.about}: {self.text}"
        return f"{line}\n          {self.advice}" if self.advice else line


def examine(config: Config) -> list[Finding]:
    """All findings; takes about as long as the disk needs for a few flushes."""
    return [finding for look in LOOKS for finding in look(config)]


def versions(config: Config) -> Iterator[Finding]:
    found = [f"fastsmtp {__version__}", f"Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            yield Finding("versions", "bad", f"{name} is not installed")
    found.append(f"{platform.system()} {platform.release()}")
    yield Finding("versions", "good", ", ".join(found))


def folder(config: Config) -> Iterator[Finding]:
    data = config.data
    if not data.is_dir():
        yield Finding(
            "data folder",
            "bad",
            f"{data} is not there",
            f"mkdir -m 700 {data}, and give it to the user that serves",
        )
        return
    status = data.stat()
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        yield Finding(
            "data folder",
            "doubtful",
            f"others may look into {data} (mode {mode:o})",
            f"chmod 700 {data}",
        )
    if os.geteuid() not in (0, status.st_uid):
        yield Finding(
            "data folder",
            "bad",
            f"{data} belongs to user {status.st_uid}, you are {os.geteuid()}",
            "run as that user, or as root",
        )
    elif not os.access(data, os.W_OK | os.X_OK, effective_ids=True):
        yield Finding("data folder", "bad", f"{data} cannot be written to")
    elif not mode & 0o077:
        yield Finding("data folder", "good", f"{data}, mode {mode:o}")


def file_system(config: Config) -> Iterator[Finding]:
    where, kind = _mount(config.data)
    if kind in VOLATILE:
        yield Finding(
            "file system",
            "doubtful",
            f"{where} is {kind}: what is in it does not outlive the machine",
            "put data on a disk",
        )
    elif kind in REMOTE:
        yield Finding(
            "file system",
            "bad",
            f"{where} is {kind}: the index needs a local file system",
            "put data on a local disk",
        )
    else:
        yield Finding("file system", "good", f"{kind} on {where}")


def _mount(path: Path) -> tuple[str, str]:
    """(mount point, type) of the file system that holds the path."""
    best = ("/", "unknown")
    path = path.resolve()
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, raw, kind, *_ = line.split(" ")
        point = raw.replace("\\040", " ")
        if path.is_relative_to(point) and len(point) >= len(best[0]):
            best = (point, kind)
    return best


def space(config: Config) -> Iterator[Finding]:
    if not config.data.is_dir():
        return
    status = os.statvfs(config.data)
    free = status.f_bavail * status.f_frsize
    needed = config.store.min_free + config.store.reserve
    if free < needed:
        yield Finding(
            "free space",
            "bad",
            f"{amount(free)}; below {amount(needed)} no mail is taken (452)",
            "make room, or lower store.min_free",
        )
    else:
        yield Finding("free space", "good", amount(free))
    if status.f_files and status.f_favail < FEW_INODES:
        yield Finding("free inodes", "doubtful", str(status.f_favail))


def sync_speed(config: Config) -> Iterator[Finding]:
    """How long the disk takes to make 4 KiB durable: what each 250 waits for."""
    if not config.data.is_dir() or not os.access(config.data, os.W_OK):
        return
    times = []
    with tempfile.TemporaryFile(dir=config.data) as file:
        for _ in range(SYNCS):
            file.write(os.urandom(4096))
            file.flush()
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - started)
    median = statistics.median(times)
    text = f"median {median * 1000:.2f} ms, slowest {max(times) * 1000:.2f} ms"
    if median > SLOW_SYNC:
        advice = "each message waits this long for its 250; use a faster disk"
        yield Finding("fdatasync", "doubtful", text, advice)
    elif median < INSTANT_SYNC:
        advice = "no disk is this quick: mail may not survive a power loss"
        yield Finding("fdatasync", "doubtful", text, advice)
    else:
        yield Finding("fdatasync", "good", text)


def open_files(config: Config) -> Iterator[Finding]:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    needed = config.smtp.max_connections + SPARE_FILES
    if limit != resource.RLIM_INFINITY and limit < needed:
        yield Finding(
            "open files",
            "doubtful",
            f"the limit is {limit}, smtp.max_connections needs {needed}",
            f"LimitNOFILE={needed} in the unit, or lower smtp.max_connections",
        )
    else:
        yield Finding("open files", "good", f"limit {limit}")


def ports(config: Config) -> Iterator[Finding]:
    listened = [a for each in config.listeners.values() for a in each]
    for address in filter(None, (*listened, config.metrics.listen)):
        if unix_path(address):
            continue
        found = _port(address)
        if found.text.startswith(OURS) and not alive(config.run):
            found = Finding(
                found.about,
                "bad",
                found.text.replace(OURS, "in use by another fastsmtp"),
                "it has another run folder: stop it, or listen elsewhere",
            )
        yield found


def _port(address: str) -> Finding:
    host, port = split_address(address)
    about = f"port {port}"
    try:
        family, kind, _, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(place)
            probe.listen(1)
    except socket.gaierror as error:
        return Finding(about, "bad", f"{host} is not known: {error.strerror}")
    except OSError as error:
        return _taken(address, port, error)
    return Finding(about, "good", f"{address} is free")


def _taken(address: str, port: int, error: OSError) -> Finding:
    about = f"port {port}"
    if error.errno == errno.EADDRINUSE:
        owner = listener(port)
        if owner is None:
            return Finding(
                about,
                "bad",
                f"{address} is in use by a process of another user",
                "as root, doctor says by which",
            )
        name, pid = owner
        if name.startswith("fastsmtp"):
            return Finding(about, "good", f"{OURS} (pid {pid})")
        advice = f"stop {name}, or listen elsewhere"
        return Finding(about, "bad", f"in use by {name} (pid {pid})", advice)
    if error.errno in (errno.EACCES, errno.EPERM):
        return Finding(
            about,
            "bad",
            f"{address} may not be bound",
            "ports below 1024 need CAP_NET_BIND_SERVICE (AmbientCapabilities= in"
            " the unit) or a .socket unit",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return Finding(about, "bad", f"{address} is no address of this machine")
    return Finding(about, "bad", f"{address}: {error.strerror}")


def listener(port: int) -> tuple[str, int] | None:
    """(name, pid) of the process that listens on a TCP port, if we may know it."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in (line.split() for line in lines):
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    return _holder(inodes)


def _holder(inodes: set[str]) -> tuple[str, int] | None:
    for process in Path("/proc").glob("[0-9]*"):
        if any(link in inodes for link in _open_links(process)):
            return process_name(process), int(process.name)
    return None


def _open_links(process: Path) -> Iterator[str]:
    """What its descriptors lead to; nothing if it is gone or not ours to look into."""
    try:
        descriptors = os.listdir(process / "fd")
    except OSError:
        return
    for descriptor in descriptors:
        with contextlib.suppress(OSError):  # closed meanwhile
            yield os.readlink(process / "fd" / descriptor)


def process_name(process: Path) -> str:
    """As one knows it: the program, or the module that an interpreter runs."""
    words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
    for word in words:
        name = word.rpartition("/")[2]
        if name.startswith("fastsmtp"):
            return "fastsmtp"
    return (process / "comm").read_text().strip()


def keeper(config: Config) -> Iterator[Finding]:
    """Does the process that writes the index answer?"""
    if not alive(config.run):
        yield Finding("server", "good", "not running")
        return
    try:
        answer = asyncio.run(_status(config))
    except (TimeoutError, Failure) as error:
        text = str(error) or f"no answer in {ANSWER:.0f} s"
        yield Finding("server", "bad", text, "see its log; restart it")
        return
    about = f"fastsmtp {answer['version']} (pid {answer['pid']})"
    if answer["trouble"]:
        yield Finding("server", "bad", f"{about} takes no mail: {answer['trouble']}")
    else:
        yield Finding("server", "good", about)


async def _status(config: Config) -> Summary:
    """Raises `TimeoutError` after ANSWER seconds."""
    async with asyncio.timeout(ANSWER):
        remote = await Remote.connect(config.run)
        if remote is None:
            raise Failure("it has just ended")
        try:
            return await ask(remote, "status", Status())
        finally:
            await remote.close()


def name(config: Config) -> Iterator[Finding]:
    try:
        found = socket.getaddrinfo(config.hostname, None, type=socket.SOCK_STREAM)
    except OSError as error:
        yield Finding(
            "hostname",
            "doubtful",
            f"{config.hostname} does not resolve: {error.strerror}",
            "give it an A or AAAA record, or put the right name into hostname",
        )
        return
    addresses = sorted({str(entry[4][0]) for entry in found})
    shown = f"{config.hostname} is {', '.join(addresses)}"
    if any(address.startswith("127.") or address == "::1" for address in addresses):
        yield Finding(
            "hostname",
            "doubtful",
            f"{shown}: this machine alone sees it so",
            "usually a line in /etc/hosts; others ask the DNS",
        )
    else:
        yield Finding("hostname", "good", shown)


LOOKS: Final[tuple[Callable[[Config], Iterator[Finding]], ...]] = (
    versions,
    folder,
    file_system,
    space,
    sync_speed,
    open_files,
    ports,
    name,
    keeper,
)
