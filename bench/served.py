"""A `fastsmtp serve` of our own: configured, started, killed and stopped by its pid."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from random import sample
from socket import create_connection, create_server
from typing import Literal

from fastsmtp_bench.interrupt import later
from fastsmtp_bench.process import alive, comes, tree

EPHEMERAL = 32_768  # where ip_local_port_range begins unless somebody has set it
START_SECONDS = 60.0  # a busy machine takes its time
STOP_SECONDS = 60.0
CONFIGURATION = """\
hostname = "mx.example.test"
data = "{data}"

[smtp]
listen = ["127.0.0.1:{port}"]
{smtp}

[domains."example.test"]

[metrics]
listen = "127.0.0.1:{metrics}"

[processes]
mode = "{mode}"

{more}
"""
MANY = """\
max_connections = 60000
max_connections_per_network = 50000  # every client is one network here
max_idle_commands = 1000000
"""


PORTS = cycle(sample(range(10_000, EPHEMERAL), EPHEMERAL - 10_000))


def free_port(address: str = "127.0.0.1") -> int:
    """A port on which nothing listens, and which is not soon given again.

    Neither by this process, which may need several before it listens on the first, nor
    by the kernel, which gives the ports from EPHEMERAL on to whoever connects.
    """
    for port in PORTS:
        with suppress(OSError), create_server((address, port)):
            return port
    raise AssertionError("cycle() does not end")


@dataclass(slots=True)
class Served:
    """fastsmtp in a directory of its own.

    mode    one process, or receivers and a keeper as processes of their own
    smtp    more lines for the [smtp] table
    more    more tables
    extra   environment of the server, for instance LD_PRELOAD
    """

    home: Path
    mode: Literal["one", "split"] = "one"
    smtp: str = MANY
    more: str = ""
    extra: dict[str, str] = field(default_factory=dict)
    data: Path | None = None
    port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        # a folder that a configuration names is relative to its file, not to ours
        self.home = self.home.resolve()
        self.data = self.data and self.data.resolve()

    @property
    def configuration(self) -> Path:
        return self.home / "fastsmtp.toml"

    @property
    def log(self) -> Path:
        return self.home / "serve.log"

    @property
    def metrics(self) -> str:
        return f"http://127.0.0.1:{self.metrics_port}/metrics"

    @property
    def pid(self) -> int:
        assert self.process, "not started"
        return self.process.pid

    def configure(self) -> None:
        """Writes the configuration file and makes the data directory."""
        data = self.data or self.home / "data"
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.home.mkdir(parents=True, exist_ok=True)
        self.configuration.write_text(
            CONFIGURATION.format(
                data=data,
                port=self.port,
                metrics=self.metrics_port,
                mode=self.mode,
                smtp=self.smtp,
                more=self.more,
            )
        )

    def words(self, *words: str) -> list[str]:
        """A command line for this server."""
        command = [sys.executable, "-m", "fastsmtp.cli", *words]
        return [*command, "-c", str(self.configuration)]

    def command(self, *words: str, given: str | None = None) -> str:
        """Runs a verb of the command line; its standard output.

        Raises CalledProcessError, with what it said, when it does not end with 0.
        """
        done = subprocess.run(
            self.words(*words),
            input=given,
            text=True,
            capture_output=True,
            timeout=300,
        )
        if done.returncode:
            failed = subprocess.CalledProcessError(
                done.returncode, done.args, done.stdout, done.stderr
            )
            failed.add_note(done.stderr)
            raise failed
        return done.stdout

    def start(self, seconds: float = START_SECONDS) -> float:
        """Starts the server; how many seconds passed until it greeted a client."""
        begun = time.monotonic()
        with self.log.open("ab") as log, later():
            self.process = subprocess.Popen(
                self.words("serve"),
                stdout=log,
                stderr=log,
                env={**os.environ, **self.extra},
                start_new_session=True,
            )
        process = self.process
        try:
            if not comes(self.greets, seconds, lambda: process.poll() is not None):
                tail = self.log.read_text(errors="replace")[-2000:]
                ended = process.poll()
                raise RuntimeError(f"fastsmtp did not start ({ended}): {tail}")
        except BaseException:  # also of a signal: nobody else would end it
            self.kill()
            raise
        return time.monotonic() - begun

    def greets(self) -> bool:
        """Whether a client is greeted with 220 now."""
        with (
            suppress(OSError),
            create_connection(("127.0.0.1", self.port), timeout=20) as client,
        ):
            return client.recv(512).startswith(b"220")
        return False

    def kill(self) -> None:
        """kill -9 of the whole process group; returns when all of it is gone."""
        group = tree(self.pid)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        assert self.process
        self.process.wait()
        while any(alive(pid) for pid in group):
            time.sleep(0.001)

    def stop(self) -> None:
        """SIGTERM, and the clean end; kill -9 when it does not come in time."""
        if not self.process or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def read_metrics(self) -> str:
        with urllib.request.urlopen(self.metrics, timeout=10) as reply:
            return str(reply.read().decode())

    def ready(self) -> bool:
        url = f"http://127.0.0.1:{self.metrics_port}/readyz"
        with (
            suppress(urllib.error.URLError, OSError),
            urllib.request.urlopen(url, timeout=10) as reply,
        ):
            return bool(reply.status == 200)
        return False
