"""What systemd and a service tell each other (sd_notify(3), sd_listen_fds(3)).

The variables are taken out of the environment, so that no child mistakes them for its
own. Without them everything here does nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping
from typing import Final

FIRST: Final = 3  # descriptor of the first inherited socket
Environ = MutableMapping[str, str]


class Notifier:
    """Tells systemd how the service is.

    interval  seconds within which `alive` must be said, or it is killed; 0.0: not asked
    """

    def __init__(self, environ: Environ | None = None) -> None:
        variables = os.environ if environ is None else environ
        self._address = variables.pop("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]
        microseconds = variables.pop("WATCHDOG_USEC", "")
        pid = variables.pop("WATCHDOG_PID", "")
        mine = not pid or pid == str(os.getpid())
        wanted = bool(self._address) and mine and microseconds.isdecimal()
        self.interval = int(microseconds) / 1e6 if wanted else 0.0
        self._last = ""

    @property
    def asked(self) -> bool:
        """Whether anybody wants to be told."""
        return bool(self._address)

    def ready(self) -> None:
        """Started, or reloaded."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Until `ready`. Type=notify-reload compares the time with its own."""
        microseconds = time.monotonic_ns() // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={microseconds}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line that `systemctl status` shows; said again only when it changes."""
        line = text.replace("\n", " ")
        if line != self._last:
            self._last = line
            self._send(f"STATUS={line}")

    def _send(self, text: str) -> None:
        """Nobody waits for systemd: what it cannot take now is not said."""
        if not self._address:
            return
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out,
        ):
            out.setblocking(False)
            out.sendto(text.encode(), self._address)


def inherited(environ: Environ | None = None) -> list[tuple[str, socket.socket]]:
    """The listening sockets that systemd opened for this process, with their names.

    Raises `OSError` when one is not a listening stream socket."""
    variables = os.environ if environ is None else environ
    pid = variables.pop("LISTEN_PID", "")
    count = variables.pop("LISTEN_FDS", "")
    names = variables.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    found = []
    for number in range(int(count)):
        os.set_inheritable(FIRST + number, False)
        sock = socket.socket(fileno=FIRST + number)
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            text = f"descriptor {FIRST + number} is no socket that listens"
            raise OSError(0, text, "socket activation")
        sock.setblocking(False)
        found.append((names[number] if number < len(names) else "", sock))
    return found
