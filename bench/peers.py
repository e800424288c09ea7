"""Postfix with smtp-source and smtp-sink, Exim, Unbound, aiosmtpd: for tests and
benchmarks.

Taken from where they are installed, or else unpacked from their packages: no mail
server is installed (and two would not go together), `apt-get download` fetches the
package and `dpkg -x` unpacks it into a cache directory. Our own null sink is started
here too.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import create_connection, create_server
from time import monotonic

from fastsmtp_bench.native import program
from fastsmtp_bench.process import stop

POSTFIX = ["postfix", "libicu72", "libnsl2", "libdb5.3", "libtirpc3", "libsasl2-2"]
EXIM = ["exim4-daemon-light", "libdb5.3", "libnsl2", "libtirpc3", "libidn12"]
EXIM += ["libgnutls-dane0", "libunbound8", "libevent-2.1-7", "libpcre2-8-0"]
AIOSMTPD = ["python3-aiosmtpd", "python3-attr", "python3-public"]
UNBOUND = ["unbound", "libunbound8", "libevent-2.1-7", "libprotobuf-c1"]
UNBOUND += ["libpython3.11", "libhiredis0.14", "libnghttp2-14"]
LIBRARIES = ["usr/lib/postfix", "usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"]
START_SECONDS = 5.0


class Unavailable(Exception):
    """A program is neither installed nor to be had from apt."""


def tool(name: str) -> tuple[Path, dict[str, str]]:
    """A program of postfix such as `smtp-source`, and the environment it needs."""
    return _found(name, "root", POSTFIX)


def exim() -> tuple[Path, dict[str, str]]:
    """Exim, and the environment it needs."""
    return _found("exim4", "exim/root", EXIM)


def unbound() -> tuple[Path, dict[str, str]]:
    """A name server, and the environment it needs."""
    return _found("unbound", "unbound/root", UNBOUND)


def aiosmtpd() -> Path:
    """The folder for PYTHONPATH where the package aiosmtpd is."""
    folder = "usr/lib/python3/dist-packages"
    wanted = f"{folder}/aiosmtpd/__init__.py"
    return unpacked(wanted, "aiosmtpd-package/root", AIOSMTPD) / folder


def _found(name: str, folder: str, packages: list[str]) -> tuple[Path, dict[str, str]]:
    if found := shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
        return Path(found), dict(os.environ)
    root = unpacked(f"usr/sbin/{name}", folder, packages)
    known = os.environ.get("LD_LIBRARY_PATH")
    paths = [str(root / library) for library in LIBRARIES] + ([known] if known else [])
    return root / "usr/sbin" / name, dict(os.environ, LD_LIBRARY_PATH=":".join(paths))


def unpacked(wanted: str, folder: str, packages: list[str]) -> Path:
    """Where packages are unpacked, so that a file of them is there; the first of them
    must be had. Raises `Unavailable`."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    root = cache / "fastsmtp-bench" / folder
    if not (root / wanted).exists():
        _unpack(root, packages)
    return root


def version() -> str:
    """Of the postfix package the tools come from."""
    binary, _ = tool("smtp-sink")
    archives = list(binary.parents[2].parent.glob("postfix_*.deb"))
    return archives[0].name.split("_")[1] if archives else "installed"


@contextmanager
def smtp_sink(*words: str) -> Iterator[tuple[int, int]]:
    """A running smtp-sink: (port, pid). `words` are options of its own."""
    with create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    binary, environment = tool("smtp-sink")
    command = [str(binary), *(["-u", "nobody"] if os.geteuid() == 0 else [])]
    sink = subprocess.Popen(
        [*command, *words, f"127.0.0.1:{port}", "1000"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        answers(port)
        yield port, sink.pid
    finally:
        stop(sink)


@contextmanager
def null_sink(*words: str) -> Iterator[tuple[int, int]]:
    """Our own sink, the ceiling of our own client: (port, pid). `words` are options of
    its own."""
    sink = subprocess.Popen([program("sink"), *words], stdout=subprocess.PIPE)
    assert sink.stdout
    try:
        yield int(sink.stdout.readline()), sink.pid
    finally:
        stop(sink)
        sink.stdout.close()


def _unpack(root: Path, packages: list[str]) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for package in packages:  # the libraries have other names in other releases
        with suppress(subprocess.CalledProcessError, FileNotFoundError):
            subprocess.run(
                ["apt-get", "download", package],
                cwd=root.parent,
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
    archives = list(root.parent.glob("*.deb"))
    if not any(a.name.startswith(f"{packages[0]}_") for a in archives):
        what = f"apt-get download {packages[0]}"
        raise Unavailable(f"{what} failed: run apt-get update first")
    for archive in archives:
        subprocess.run(["dpkg", "-x", str(archive), str(root)], check=True)


def answers(port: int, seconds: float = START_SECONDS, host: str = "127.0.0.1") -> None:
    """Returns when somebody greets there. Raises OSError when nobody does in time."""
    end = monotonic() + seconds
    while True:
        try:
            with create_connection((host, port), timeout=1) as client:
                client.recv(512)
                return
        except OSError:
            if monotonic() > end:
                raise
