"""The hook that asks Rspamd about every message (its protocol: POST /checkv2).

    [hooks.rspamd]
    module = "fastsmtp.hooks.rspamd"
    on_failure = "accept"        # or "defer": what a silent Rspamd means

    action           what the client hears, what the message is given
    no action        250, the fields that Rspamd's milter section asks for
    greylist         451 4.7.1
    soft reject      451 4.7.1
    add header       250, those fields and X-Spam: Yes
    rewrite subject  the same: what was signed is not changed
    quarantine       the same: there is no other place to keep it
    discard          as reject: what is acknowledged is never thrown away
    reject           554 5.7.1

Fields are added above those of the message; none is removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from fastsmtp.hooks.body import Body
from fastsmtp.hooks.facts import Facts
from fastsmtp.hooks.http import Client, place
from fastsmtp.hooks.verdicts import Accept, Defer, Reject, Verdict
from fastsmtp.options import KIB, MIB, PATH, SIZE, option

ANSWER_MOST: Final = MIB  # octets of JSON
FIELDS_MOST: Final = 50  # that one answer may add
SAID_MOST: Final = 200  # characters of Rspamd's text that a client hears
SPAM: Final = "X-Spam"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The `[hooks.rspamd.options]` table."""

    url: str = option(
        "http://127.0.0.1:11333/checkv2",
        "where Rspamd's normal worker listens; http+unix:/path for a Unix socket",
    )
    password_file: Path = option(
        Path(), "file with the password that its `secure_ip` does not spare us", PATH
    )
    max_size: int = option(
        20 * MIB, "messages above this pass without being asked about", SIZE, low=KIB
    )


class Milter(msgspec.Struct):
    add_headers: dict[str, Any] = {}


class Result(msgspec.Struct):
    """What is of use in an answer."""

    action: str
    milter: Milter = msgspec.field(default_factory=Milter)
    messages: dict[str, Any] | list[Any] = {}


class Unanswered(Exception):
    """Rspamd's answer says nothing about the message."""


class Hook:
    def __init__(self, options: Options) -> None:
        self._place = place(options.url)
        self._most = options.max_size
        self._password = ""
        if options.password_file != Path():
            try:
                text = options.password_file.read_text("ascii")
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"password_file: {error}") from None
            self._password = text.rstrip("\r\n")
        self._client: Client | None = None

    async def open(self) -> None:
        self._client = Client(self._place, ANSWER_MOST)

    async def close(self) -> None:
        if self._client is not None:
            self._client.close()

    async def message(self, facts: Facts, body: Body) -> Verdict:
        if body.size > self._most:
            return None
        assert self._client is not None, "not opened"
        answer = await self._client.post(self.asked(facts), body.pieces, body.size)
        if answer.status != 200:
            raise Unanswered(f"status {answer.status}: {answer.body[:200]!r}")
        return verdict(read(answer.body))

    def asked(self, facts: Facts) -> list[tuple[str, str]]:
        """Our part of the request: what Rspamd is told beside the message."""
        told = [
            ("Content-Type", "message/rfc822"),
            ("IP", facts.client if facts.client != "unix" else "127.0.0.1"),
            ("Helo", facts.helo),
            ("Hostname", facts.name),
            ("From", facts.reverse_path or "<>"),
            *(("Rcpt", address) for address in facts.recipients),
            ("Queue-Id", facts.queue_id),
            ("User", facts.login),
            ("MTA-Name", facts.server),
            ("MTA-Tag", facts.listener),
            ("TLS-Version", facts.tls),
            ("TLS-Cipher", facts.cipher),
            ("Password", self._password),
        ]
        return [(name, value) for name, value in told if value]


def read(octets: bytes) -> Result:
    """Raises `Unanswered`."""
    try:
        return msgspec.json.decode(octets, type=Result)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unanswered(f"{error}: {octets[:200]!r}") from None


def verdict(result: Result) -> Verdict:
    """Raises `Unanswered` for an action that is not known."""
    action = result.action
    if action in ("reject", "discard"):
        return Reject(said(result, "Message rejected as spam"), 554, "5.7.1")
    if action in ("soft reject", "greylist"):
        return Defer(said(result, "Try again later"), 451, "4.7.1")
    fields = added(result.milter.add_headers)
    if action in ("add header", "rewrite subject", "quarantine"):
        if SPAM.lower() not in {name.lower() for name, _ in fields}:
            fields.append((SPAM, "Yes"))
    elif action != "no action":
        raise Unanswered(f"the action {action[:40]!r} is not known")
    return Accept(fields) if fields else None


def said(result: Result, otherwise: str) -> str:
    """What Rspamd wants the client to hear, on one line of ASCII."""
    messages = result.messages
    text = messages.get("smtp_message") if isinstance(messages, dict) else None
    if not isinstance(text, str):
        return otherwise
    plain = "".join(c if " " <= c <= "~" else "?" for c in text[:SAID_MOST]).strip()
    return plain or otherwise


def added(headers: dict[str, Any]) -> list[tuple[str, str]]:
    """Fields of the milter section, by their `order`: a value is text, a table with
    `value` and `order`, or a list of those."""
    found: list[tuple[int, str, str]] = []
    for name, given in headers.items():
        for each in given if isinstance(given, list) else [given]:
            table = each if isinstance(each, dict) else {"value": each}
            value, order = table.get("value"), table.get("order")
            if isinstance(value, str | int | float):
                at = order if isinstance(order, int) else 0
                found.append((at, name, str(value).replace("\r\n", "\n")))
    if len(found) > FIELDS_MOST:
        raise Unanswered(f"{len(found)} header fields")
    return [(name, value) for _, name, value in sorted(found, key=lambda f: f[0])]
