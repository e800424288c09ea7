"""Whether there is a way to a recipient at all: told at RCPT to users who log in, so
that they need no notice of what is known beforehand."""

from __future__ import annotations

from fastsmtp.errors import Refused
from fastsmtp.policy.relaying import Relaying
from fastsmtp.smtp.session import Session


class Way:
    """A check of RCPT, see `serve.checks`. Strangers are none of its business: they
    send to us and to relay domains, which always have a way."""

    def __init__(self, relaying: Relaying) -> None:
        self._relaying = relaying

    def __call__(self, session: Session, address: str) -> Refused | None:
        if not session.login:
            return None
        hop = self._relaying.next_hop(session.reverse_path, address)
        if hop.transport != "refuse":
            return None
        return Refused(550, hop.enhanced, hop.text, "relay", f"no way to {address}")
