"""The relay table: whom mail is given to, and how."""

import pytest

from fastsmtp.policy.options import (
    DestinationOptions,
    RelayDomainOptions,
    RelayOptions,
)
from fastsmtp.policy.relaying import (
    LOCAL,
    NextHop,
    Relaying,
    Tls,
    Via,
    in_dns,
    literal,
    patterns_of,
    read_via,
)

TABLE = Relaying(
    ["example.org", "split.test", "xn--bcher-kva.test"],
    {
        "back.test": RelayDomainOptions(next_hop="lmtp:///run/back.sock"),
        "front.test": RelayDomainOptions(next_hop="smtp://[2001:DB8::5]:2525"),
        "split.test": RelayDomainOptions(next_hop="mx"),
        "xn--mnchen-3ya.test": RelayDomainOptions(next_hop="lmtp://back.test"),
    },
    [
        RelayOptions(to=["never.test"], via="refuse", text="Not to them"),
        RelayOptions(to=[".lab.test"], senders=["@example.org"], via="discard"),
        RelayOptions(to=["lab.test", ".lab.test"], via="smtp://gate.lab.test"),
        RelayOptions(
            senders=["news@example.org", "<>"],
            via="smtp://smart.test:587",
            login="news",
            secret_file="/run/secret",
        ),
        RelayOptions(to=["mx.test"], via="mx://other.test:2526", tls="encrypt"),
        RelayOptions(to=["tls.test"], via="smtps://tls.test"),
    ],
    {
        "safe.test": DestinationOptions(tls="verify", connections=2),
        ".big.test": DestinationOptions(connections=5),
        "*": DestinationOptions(connections=7),
    },
)
SMART = NextHop(
    "smtp",
    "smart.test",
    587,
    tls="verify",
    credentials="news@smart.test:587",
    key="smtp:[smart.test]:587 as news@smart.test:587 verify",
)


def direct(domain: str, tls: Tls = "may") -> NextHop:
    return NextHop("smtp", domain, 25, True, tls, key=f"smtp:{domain}")


@pytest.mark.parametrize(
    ("sender", "recipient", "hop"),
    [
        ("a@b.test", "x@EXAMPLE.org", LOCAL),
        ("a@b.test", "Postmaster", LOCAL),
        ("a@b.test", "x@bücher.test", LOCAL),
        (
            "a@b.test",
            "x@Back.Test",
            NextHop(
                *("lmtp", "/run/back.sock", 0, False, "none"),
                key="lmtp:/run/back.sock",
            ),
        ),
        (
            "",
            "x@front.test",
            NextHop("smtp", "2001:db8::5", 2525, key="smtp:[2001:db8::5]:2525"),
        ),
        ("a@b.test", "x@split.test", direct("split.test")),
        (
            "a@b.test",
            "x@münchen.test",
            NextHop("lmtp", "back.test", 24, key="lmtp:[back.test]:24"),
        ),
        (
            "a@b.test",
            "x@never.test",
            NextHop(
                *("refuse", "", 0, False, "none", False, "", "Not to them", "5.7.1"),
                key="refuse 5.7.1 Not to them",
            ),
        ),
        (
            "me@example.org",
            "x@a.b.lab.test",
            NextHop("discard", tls="none", key="discard"),
        ),
        (
            "me@example.net",
            "x@a.lab.test",
            NextHop("smtp", "gate.lab.test", 25, key="smtp:[gate.lab.test]:25"),
        ),
        (
            "me@example.org",  # a pattern with a dot is not the domain itself
            "x@lab.test",
            NextHop("smtp", "gate.lab.test", 25, key="smtp:[gate.lab.test]:25"),
        ),
        ("News@example.org", "x@far.test", SMART),
        ("news+weekly@example.org", "x@mx.test", SMART),
        ("", "x@far.test", SMART),
        ("", "x@[192.0.2.1]", SMART),
        (
            "a@b.test",
            "x@mx.test",
            NextHop(
                *("smtp", "other.test", 2526, True, "encrypt"),
                key="smtp:other.test:2526 encrypt",
            ),
        ),
        (
            "a@b.test",
            "x@tls.test",
            NextHop(
                *("smtp", "tls.test", 465, False, "encrypt", True),
                key="smtps:[tls.test]:465",
            ),
        ),
        ("a@b.test", "x@safe.test", direct("safe.test", tls="verify")),
        ("a@b.test", "x@far.test", direct("far.test")),
        ("a@b.test", "x@straße.test", direct("xn--strae-oqa.test")),
        (
            "a@b.test",
            "x@[192.0.2.1]",
            NextHop("smtp", "192.0.2.1", 25, key="smtp:[192.0.2.1]:25"),
        ),
        (
            "a@b.test",
            "x@[IPv6:2001:db8:0::1]",
            NextHop("smtp", "2001:db8::1", 25, key="smtp:[2001:db8::1]:25"),
        ),
    ],
)
def test_mail_goes_to_the_next_hop(sender: str, recipient: str, hop: NextHop) -> None:
    assert TABLE.next_hop(sender, recipient) == hop
    assert TABLE.next_hop(sender, recipient) == hop  # remembered


