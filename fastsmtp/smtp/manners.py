"""How a client behaves towards one server: what an `smtp.client.Client` is told."""

from dataclasses import dataclass

from fastsmtp.auth.login import Login
from fastsmtp.smtp.options import Level, SendOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """
    hostname  what we call ourselves in EHLO
    lmtp      LHLO, and one answer for each recipient (RFC 2033)
    tls       how much of it there must be; the driver sees to certificates
    implicit  TLS began with the connection (RFC 8314 3)
    private   nobody can listen in: a password may go in clear
    login     who we are there; None: we do not log in
    """

    hostname: str
    options: SendOptions = SendOptions()
    lmtp: bool = False
    tls: Level = "may"
    implicit: bool = False
    private: bool = False
    login: Login | None = None
