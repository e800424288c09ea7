"""How replies are read (RFC 5321 4.2), slowly: the oracle of `smtp.client`."""

import re
from typing import NamedTuple

LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)
STATUS = re.compile(rb"([245])\.[0-9]{1,3}\.[0-9]{1,3}(?= |$)", re.DOTALL)
TEXT_MOST = 1000
LINES_MOST = 200
REPLY_MOST = 64 * 1024


class Reply(NamedTuple):
    code: int
    enhanced: str
    text: str


def lines_of(data: bytes) -> list[bytes]:
    """Whole lines, without LF and the CR before it."""
    *whole, _ = data.split(b"\n")
    return [line.removesuffix(b"\r") for line in whole]


def replies(data: bytes) -> tuple[list[Reply], bool]:
    """All that are whole; and whether something came that is no reply."""
    found: list[Reply] = []
    texts: list[bytes] = []
    octets = 0
    *whole, rest = data.split(b"\n")
    for raw in whole:
        octets += len(raw) + 1
        parsed = LINE.fullmatch(raw.removesuffix(b"\r"))
        if octets > REPLY_MOST or parsed is None or len(texts) == LINES_MOST:
            return found, True
        texts.append(parsed[3] or b"")
        if parsed[2] != b"-":
            found.append(reply(int(parsed[1]), texts))
            texts, octets = [], 0
    return found, octets + len(rest) > REPLY_MOST


def reply(code: int, texts: list[bytes]) -> Reply:
    text = texts[0] if len(texts) == 1 else texts[0][:TEXT_MOST]
    for more in texts[1:]:
        if not more:
            continue
        same = STATUS.match(more)
        if same and text.startswith(same[0]):
            text += more[len(same[0]) :]
        else:
            text += b" " + more if text else more
        text = text[:TEXT_MOST]
    enhanced = ""
    status = STATUS.match(text)
    if status and int(status[1]) == code // 100:
        enhanced = status[0].decode()
        text = text[len(enhanced) :].lstrip(b" ")
    shown = text[:TEXT_MOST].decode("utf-8", "replace")
    return Reply(code, enhanced, "".join(c if c.isprintable() else "?" for c in shown))
