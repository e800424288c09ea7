import pytest

from fastsmtp.auth.accounts import Account
from fastsmtp.delivery.route import Destination, NoRoute, Route
from fastsmtp.policy.options import DomainOptions
from fastsmtp.policy.recipients import Recipients


class Town:
    """Accounts and aliases that a test may change."""

    def __init__(self) -> None:
        self.accounts = {
            "alice@x.test": Account(256, "Alice@x.test"),
            "bob@x.test": Account(257, "bob@x.test"),
        }
        self.asked = 0
        aliases = {"all": ["alice@x.test", "bob@x.test"]}
        domains = {"x.test": DomainOptions(aliases=aliases)}
        self.policy = Recipients(domains, self.accounts.__contains__)
        self.route = Route(self.policy.resolve, self.lookup)

    def lookup(self, address: str) -> Account | None:
        self.asked += 1
        return self.accounts.get(address)


ALICE = Destination(256, "alice@x.test")
BOB = Destination(257, "bob@x.test")


def test_an_address_leads_to_accounts() -> None:
    town = Town()
    assert town.route("ALICE@X.test") == (ALICE,)
    assert town.route("alice+tag@x.test") == (ALICE,)
    assert town.route("all@x.test") == (ALICE, BOB)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("nobody@x.test", "no such user here"),
        ("alice@far.test", "leads to alice@far.test"),
    ],
)
def test_where_nothing_leads_is_said(address: str, why: str) -> None:
    town = Town()
    with pytest.raises(NoRoute, match=why):
        town.route(address)


def test_a_way_is_remembered_until_something_changes() -> None:
    town = Town()
    assert town.route("bob@x.test") == town.route("bob@x.test") == (BOB,)
    assert town.asked == 1
    del town.accounts["bob@x.test"]
    town.route.changed()
    with pytest.raises(NoRoute):
        town.route("bob@x.test")


def test_an_account_that_went_between_two_questions_is_named() -> None:
    town = Town()
    route = Route(town.policy.resolve, lambda address: None)
    with pytest.raises(NoRoute, match=r"bob@x\.test"):
        route("bob@x.test")


def test_its_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Route, "LIMIT", 2)
    town = Town()
    for tag in "abcda":
        town.route(f"bob+{tag}@x.test")
    assert town.asked == 5


def test_a_change_while_it_asks_is_not_missed() -> None:
    """The keeper asks on its own thread."""
    town = Town()

    def lookup(address: str) -> Account | None:
        found = town.lookup(address)
        if town.asked == 1:
            town.accounts["bob@x.test"] = Account(300, "bob@x.test")
            route.changed()
        return found

    route = Route(town.policy.resolve, lookup)
    assert route("bob@x.test") == (BOB,)
    assert route("bob@x.test") == (Destination(300, "bob@x.test"),)
