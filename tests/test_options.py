import pytest

from fastsmtp.options import split_address


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1:25", ("127.0.0.1", 25)),
        ("[::1]:2525", ("::1", 2525)),
        ("mx.example.test:0", ("mx.example.test", 0)),
        ("mx1:25", ("mx1", 25)),
    ],
)
def test_an_address_is_split(text: str, place: tuple[str, int]) -> None:
    assert split_address(text) == place


@pytest.mark.parametrize(
    "text",
    [
        "",
        "25",
        "a:",
        "a:b",
        "a:65536",
        "::1:25",
        "a:-1",
        ":25",
        "300.1.1.1:25",
        "[x]:1",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(has|is) "):
        split_address(text)
