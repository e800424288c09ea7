import pytest

from fastsmtp.policy.options import DomainOptions
from fastsmtp.policy.recipients import (
    FOREIGN,
    UNKNOWN,
    Local,
    Passed,
    Recipients,
    Relayed,
    Verdict,
    names_in,
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
            "both": ["far2@example.test", "alice@example.test", "x@pass.test"],
            "far2": ["Some.One@far.test"],
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
        ("far@example.test", Local((), ("someone@far.test",))),
        (
            "both@example.test",
            Local(("alice@example.test",), ("Some.One@far.test", "x@pass.test")),
        ),
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


BEHIND = Recipients(
    {
        "split.test": DomainOptions(
            catch_all="alice@example.test",
            aliases={
                "sales": ["here@split.test", "there@split.test", "sales@split.test"],
                "sales2": ["sales@split.test"],
            },
        )
    },
    {"here@split.test"}.__contains__,
    passed={
        "split.test": Passed(),
        "All.test": Passed(),
        "listed.test": Passed(frozenset({"bob", "a%b"})),
        "asked.test": Passed(ask=True),
        "both.test": Passed(frozenset({"bob"}), ask=True),
        "xn--bcher-kva.test": Passed(),
    },
)


@pytest.mark.parametrize(
    ("address", "verdict"),
    [
        ("anybody@all.test", Relayed("all.test")),
        ("Bob@Listed.test", Relayed("listed.test")),
        ("bob+tag@listed.test", Relayed("listed.test")),
        ("eve@listed.test", UNKNOWN),
        ("Postmaster@listed.test", Relayed("listed.test")),
        ("eve@asked.test", Relayed("asked.test", ask=True)),
        ("Postmaster@asked.test", Relayed("asked.test")),
        ("bob@both.test", Relayed("both.test")),
        ("eve@both.test", Relayed("both.test", ask=True)),
        ("x@bücher.test", Relayed("xn--bcher-kva.test")),
        ("here@split.test", Local(("here@split.test",))),
        ("there@split.test", Relayed("split.test")),
        ("postmaster@split.test", Relayed("split.test")),
        (
            "sales2@split.test",
            Local(("here@split.test",), ("there@split.test", "sales@split.test")),
        ),
        ("x@sub.all.test", FOREIGN),
        # who sends to the server behind us must not choose where it sends on
        ("victim%far.test@all.test", UNKNOWN),
        ("far.test!victim@asked.test", UNKNOWN),
        ('"victim@far.test"@split.test', UNKNOWN),
        ("a%b@listed.test", Relayed("listed.test")),
    ],
)
def test_a_relay_domain_is_passed_on(address: str, verdict: Verdict) -> None:
    assert BEHIND.resolve(address) == verdict


def test_postmaster_of_a_server_that_only_relays_is_behind_it() -> None:
    only = Recipients({}, lambda name: False, passed={"a.test": Passed()})
    assert only.resolve("Postmaster") == Local((), ("postmaster@a.test",))


def test_a_file_of_recipients_is_read() -> None:
    text = "# all\nAlice\n\nbob@x.test  # him\nb\u00fcro\ncarol@y.test\nd e\n"
    names, faults = names_in(text, "x.test")
    assert names == {"alice", "bob", "b\u00fcro"}
    assert faults == [
        (6, '"carol@y.test" is not in x.test'),
        (7, 'holds more than one word: "d e"'),
    ]
