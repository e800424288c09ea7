"""What a hook is told about client and transaction: a value that never changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import msgspec

if TYPE_CHECKING:
    from fastsmtp.serve.guest import Client
    from fastsmtp.smtp.session import Session


class Facts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is known when a hook is asked; made anew for each question.

    client       IP address as text; "unix" for a local socket
    session      number of the connection, as in the log
    listener     "smtp", "submission", "submissions" or "lmtp"
    server       our own host name
    name         of the client in DNS, forward and back; "" when not known
    helo         what it called itself; "" at connect
    tls          version of TLS, "" in clear
    cipher       of TLS, "" in clear
    login        account it has logged in as, "" when it has not
    reverse_path of MAIL FROM; "" is the null path of bounces; None before MAIL
    recipients   that were accepted so far
    queue_id     of the message, as in the log and in the 250; "" before MAIL
    size         octets that SIZE= declared, 0 when it did not
    smtputf8, requiretls, eight_bit  what MAIL asked for
    protocol     the word behind "with" in Received
    """

    client: str = "192.0.2.1"
    session: int = 0
    listener: str = "smtp"
    server: str = ""
    name: str = ""
    helo: str = ""
    tls: str = ""
    cipher: str = ""
    login: str = ""
    reverse_path: str | None = None
    recipients: tuple[str, ...] = ()
    queue_id: str = ""
    size: int = 0
    smtputf8: bool = False
    requiretls: bool = False
    eight_bit: bool = False
    protocol: str = "SMTP"


def facts(session: Session) -> Facts:
    """Of a session whose client is still there."""
    guest = cast("Client", session.peer)
    terms = guest.server.terms
    return Facts(
        client=guest.address,
        session=guest.who.session,
        listener=terms.listener,
        server=terms.hostname,
        name=getattr(guest.facts, "name", "") or "",
        helo=session.helo,
        tls=session.secured,
        cipher=guest.sealed.rpartition(" ")[2],
        login=session.login,
        reverse_path=session.reverse_path if session.queue_id else None,
        recipients=tuple(session.recipients or ()),
        queue_id=session.queue_id,
        size=session.declared_size,
        smtputf8=session.smtputf8,
        requiretls=session.requiretls,
        eight_bit=session.eight_bit,
        protocol=session.protocol,
    )