@pytest.mark.parametrize(
    "domain",
    ["[x25:1234]", "[2001:db8::1]", "[IPv6:192.0.2.1]", "a..b", "ü" * 60, "-"],
)
def test_what_is_no_domain_is_refused(domain: str) -> None:
    hop = TABLE.next_hop("a@b.test", f"x@{domain}")
    assert (hop.transport, hop.enhanced) == ("refuse", "5.1.2")


def test_an_at_in_quotes_does_not_choose_the_way() -> None:
    assert TABLE.next_hop("a@b.test", '"x@example.org"@far.test') == direct("far.test")


def test_a_source_route_is_ignored() -> None:
    hop = TABLE.next_hop("a@b.test", "@example.org,@back.test:x@far.test")
    assert hop == direct("far.test")


def test_without_a_table_mail_goes_to_the_mx_hosts() -> None:
    assert Relaying().next_hop("a@b.test", "x@example.org") == direct("example.org")


def test_hops_that_may_not_share_connections_have_other_keys() -> None:
    def key(**more: str) -> str:
        row = RelayOptions(via="smtp://smart.test", **more)  # type: ignore[arg-type]
        return Relaying(relay=[row]).next_hop("a@b.test", "x@far.test").key

    keys = [
        key(),
        key(tls="encrypt"),
        key(tls="none"),
        key(login="a", secret_file="/a"),
        key(login="b", secret_file="/b"),
        key(login="b", secret_file="/b", tls="encrypt"),
    ]
    assert len(set(keys)) == len(keys)
    assert key() == key(tls="may")


def test_tls_is_what_the_server_says_where_no_table_does() -> None:
    table = Relaying(
        (),
        {"back.test": RelayDomainOptions(next_hop="lmtp:///run/x")},
        destinations={"safe.test": DestinationOptions(tls="verify")},
        tls="encrypt",
    )
    hops = [table.next_hop("", f"x@{d}.test") for d in ("far", "safe", "back")]
    assert [hop.tls for hop in hops] == ["encrypt", "verify", "none"]


@pytest.mark.parametrize(
    ("address", "shared"),
    [
        ("x@Split.test", True),
        ("x@example.org", False),
        ("x@back.test", False),
        ("x@far.test", False),
        ("x@a..b", False),
        ("postmaster", False),
    ],
)
def test_a_domain_may_be_here_in_part(address: str, shared: bool) -> None:
    assert TABLE.shared(address) is shared
    assert not Relaying(["split.test"]).shared(address)


def test_logins_are_found_by_the_credentials_of_a_hop() -> None:
    assert TABLE.logins[SMART.credentials] == ("news", "/run/secret")


