"""The hook that asks Rspamd: what it tells, and what it makes of each answer."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_hooks_http import Service

from fastsmtp.hooks import Accept, Body, Defer, Facts, Reject, Verdict
from fastsmtp.hooks.http import BadAnswer
from fastsmtp.hooks.rspamd import Hook, Options, Result, Unanswered, read, verdict

FACTS = Facts(
    client="2001:db8::7",
    listener="smtp",
    server="mx.example.test",
    name="out.client.test",
    helo="client.test",
    tls="TLSv1.3",
    cipher="TLS_AES_256_GCM_SHA384",
    login="alice@example.test",
    reverse_path="a@client.test",
    recipients=("b@example.test", "c@example.test"),
    queue_id="4XCTRE",
)
MESSAGE = b"Subject: x\r\n\r\nhello\r\n"


def said(**fields: Any) -> bytes:
    """An answer of Rspamd with what else stands in one."""
    whole = {
        "is_skipped": False,
        "score": 5.5,
        "required_score": 15.0,
        "action": "no action",
        "symbols": {"MISSING_MID": {"name": "MISSING_MID", "score": 2.5}},
        "messages": {},
        "message-id": "undef",
        "time_real": 0.06,
    }
    return json.dumps(whole | fields).encode()


def http(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def ask(
    service: Service, facts: Facts = FACTS, body: Body | None = None, **options: Any
) -> Verdict:
    async def run() -> Verdict:
        async with service.running() as url:
            hook = Hook(Options(url=url, **options))
            await hook.open()
            try:
                return await hook.message(facts, body or Body(MESSAGE))
            finally:
                await hook.close()

    return asyncio.run(asyncio.wait_for(run(), 20))


def test_what_rspamd_is_told(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("q1\n")
    service = Service(http(said()))
    assert ask(service, password_file=tmp_path / "secret") is None
    ((request, headers, body),) = service.asked
    assert request == "POST /checkv2 HTTP/1.1"
    assert body == MESSAGE
    assert {name: v for name, v in headers.items() if name != "Host"} == {
        "Content-Length": [str(len(MESSAGE))],
        "Content-Type": ["message/rfc822"],
        "IP": ["2001:db8::7"],
        "Helo": ["client.test"],
        "Hostname": ["out.client.test"],
        "From": ["a@client.test"],
        "Rcpt": ["b@example.test", "c@example.test"],
        "Queue-Id": ["4XCTRE"],
        "User": ["alice@example.test"],
        "MTA-Name": ["mx.example.test"],
        "MTA-Tag": ["smtp"],
        "TLS-Version": ["TLSv1.3"],
        "TLS-Cipher": ["TLS_AES_256_GCM_SHA384"],
        "Password": ["q1"],
    }


def test_what_is_not_known_is_not_told() -> None:
    service = Service(http(said()))
    ask(service, Facts(client="unix", reverse_path="", recipients=("b@example.test",)))
    headers = service.asked[0][1]
    assert (headers["IP"], headers["From"]) == (["127.0.0.1"], ["<>"])
    assert not headers.keys() & {"User", "Hostname", "TLS-Version", "Password", "Helo"}


MILTER = {
    "add_headers": {
        "X-Spamd-Bar": {"value": "+++", "order": 1},
        "X-Spamd-Result": {"value": "default: True [5.5 / 15];\r\n\tMISSING_MID(2.5)"},
        "X-Plain": "plain",
        "X-Several": ["one", {"value": "two", "order": -1}],
        "X-Number": 7,
    },
    "remove_headers": {"X-Spam": 0},
}
ADDED = [
    ("X-Several", "two"),
    ("X-Spamd-Result", "default: True [5.5 / 15];\n\tMISSING_MID(2.5)"),
    ("X-Plain", "plain"),
    ("X-Several", "one"),
    ("X-Number", "7"),
    ("X-Spamd-Bar", "+++"),
]
SPAM = ("X-Spam", "Yes")


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, None),
        ({"milter": MILTER}, Accept(ADDED)),
        ({"action": "add header"}, Accept([SPAM])),
        ({"action": "add header", "milter": MILTER}, Accept([*ADDED, SPAM])),
        (
            {"action": "add header", "milter": {"add_headers": {"x-spam": "yes!"}}},
            Accept([("x-spam", "yes!")]),
        ),
        ({"action": "rewrite subject", "subject": "*** x"}, Accept([SPAM])),
        ({"action": "quarantine"}, Accept([SPAM])),
        ({"action": "greylist"}, Defer()),
        ({"action": "soft reject"}, Defer()),
        (
            {"action": "soft reject", "messages": {"smtp_message": "Greylisted"}},
            Defer("Greylisted"),
        ),
        ({"action": "reject"}, Reject("Message rejected as spam")),
        ({"action": "discard"}, Reject("Message rejected as spam")),
        (
            {"action": "reject", "messages": {"smtp_message": "Gtube\r\n250 pättern"}},
            Reject("Gtube??250 p?ttern"),
        ),
        (
            {"action": "reject", "messages": {"smtp_message": "x" * 1000}},
            Reject("x" * 200),
        ),
        ({"action": "reject", "messages": ["old"]}, Reject("Message rejected as spam")),
    ],
)
def test_each_action_has_a_verdict(fields: dict[str, Any], wanted: Verdict) -> None:
    assert ask(Service(http(said(**fields)))) == wanted


@pytest.mark.parametrize(
    "answer",
    [
        http(b"{}"),
        http(b"not json"),
        http(b""),
        http(b"[" * 100_000),
        http(said(action=None)),
        http(said(action="eat it")),
        http(said(action="add header", milter=[])),
        http(said(action="add header", milter={"add_headers": {"X-A": ["b"] * 51}})),
        http(said(), "403 Forbidden"),
        http(said(), "500 Internal Server Error"),
    ],
)
def test_an_answer_that_says_nothing_is_a_failure(answer: bytes) -> None:
    with pytest.raises(Unanswered):
        ask(Service(answer))


@pytest.mark.parametrize(
    "headers",
    [{"X-A\r\nBcc": "b"}, {"X-A": "b\r\nBcc: c"}, {"X-A": "\0"}, {"X-A": "x" * 2000}],
)
def test_headers_that_would_break_out_are_a_failure(headers: dict[str, str]) -> None:
    answer = http(said(action="add header", milter={"add_headers": headers}))
    with pytest.raises(ValueError):  # noqa: PT011
        ask(Service(answer))


def test_an_answer_that_is_too_long_is_a_failure() -> None:
    with pytest.raises(BadAnswer):
        ask(Service(http(said(subject="x" * (1 << 20)))))


def test_nobody_there_is_a_failure() -> None:
    async def run() -> None:
        async with Service(b"").running() as url:
            pass
        hook = Hook(Options(url=url))
        await hook.open()
        with pytest.raises(OSError):  # noqa: PT011
            await hook.message(FACTS, Body(MESSAGE))

    asyncio.run(run())


def test_what_is_too_large_passes_without_being_asked_about() -> None:
    service = Service(http(said(action="reject")))
    assert ask(service, body=Body(b"x" * 2000), max_size=1999) is None
    assert service.asked == []


def test_options_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="https"):
        Hook(Options(url="https://h/checkv2"))
    with pytest.raises(ValueError, match="password_file"):
        Hook(Options(password_file=Path("/nowhere/at/all")))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["value", "order", "X-A", "smtp_message", "add_headers"])
            | st.text(max_size=5),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)
ACTIONS = ("no action", "add header", "reject", "greylist", "soft reject", "discard")


@given(st.sampled_from(ACTIONS), VALUES, VALUES)
def test_any_json_is_a_verdict_or_a_failure(
    action: str, milter: Any, messages: Any
) -> None:
    text = json.dumps({"action": action, "milter": milter, "messages": messages})
    try:
        found = verdict(read(text.encode("utf-8", "surrogatepass")))
    except (Unanswered, ValueError):
        return
    if isinstance(found, Accept):
        lines = found.lines()
        assert all(line for line in lines.split(b"\r\n")[:-1])
        assert lines.isascii()
    elif found is not None:
        assert found.text.isprintable()


def test_a_result_may_have_more_or_less() -> None:
    assert read(b'{"action":"greylist","new":[1]}') == Result("greylist")
