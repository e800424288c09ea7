"""Users who log in are told at RCPT when there is no way; strangers send to us and to
relay domains, and never anywhere else."""

from dataclasses import replace

import pytest
from club import ALICE, DOMAINS, Club, Visitor, in_club

from fastsmtp.policy.options import RelayOptions
from fastsmtp.policy.recipients import Passed, Recipients
from fastsmtp.policy.relaying import Relaying
from fastsmtp.serve.checks import Checks
from fastsmtp.serve.way import Way
from fastsmtp.smtp.offers import Offers

RELAYING = Relaying(
    DOMAINS,
    relay=[
        RelayOptions(to=["never.test"], via="refuse", text="Not to them"),
        RelayOptions(to=["example.test"], via="refuse"),
    ],
)
PASSED = {"pass.test": Passed(), "listed.test": Passed(frozenset({"bob"}))}


@pytest.mark.parametrize(
    ("address", "user", "stranger"),
    [
        ("bob@example.test", "250 2.1.5", "250 2.1.5"),
        ("x@far.test", "250 2.1.5", "550 5.7.1"),
        ("x@[192.0.2.1]", "250 2.1.5", "550 5.7.1"),
        ("x@never.test", "550 5.7.1 Not to them", "550 5.7.1"),
        ("x@pass.test", "250 2.1.5", "250 2.1.5"),
        ("bob@listed.test", "250 2.1.5", "250 2.1.5"),
        ("eve@listed.test", "550 5.1.1", "550 5.1.1"),
        ("victim%far.test@pass.test", "550 5.1.1", "550 5.1.1"),
    ],
)
def test_rfc_24_only_users_may_send_elsewhere(
    address: str, user: str, stranger: str
) -> None:
    async def test(club: Club) -> None:
        accounts = club.accounts.__contains__
        club.policy = Recipients(DOMAINS, accounts, passed=PASSED)
        club.use(
            replace(
                club.terms,
                offers=Offers(mechanisms=("PLAIN",)),
                checks=Checks(rcpt=(Way(RELAYING),)),
            )
        )
        visitor = Visitor(club)
        mail = f"MAIL FROM:<{ALICE}>"
        said = await visitor.say("EHLO client.test", mail, f"RCPT TO:<{address}>")
        assert said.startswith(stranger)
        await visitor.say("RSET")
        assert (await visitor.login()).startswith("235")
        said = await visitor.say(mail, f"RCPT TO:<{address}>")
        assert said.startswith(user)

    in_club(test)
