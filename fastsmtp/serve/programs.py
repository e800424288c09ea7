"""Programs of this machine that send through `fastsmtp sendmail`: who they are.

The kernel says which user is at the other end of a Unix socket (SO_PEERCRED, unix(7)),
so nobody needs a password and nobody can say to be somebody else. A user of the machine
is the login `name@domain` and may send from that address and its +tags, and from what
`submission.senders` gives this login. Those that are trusted may send from any.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import struct
from typing import Final

from fastsmtp.policy.options import SendmailOptions
from fastsmtp.policy.senders import SEPARATOR, Senders
from fastsmtp.wire.address import split_tag

_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred: process, user, group


class Programs:
    """One for all connections of a listener.

    domain   of the users of this machine
    senders  what a login may use besides its own address
    """

    def __init__(
        self, options: SendmailOptions, hostname: str, senders: Senders
    ) -> None:
        self.domain = (options.domain or hostname).lower()
        self._senders = senders
        trusted = {self.login_of(os.geteuid())}  # it can write what it likes anyhow
        trusted |= {f"{name.lower()}@{self.domain}" for name in options.trusted}
        self._trusted = frozenset(trusted)

    def whose(self, transport: asyncio.BaseTransport) -> str:
        """The login of who is connected. Raises `OSError` when nobody can tell."""
        sock = transport.get_extra_info("socket")
        octets = sock.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
        )
        return self.login_of(_CREDENTIALS.unpack(octets)[1])

    def login_of(self, user: int) -> str:
        try:
            name = pwd.getpwuid(user).pw_name
        except KeyError:  # of a container, or removed
            name = f"uid-{user}"
        return f"{name.lower()}@{self.domain}"

    def allows(self, login: str, address: str) -> bool:
        """As `policy.senders.Senders`; an address is given to users by name alone, not
        because an alias of mail leads there."""
        local, _, domain = address.lower().rpartition("@")
        if login in self._trusted:
            return bool(local)
        base, _ = split_tag(local, SEPARATOR)
        own = (f"{local}@{self.domain}", f"{base}@{self.domain}")
        return (domain == self.domain and login in own) or self._senders.gives(
            login, address
        )
