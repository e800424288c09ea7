"""What the replies of a next hop mean when it is asked for a recipient, slowly: the
oracle of `serve.question`. None: it is of no use."""

import re

from fastsmtp.serve.question import Said

LINE_MOST = 4096  # octets with the end of the line, which may stand right behind them
LINES_MOST = 100
REPLY = re.compile(r"([2-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)


class Useless(Exception):
    pass


class Replies:
    def __init__(self, data: bytes) -> None:
        *self.lines, _ = data.split(b"\n")

    def next(self) -> tuple[int, list[str]]:
        texts: list[str] = []
        while len(texts) < LINES_MOST:
            if not self.lines or len(self.lines[0]) > LINE_MOST:
                raise Useless
            line = self.lines.pop(0).decode("ascii", "replace").rstrip("\r")
            parsed = REPLY.fullmatch(line)
            if parsed is None:
                raise Useless
            texts.append(parsed[3] or "")
            if parsed[2] != "-":
                return int(parsed[1]), texts
        raise Useless


def answered(data: bytes, address: str) -> Said | None:
    try:
        return _answered(Replies(data), address)
    except Useless:
        return None


def _answered(replies: Replies, address: str) -> Said | None:
    code, _ = replies.next()  # greeting
    if code // 100 != 2:
        return None
    code, offers = replies.next()  # EHLO
    if code in (500, 502):
        code, offers = replies.next()  # HELO
    if code // 100 != 2:
        return None
    if not address.isascii() and "SMTPUTF8" not in [each.upper() for each in offers]:
        return Said(None, "it has no SMTPUTF8")
    code, _ = replies.next()  # MAIL
    if code // 100 != 2:
        return None
    code, texts = replies.next()  # RCPT
    replies.next()  # RSET
    said = f"{code} {texts[-1]}"
    if code // 100 == 2:
        return Said(True, said)
    if code in (550, 551, 553) and texts[-1][:4] not in ("5.7.", "5.3."):
        return Said(False, said)
    return Said(None, said)
