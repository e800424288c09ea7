"""Reads a notice as a mail program does, and holds it to the grammar of RFC 3464.

dsn = read(octets)
dsn.recipients[0]["Action"]
"""

from __future__ import annotations

import email
import email.policy
import re
from email.errors import NonASCIILocalPartDefect
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from typing import NamedTuple

ATOM = r"[0-9A-Za-z!#$%&'*+/=?^_`{|}~-]+"
TYPED = rf"{ATOM}; ?\S.*"
WHEN = r"\w{3}, \d{1,2} \w{3} \d{4} \d\d:\d\d:\d\d \+0000"
MESSAGE = {
    "Original-Envelope-Id": r".+",
    "Reporting-MTA": TYPED,
    "DSN-Gateway": TYPED,
    "Received-From-MTA": TYPED,
    "Arrival-Date": WHEN,
}
RECIPIENT = {
    "Original-Recipient": TYPED,
    "Final-Recipient": TYPED,
    "Action": r"failed|delayed|delivered|relayed|expanded",
    "Status": r"[245]\.\d{1,3}\.\d{1,3}",
    "Remote-MTA": TYPED,
    "Diagnostic-Code": TYPED,
    "Last-Attempt-Date": WHEN,
    "Final-Log-ID": r".+",
    "Will-Retry-Until": WHEN,
}
"""The fields that there are (RFC 3464 2.2, 2.3), in the order of the grammar."""

POLICY = email.policy.default
CLASSES = {"failed": "45", "delayed": "4"}
"""First digit of Status by Action; 4 with failed is RFC 3463 2."""


class Dsn(NamedTuple):
    """A notice, taken apart. returned: its third part."""

    mail: EmailMessage
    human: str
    message: dict[str, str]
    recipients: list[dict[str, str]]
    returned: EmailMessage


def read(octets: bytes) -> Dsn:
    """`AssertionError` when it is not as the RFCs want it."""
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\0", octets), (
        "not lines that end in CRLF"
    )
    text = octets.decode("utf-8", "surrogateescape")
    mail = email.message_from_string(text, policy=POLICY)
    assert isinstance(mail, EmailMessage)
    for part in (mail, *mail.iter_parts()):
        assert not part.defects, part.defects
        for name, value in part.items():
            found = getattr(value, "defects", ())
            found = [d for d in found if not isinstance(d, NonASCIILocalPartDefect)]
            assert not found, (name, value, found)
    assert mail.get_content_type() == "multipart/report"  # RFC 6522
    assert mail["Content-Type"].params["report-type"] == "delivery-status"
    assert mail["Return-Path"] == "<>"
    assert mail["Auto-Submitted"] == "auto-replied"  # RFC 3834 5
    assert mail["MIME-Version"] == "1.0"
    for name in ("From", "To", "Date", "Message-ID", "Subject", "Content-Type"):
        assert len(mail.get_all(name) or ()) == 1, name
    parts = list(mail.iter_parts())
    assert len(parts) == 3
    human, status, returned = parts
    assert human.get_content_type() == "text/plain"
    utf8 = status.get_content_type() == "message/global-delivery-status"
    assert utf8 or status.get_content_type() == "message/delivery-status"
    assert utf8 or octets.partition(b"message/delivery-status")[0].isascii()
    if utf8:  # the library does not know it
        raw = text.split(f"--{mail.get_boundary()}")[2].partition("\r\n\r\n")[2]
        whole = raw.strip("\r\n").split("\r\n\r\n")
        groups = [email.message_from_string(g, policy=POLICY) for g in whole]
    else:
        groups = status.get_payload()
    message, *recipients = [_group(group) for group in groups]
    _hold(message, MESSAGE, ("Reporting-MTA",))
    assert recipients
    for one in recipients:
        _hold(one, RECIPIENT, ("Final-Recipient", "Action", "Status"))
        assert one["Status"][0] in CLASSES.get(one["Action"], "2")
        assert one["Action"] == "delayed" or "Will-Retry-Until" not in one
    words = human.get_content()
    assert isinstance(words, str)
    return Dsn(mail, words, message, recipients, returned)


def _group(group: EmailMessage) -> dict[str, str]:
    assert not group.get_payload(), group.get_payload()
    found = {name: re.sub(r"\r?\n[ \t]+", " ", str(v)) for name, v in group.items()}
    assert len(found) == len(group.items()), "a field stands twice"
    return found


def _hold(
    group: dict[str, str], grammar: dict[str, str], must: tuple[str, ...]
) -> None:
    assert set(must) <= set(group) <= set(grammar)
    assert list(group) == [name for name in grammar if name in group], "their order"
    for name, value in group.items():
        assert value.isprintable()
        assert re.fullmatch(grammar[name], value), (name, value)
        if grammar[name] == WHEN:
            parsedate_to_datetime(value)
