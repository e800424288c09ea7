import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastsmtp.wire.address import Address, parse, split_tag


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("Bob@Example.TEST", "Bob@example.test"),
        ('"bob"@x.test', "bob@x.test"),
        ('"b\\ob"@x.test', "bob@x.test"),
        ('"b ob"@x.test', '"b ob"@x.test'),
        ('"b\\"ob"@x.test', '"b\\"ob"@x.test'),
        ('"a@b"@x.test', '"a@b"@x.test'),
        ('""@x.test', '""@x.test'),
        ("a@[IPv6:2001:DB8::1]", "a@[ipv6:2001:db8::1]"),
        ("PostMaster", "PostMaster"),
        ("jürgen@bücher.test", "jürgen@bücher.test"),
    ],
)
def test_one_mailbox_has_one_canonical_text(text: str, canonical: str) -> None:
    assert str(parse(text)) == canonical
    assert parse(canonical) == parse(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "expected"),
        ("bob", "no domain"),
        ("@x.test", "local part"),
        ("<a@x.test>", "space is expected"),
        ("a@x.test b", "space is expected"),
        ("a b@x.test", "no domain"),
        ("a@x_.test\n", "space is expected|control"),
        ("\udc80@x.test", "not Unicode"),
        ("a" * 65 + "@x.test", "longer than 64"),
    ],
)
def test_what_is_wrong_is_said(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse(text)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=8))
def test_any_local_part_survives_its_quotes(local: str) -> None:
    address = Address(local, "x.test")
    assert parse(str(address)) == address


@pytest.mark.parametrize(
    ("local", "separator", "parts"),
    [
        ("bob+tag", "+", ("bob", "tag")),
        ("bob+a+b", "+", ("bob", "a+b")),
        ("+tag", "+", ("+tag", "")),
        ("bob", "+", ("bob", "")),
        ("bob+tag", "", ("bob+tag", "")),
        ("bob--x", "--", ("bob", "x")),
    ],
)
def test_a_tag_is_split_from_its_name(
    local: str, separator: str, parts: tuple[str, str]
) -> None:
    assert split_tag(local, separator) == parts
