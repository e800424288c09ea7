"""What the records of ring files tell: events of one message, in their order.

What stands in which record, after the card (listener, client, its name in DNS, HELO,
TLS, login) where it says so:

    kind      numbers                              texts
    ACCEPTED  connected, MAIL (ms); octets; DATA,  card, sender, Message-ID, recipients
              whole, durable (µs since MAIL);
              recipients in all
    REFUSED   connected, MAIL (ms; 0: none); code  card, sender, recipient, stage,
                                                   enhanced code, reason, text, cause
    DROPPED   connected, MAIL (ms); recipients     card, sender, how, recipients
    AWAY      connected (ms); code                 card, result, enhanced code, text
    APPLIED   mailboxes; recipients that wait      none
    ATTEMPT   code; milliseconds                   recipient, hop, host, text
    MOVED     none                                 what, text
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from fastsmtp.trace import ring
from fastsmtp.trace.ring import Row

CARD: Final = 6
FEWEST: Final = {
    ring.ACCEPTED: (7, CARD + 2),
    ring.REFUSED: (3, CARD + 7),
    ring.DROPPED: (3, CARD + 2),
    ring.AWAY: (2, CARD + 3),
    ring.APPLIED: (2, 0),
    ring.ATTEMPT: (2, 4),
    ring.MOVED: (0, 2),
}
"""Numbers and texts a record of each kind has at least."""


_ORDER: Final = (
    *("connected", "sent away", "tls", "login", "sender", "refused", "recipient"),
    *("dropped", "received", "durable", "filed", "queued"),
)


class Event(NamedTuple):
    """`when` in milliseconds of the wall clock; `text` is for people, `about` for
    programs."""

    when: float
    what: str
    text: str
    about: dict[str, Any]


def when(row: Row) -> int:
    """Records of one millisecond stay in the order of their file."""
    return row[0]


def sound(row: Row) -> bool:
    """Whether it has what its kind needs; one that was cut off may not."""
    numbers, texts = FEWEST.get(row[1], (1 << 16, 0))
    return len(row[3]) >= numbers and len(row[4]) >= texts


def recipients(row: Row) -> tuple[str, ...]:
    """Whom it is about."""
    _, kind, _, _, texts = row
    if kind == ring.REFUSED:
        return (texts[CARD + 1],) if texts[CARD + 1] else ()
    if kind in (ring.ACCEPTED, ring.DROPPED):
        return texts[CARD + 2 :]
    return texts[:1] if kind == ring.ATTEMPT else ()


def message_id(row: Row) -> str:
    return row[4][CARD + 1] if row[1] == ring.ACCEPTED else ""


def client(row: Row) -> str:
    """The address it came from; "" when the record does not say."""
    return row[4][1] if row[1] <= ring.AWAY else ""


def events(rows: Iterable[Row]) -> list[Event]:
    """All that is known of one message, the earliest first; the same thing once."""
    told: dict[tuple[str, str], Event] = {}
    for row in sorted(rows, key=when):
        for event in _EVENTS[row[1]](row):
            told.setdefault(_key(event), event)
    return sorted(told.values(), key=_place)


def _place(event: Event) -> tuple[int, int, float]:
    """What happens in one millisecond is told in the order of the dialogue."""
    known = event.what in _ORDER
    rank = _ORDER.index(event.what) if known else len(_ORDER)
    return int(event.when), rank, event.when


def _key(event: Event) -> tuple[str, str]:
    """What may be told by several records; applying may be, too, when it is tried
    again."""
    once = event.what in ("connected", "tls", "login", "sender", "filed")
    return event.what, event.text if once else f"{event.when} {event.text}"


def _session(row: Row) -> Iterator[Event]:
    """Who it was, from the card."""
    came = row[3][0]
    listener, address, name, helo, tls, login = row[4][:CARD]
    about = {"client": address, "name": name, "helo": helo, "listener": listener}
    known = f"{address} ({name})" if name else address
    said = f", HELO {helo}" if helo else ""
    yield Event(came, "connected", f"{known} to {listener}{said}", about)
    if tls:
        yield Event(came, "tls", tls, {"tls": tls})
    if login:
        yield Event(came, "login", login, {"login": login})


def _accepted(row: Row) -> Iterator[Event]:
    when, _, _, numbers, texts = row
    _, arrived, octets, data, whole, durable, total = numbers[:7]
    sender, name = texts[CARD : CARD + 2]
    yield from _session(row)
    yield Event(arrived, "sender", f"<{sender}>", {"sender": sender})
    asked = arrived + data / 1000
    for to in texts[CARD + 2 :]:
        yield Event(asked, "recipient", f"<{to}> accepted", {"recipient": to})
    if total > len(texts) - CARD - 2:
        more = total - len(texts) + CARD + 2
        yield Event(asked, "recipient", f"and {more} more", {"more": more})
    text = f"{octets} octets, Message-ID {name or 'none'}"
    about = {"octets": octets, "message_id": name, "seconds": (whole - data) / 1e6}
    yield Event(arrived + whole / 1000, "received", text, about)
    text = f"on disk {max(durable - whole, 0) / 1000:.1f} ms later, answered 250"
    yield Event(when, "durable", text, {"seconds": durable / 1e6})


def _refused(row: Row) -> Iterator[Event]:
    when, _, _, numbers, texts = row
    sender, to, stage, enhanced, reason, text, cause = texts[CARD : CARD + 7]
    yield from _session(row)
    about: dict[str, Any] = {"stage": stage, "code": numbers[2], "status": enhanced}
    about |= {"reason": reason, "reply": text, "cause": cause}
    if stage in ("rcpt", "data", "eod") and numbers[1]:
        yield Event(numbers[1], "sender", f"<{sender}>", {"sender": sender})
    elif stage == "mail":
        about["sender"] = sender
    whom = f" <{to}>" if to else f" <{sender}>" if stage == "mail" else ""
    if to:
        about["recipient"] = to
    because = f" ({cause})" if cause and cause != text else f" ({reason})"
    place = {"eod": "after the message"}.get(stage, f"at {stage.upper()}{whom}")
    said = f"{place}: {numbers[2]} {enhanced} {text}{because}"
    yield Event(when, "refused", said, about)


def _dropped(row: Row) -> Iterator[Event]:
    when, _, _, numbers, texts = row
    sender, how, *whom = texts[CARD:]
    yield from _session(row)
    yield Event(numbers[1], "sender", f"<{sender}>", {"sender": sender})
    for to in whom:
        yield Event(numbers[1], "recipient", f"<{to}> accepted", {"recipient": to})
    yield Event(when, "dropped", f"the client gave up {how}", {"how": how})


def _away(row: Row) -> Iterator[Event]:
    when, _, _, numbers, texts = row
    result, enhanced, text = texts[CARD : CARD + 3]
    yield from _session(row)
    about = {"result": result, "code": numbers[1], "status": enhanced, "reply": text}
    said = f"{numbers[1]} {enhanced} {text} ({result})"
    yield Event(when, "sent away", said, about)


def _applied(row: Row) -> Iterator[Event]:
    mailboxes, waiting = row[3][:2]
    text = f"into {mailboxes} mailbox{'' if mailboxes == 1 else 'es'}"
    if waiting:
        text += f", {waiting} recipient{'' if waiting == 1 else 's'} must wait"
    about = {"mailboxes": mailboxes, "waiting": waiting}
    yield Event(row[0], "filed" if mailboxes else "queued", text, about)


def _attempt(row: Row) -> Iterator[Event]:
    (code, milliseconds), (to, hop, host, text) = row[3][:2], row[4][:4]
    about = {"recipient": to, "hop": hop, "host": host, "code": code}
    about |= {"reply": text, "seconds": milliseconds / 1000}
    at = host or hop
    said = f"{code} {text}" if code else text
    took = f"{milliseconds} ms"
    yield Event(row[0], "attempt", f"<{to}> at {at}: {said} ({took})", about)


def _moved(row: Row) -> Iterator[Event]:
    what, text = row[4][:2]
    yield Event(row[0], what, text, {"reason": text})


_EVENTS: Final = {
    ring.ACCEPTED: _accepted,
    ring.REFUSED: _refused,
    ring.DROPPED: _dropped,
    ring.AWAY: _away,
    ring.APPLIED: _applied,
    ring.ATTEMPT: _attempt,
    ring.MOVED: _moved,
}
