"""The composition root: from a configuration to a running server.

mode one    this process has all roles: `fastsmtp.single`
mode split  this process supervises: it owns the sockets and the metrics endpoint,
            and `fastsmtp.worker` runs each receiver and the keeper: `fastsmtp.split`
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import uvloop

from fastsmtp.config import Config
from fastsmtp.doors import Doors, sort_inherited
from fastsmtp.errors import StoreUnavailable
from fastsmtp.net import systemd
from fastsmtp.net.descriptors import raise_limit
from fastsmtp.outset import Outset
from fastsmtp.owner import Identity, acting, become, identity, make_folder
from fastsmtp.serve.control import SOCKET
from fastsmtp.store.lmdb import Lock, lock

LONGEST_SOCKET: Final = 107  # octets of a path in sockaddr_un
PATIENCE: Final = 3.0  # seconds to wait for the workers of a killed supervisor
MOMENT: Final = 0.1  # seconds to wait for their ports after that


def serve(config: Config, path: Path) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status.

    path  the file of the configuration, which a reload reads again

    Raises `OSError` when an address cannot be listened on or a folder cannot be used,
    `StoreUnavailable` when another server has the data directory or the disk fails,
    `FormatTooNew`.
    """
    raise_limit()
    one = config.processes.mode == "one"
    if one:  # now: later, as another user, it may be out of reach
        from fastsmtp.single import serve_one
    else:
        from fastsmtp.split import supervise
    outset = Outset(config, path.absolute(), systemd.Notifier())
    given = systemd.inherited()
    who = identity(config.user, config.data)
    with ExitStack() as stack:
        prepare(config, who)
        with acting(who):
            held = stack.enter_context(claim(config.data))
        # Not before the claim: until then a killed server's workers have the ports.
        doors = open_doors(config, 1 if one else config.processes.receivers, given)
        stack.callback(doors.close)
        become(who)
        os.umask(0o077)
        if not one and not os.access(sys.executable, os.X_OK):
            text = "the user that the server became may not run it"
            raise OSError(errno.EACCES, text, sys.executable)
        run = serve_one(outset, doors) if one else supervise(outset, doors, held)
        return uvloop.run(run)


def prepare(config: Config, who: Identity | None) -> None:
    """Make the folders. `OSError` when they will not do, with the path.

    who  the server becomes; they are made for this user"""
    for folder in (config.data, config.run):
        make_folder(folder, who)
        with acting(who):
            ours = os.access(folder, os.W_OK | os.X_OK, effective_ids=True)
        if not ours:
            raise PermissionError(errno.EACCES, "is not ours to write to", str(folder))
    socket_path = str(config.run / SOCKET)
    if len(os.fsencode(socket_path)) > LONGEST_SOCKET:
        text = f"too long for a socket's name ({LONGEST_SOCKET} octets): set `run`"
        raise OSError(errno.ENAMETOOLONG, text, socket_path)


def claim(data: Path) -> Lock:
    """The lock of the data directory. Workers whose supervisor was killed hold it for
    the moment they need to end, so this waits a little."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return lock(data)
        except StoreUnavailable:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.02)


def open_doors(
    config: Config, receivers: int, given: list[tuple[str, socket.socket]]
) -> Doors:
    """given: what systemd opened, by name.

    A process that ends lets go of its lock a moment before its sockets."""
    inherited = sort_inherited(config, given)
    deadline = time.monotonic() + MOMENT
    while True:
        try:
            return Doors(config, receivers, inherited)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise
        time.sleep(0.01)
