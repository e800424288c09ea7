"""Whose address a sender's address is."""

import pytest

from fastsmtp.policy.options import DomainOptions
from fastsmtp.policy.senders import Senders

ACCOUNTS = {"alice@example.test", "bob@example.test", "o'neil@other.test"}
DOMAINS = {
    "example.test": DomainOptions(
        catch_all="alice@example.test",
        aliases={
            "team": ["alice@example.test", "bob@example.test"],
            "top": ["team@example.test"],
        },
    ),
    "other.test": DomainOptions(aliases={"al": ["alice@example.test"]}),
}
SENDERS = Senders(
    DOMAINS,
    ACCOUNTS.__contains__,
    {"Bob@Example.test": ["*"], "o'neil@other.test": ["@far.test", "x@Near.test"]},
)


@pytest.mark.parametrize(
    ("login", "address", "allowed"),
    [
        ("alice@example.test", "alice@example.test", True),
        ("alice@example.test", "ALICE@EXAMPLE.TEST", True),
        ("alice@example.test", "alice+a+b@example.test", True),
        ("alice@example.test", "team@example.test", True),
        ("alice@example.test", "team+x@example.test", True),
        ("alice@example.test", "top@example.test", True),
        ("alice@example.test", "al@other.test", True),
        ("alice@example.test", "bob@example.test", False),
        ("alice@example.test", "free@example.test", False),
        ("alice@example.test", "alice@other.test", False),
        ("alice@example.test", "alice", False),
        ("alice@example.test", "", False),
        ("alice@example.test", "+alice@example.test", False),
        ("alice@example.test", '"alice@example.test"@far.test', False),
        ("bob@example.test", "who@ever.test", True),
        ("bob@example.test", "nodomain", False),
        ("o'neil@other.test", "who@FAR.test", True),
        ("o'neil@other.test", "X+y@near.test", True),
        ("o'neil@other.test", "y@near.test", False),
        ("o'neil@other.test", "who@sub.far.test", False),
        ("o'neil@other.test", "o'neil@other.test", True),
        ("nobody@example.test", "nobody@example.test", False),
    ],
)
def test_who_may_send_as_whom(login: str, address: str, allowed: bool) -> None:
    assert SENDERS.allows(login, address) is allowed
