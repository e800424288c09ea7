"""Who a program of this machine is, and from which addresses it may send."""

import asyncio
import os
import pwd
import socket

import pytest

from fastsmtp.policy.options import DomainOptions, SendmailOptions
from fastsmtp.policy.senders import Senders
from fastsmtp.serve.programs import Programs

DOMAIN = "mx.example.test"
ALICE = f"alice@{DOMAIN}"
WEB = f"www-data@{DOMAIN}"


def programs(trusted: tuple[str, ...] = ("root",), domain: str = "") -> Programs:
    domains = {DOMAIN: DomainOptions(aliases={"info": [WEB]})}
    more = {WEB: ["@shop.test", "news@example.test"]}
    senders = Senders(domains, {ALICE, WEB}.__contains__, more)
    options = SendmailOptions(trusted=list(trusted), domain=domain)
    return Programs(options, DOMAIN.upper(), senders)


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        (WEB, True),
        ("WWW-Data@MX.Example.test", True),
        (f"www-data+cart@{DOMAIN}", True),
        ("orders@shop.test", True),
        ("news+x@example.test", True),
        (ALICE, False),
        (f"info@{DOMAIN}", False),  # an alias of mail is no name of a user
        ("www-data@example.test", False),
        ("www-data", False),
        ("root", False),
        (f"@{DOMAIN}", False),
        ("", False),
    ],
)
def test_a_user_has_its_name_and_what_it_was_given(address: str, allowed: bool) -> None:
    assert programs().allows(WEB, address) is allowed


def test_who_is_trusted_may_send_as_anybody() -> None:
    assert programs().allows(f"root@{DOMAIN}", "you@far.test")
    assert programs(("www-data",)).allows(WEB, "you@far.test")
    assert not programs(()).allows(f"alice@{DOMAIN}", "you@far.test")
    own = pwd.getpwuid(os.geteuid()).pw_name.lower()
    assert programs(()).allows(f"{own}@{DOMAIN}", "you@far.test")


def test_the_domain_may_be_another() -> None:
    here = programs(domain="Host.test")
    assert here.domain == "host.test"
    assert here.login_of(0) == "root@host.test"
    assert not here.allows("bob@host.test", f"bob@{DOMAIN}")


def test_a_user_without_a_name_is_its_number() -> None:
    assert programs().login_of(3_999_999_999) == f"uid-3999999999@{DOMAIN}"


class Transport(asyncio.Transport):
    def __init__(self, sock: socket.socket) -> None:
        super().__init__({"socket": sock})


def test_the_kernel_says_who_is_connected() -> None:
    ours, theirs = socket.socketpair()
    own = pwd.getpwuid(os.geteuid()).pw_name.lower()
    assert programs().whose(Transport(ours)) == f"{own}@{DOMAIN}"
    ours.close()
    theirs.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        programs().whose(Transport(ours))