def test_whether_anything_is_refused_is_known_before() -> None:
    assert TABLE.refuses
    assert not Relaying(relay=[RelayOptions(via="discard")]).refuses


@pytest.mark.parametrize(
    ("domain", "hosts", "connections"),
    [
        ("safe.test", (), 2),
        ("safe.test", ("a.big.test",), 2),
        ("far.test", (), 7),
        ("far.test", ("mx.far.test", "b.big.test"), 5),
        ("a.big.test", (), 5),
        ("big.test", (), 7),
    ],
)
def test_limits_are_those_of_the_narrowest_table(
    domain: str, hosts: tuple[str, ...], connections: int
) -> None:
    hop = TABLE.next_hop("a@b.test", f"x@{domain}")
    assert TABLE.limits(hop, hosts).connections == connections


def test_the_memory_of_hops_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastsmtp.policy.relaying.REMEMBERED", 10)
    table = Relaying()
    for n in range(100):
        hop = table.next_hop("", f"x@d{n}.test")
        assert hop == direct(f"d{n}.test")
    assert len(table._known) <= 10


@pytest.mark.parametrize(
    ("text", "via"),
    [
        ("mx", Via("smtp", "", 25, True)),
        ("mx://Example.org", Via("smtp", "example.org", 25, True)),
        ("smtp://mail.example.org", Via("smtp", "mail.example.org", 25)),
        ("smtp://127.0.0.1:2525", Via("smtp", "127.0.0.1", 2525)),
        ("smtp://[::1]", Via("smtp", "::1", 25)),
        ("smtps://[::1]:4650", Via("smtp", "::1", 4650, implicit_tls=True)),
        ("lmtp://localhost", Via("lmtp", "localhost", 24)),
        ("lmtp:///run/x.sock", Via("lmtp", "/run/x.sock")),
        ("discard", Via("discard")),
        ("refuse", Via("refuse")),
    ],
)
def test_a_next_hop_is_read(text: str, via: Via) -> None:
    assert read_via(text) == via


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is none of"),
        ("local", "is none of"),
        ("mail.example.org:25", "is none of"),
        ("http://a.test", "is none of"),
        ("smtp://", "has no host"),
        ("smtp://a.test:0", "port 0"),
        ("smtp://a.test:x", "not a number"),
        ("smtp://::1", "without its brackets"),
        ("smtp://u:p@a.test", "more than a host and a port"),
        ("smtp://a.test/x", "more than a host and a port"),
        ("smtp:///run/x", "only lmtp"),
        ("smtp://a..test", "no host name"),
        ("mx://192.0.2.1", "no MX records"),
        ("lmtp:///" + "x" * 107, "longer than"),
    ],
)
def test_what_is_no_next_hop_is_told(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_via(text)


@pytest.mark.parametrize(
    ("domain", "name"),
    [
        ("Example.ORG", "example.org"),
        ("bücher.test", "xn--bcher-kva.test"),
        ("BÜCHER.test", "xn--bcher-kva.test"),
        ("bu\u0308cher.test", "xn--bcher-kva.test"),
        ("_x.a-b.test", "_x.a-b.test"),
        ("", None),
        ("a..b", None),
        ("a b.test", None),
        ("a" * 64, None),
        (".".join(["a" * 60] * 5), None),
    ],
)
def test_names_as_the_dns_has_them(domain: str, name: str | None) -> None:
    assert in_dns(domain) == name


def test_patterns_come_narrowest_first() -> None:
    assert list(patterns_of("a.b.test")) == ["a.b.test", ".b.test", ".test", "*"]
    assert list(patterns_of("[192.0.2.1]")) == ["[192.0.2.1]", "*"]


def test_literals() -> None:
    assert literal("example.org") is None
    assert literal("[127.0.0.1]") == "127.0.0.1"
    assert literal("[ipv6:::1]") == "::1"
    assert literal("[]") == ""
