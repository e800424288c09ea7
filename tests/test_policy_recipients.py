import pytest

from fastsmtp.policy.options import DomainOptions
from fastsmtp.policy.recipients import (
    FOREIGN,
    UNKNOWN,
    Local,
    Recipients,
    Verdict,
    split,
)

ACCOUNTS = {
    "alice@example.test",
    "bob@example.test",
    "carol@other.test",
    "a b@x.test",
} | {"dave@example.test"}

HERE = {
    "example.test": DomainOptions(
        aliases={
            "sales": ["alice@example.test", "Dave@example.test"],
            "all": ["sales@example.test", "carol@other.test", "bob@example.test"],
            "bob": ["bob@example.test", "carol@other.test"],
            "loop": ["pool@example.test"],
            "pool": ["loop@example.test"],
            "gone": ["nobody@example.test"],
            "far": ["someone@far.test"],
        }
    ),
    "other.test": DomainOptions(catch_all="carol@other.test"),
    "X.test": DomainOptions(),
}


def recipients(**more: str) -> Recipients:
    return Recipients(HERE, ACCOUNTS.__contains__, **more)


def local(*accounts: str) -> Local:
    return Local(accounts)


TEAM = (
    "alice@example.test",
    "dave@example.test",
    "carol@other.test",
    "bob@example.test",
)
ALICE = local("alice@example.test")
CAROL = local("carol@other.test")


@pytest.mark.parametrize(
    ("address", "verdict"),
    [
        ("alice@example.test", ALICE),
        ("ALICE@Example.TEST", ALICE),
        ('"alice"@example.test', ALICE),
        ('"al\\ice"@example.test', ALICE),
        ("alice+tag@example.test", ALICE),
        ("alice+a+b@example.test", ALICE),
        ("+tag@example.test", UNKNOWN),
        ("nobody@example.test", UNKNOWN),
        ("nobody+tag@example.test", UNKNOWN),
        ("sales@example.test", local("alice@example.test", "dave@example.test")),
        ("SALES+x@example.test", local("alice@example.test", "dave@example.test")),
        ("bob@example.test", local("bob@example.test", "carol@other.test")),
        (
            "all@example.test",
            local(*TEAM),
        ),
        ("loop@example.test", UNKNOWN),
        ("gone@example.test", UNKNOWN),
        ("far@example.test", UNKNOWN),
        ("anything@other.test", CAROL),
        ("any+thing@other.test", CAROL),
        ('"a b"@x.test', local("a b@x.test")),
        ("alice@elsewhere.test", FOREIGN),
        ("alice@sub.example.test", FOREIGN),
        ("alice@[127.0.0.1]", FOREIGN),
        ("alice@example.test.", FOREIGN),
        ("alice", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_an_address_resolves(address: str, verdict: Verdict) -> None:
    assert recipients().resolve(address) == verdict


@pytest.mark.parametrize(
    "address",
    [
        "victim%far.test@example.test",
        "far.test!victim@example.test",
        '"victim@far.test"@example.test',
        "victim@far.test@example.test",
        "@example.test:victim@far.test",
        "@example.test,@other.test:victim@far.test",
        "victim%far.test@other.test",
        "far.test!victim@other.test",
        '"victim@far.test"@other.test',
        '"victim@far.test"',
        "alice@example.test@far.test",
        "victim@far.test",
        "victim@[192.0.2.1]",
        "victim@example.test.far.test",
        "victim%far.test",
    ],
)
def test_no_form_of_address_relays_for_a_stranger(address: str) -> None:
    assert recipients().resolve(address) in (UNKNOWN, FOREIGN)


def test_a_source_route_is_ignored() -> None:
    assert recipients().resolve("@far.test,@b:alice@example.test") == ALICE


@pytest.mark.parametrize("name", ["postmaster", "Postmaster", "POSTMASTER"])
def test_postmaster_is_known_without_a_domain_and_in_any_case(name: str) -> None:
    chosen = recipients(postmaster="alice@example.test")
    assert chosen.resolve(name) == ALICE
    assert chosen.resolve(f"{name}@example.test") == ALICE
    assert chosen.resolve(f"{name}@x.test") == ALICE
    caught = Recipients({"other.test": HERE["other.test"]}, ACCOUNTS.__contains__)
    assert caught.resolve(name) == CAROL
    aliased = DomainOptions(aliases={"Postmaster": ["bob@example.test"]})
    own = Recipients({"example.test": aliased}, ACCOUNTS.__contains__)
    assert own.resolve(name) == local("bob@example.test")


def test_the_separator_can_be_switched_off() -> None:
    plain = recipients(separator="")
    assert plain.resolve("alice+tag@example.test") == UNKNOWN
    dash = recipients(separator="-")
    assert dash.resolve("alice-tag@example.test") == ALICE


def test_without_domains_everything_is_foreign() -> None:
    nothing = Recipients({}, ACCOUNTS.__contains__)
    assert nothing.resolve("alice@example.test") == FOREIGN
    assert nothing.resolve("postmaster") == UNKNOWN


def test_the_last_at_sign_divides() -> None:
    assert split('"a@b"@C.test') == ("a@b", "c.test")
    assert split('"tail\\') == ('"tail\\', "")
