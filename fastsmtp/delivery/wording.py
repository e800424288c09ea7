"""What a notice says to the person who gets it, in plain English.

First what happened and to which message; then for each recipient why, and what the
reader can do about it; the words of the other server last, for those who can use them.
"""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from fastsmtp.delivery.outcomes import Fate, Outcome
from fastsmtp.delivery.reasons import Reason, Words, ours, theirs
from fastsmtp.wire.header import date
from fastsmtp.wire.report import clean

WIDTH: Final = 72
NAMED_MOST: Final = 20  # addresses in a paragraph; the report has them all
PARAGRAPHS_MOST: Final = 50
SAID_MOST: Final = 600  # characters of a reply

_PASSED_ON: Final = Words(
    "The message was passed on to the server of {domain}, which does not report what"
    " becomes of it.",
    "You will get no further notice.",
)
_DELIVERED: Final = Words("The message is in the mailbox.", "")
_EXPANDED: Final = Words(
    "The message went to everybody behind this address.", "You will hear of no failure."
)
_SUCCESS: Final = {
    Fate.DELIVERED: _DELIVERED,
    Fate.EXPANDED: _EXPANDED,
    Fate.RELAYED: _PASSED_ON,
    Fate.PASSED: Words("The message was passed on to the server of {domain}.", ""),
}
_OPENING: Final = {
    Fate.FAILED: ("Your message could not be delivered", "Undelivered mail"),
    Fate.DELAYED: ("Your message could not be delivered yet", "Delayed mail"),
}
_ARRIVED: Final = ("Your message was delivered", "Delivered mail")


class Setting(NamedTuple):
    """hostname   ours
    sender     reverse-path of the message, "" the null one
    subject    of the message, decoded, as it came
    arrived    when it came, as a date for people
    copy       the reader is the postmaster
    whole      all of the message is attached, not its header alone
    """

    hostname: str
    sender: str
    subject: str
    arrived: str
    copy: bool
    whole: bool


def subject(outcomes: Sequence[Outcome], sender: str, copy: bool) -> str:
    """ASCII, and nothing in it that another server said."""
    what = _opening(outcomes)[1]
    to = f"{len(outcomes)} recipients" if len(outcomes) > 1 else outcomes[0].address
    message = f"from <{sender}>" if copy else "your message"
    text = f"{what}: {message} to {to}"
    return text if text.isascii() else f"{what}: a message"


def letter(setting: Setting, outcomes: Sequence[Outcome]) -> str:
    """The text, lines ended by "\\n"."""
    paragraphs = [f"This is the mail server {setting.hostname}.", ""]
    paragraphs += [_first(setting, outcomes), "", *_message(setting), ""]
    for text in _recipients(setting, outcomes):
        paragraphs += [text, ""]
    return "\n".join((*paragraphs, _last(setting, outcomes), ""))


def _opening(outcomes: Sequence[Outcome]) -> tuple[str, str]:
    return _OPENING.get(outcomes[0].fate, _ARRIVED)


def _first(setting: Setting, outcomes: Sequence[Outcome]) -> str:
    text = _opening(outcomes)[0]
    if outcomes[0].fate in (Fate.RELAYED, Fate.PASSED):
        text = "Your message was passed on"
    if setting.copy:
        text = text.replace("Your", "A")
    if len(outcomes) > 1:
        return _wrapped(f"{text} to {len(outcomes)} recipients.")
    return _wrapped(f"{text} to {clean(outcomes[0].address)}.")


def _message(setting: Setting) -> Iterable[str]:
    if setting.copy:
        yield _named("From:", f"<{clean(setting.sender)}>")
    if setting.subject:
        yield _named("Subject:", clean(setting.subject, most=200))
    yield _named("Sent:", setting.arrived)


def _named(name: str, text: str) -> str:
    head = f"    {name:<10}"
    return textwrap.fill(
        text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head)
    )


def _recipients(setting: Setting, outcomes: Sequence[Outcome]) -> Iterable[str]:
    """A paragraph for all recipients of whom the same is to be said."""
    groups: dict[tuple[Outcome, str], list[str]] = {}
    for one in outcomes:
        domain = clean(one.address.rpartition("@")[2]) or setting.hostname
        same = one._replace(address="", notify="", orcpt="", last=one.last // 1000)
        groups.setdefault((same, domain), []).append(one.address)
    for (one, domain), addresses in list(groups.items())[:PARAGRAPHS_MOST]:
        text = _why(setting, one, domain)
        named = [clean(address) for address in addresses[:NAMED_MOST]]
        if len(addresses) > len(named):
            named.append(f"and {len(addresses) - len(named)} more")
        yield "\n".join((*named, text))
    if len(groups) > PARAGRAPHS_MOST:
        yield "There are more; the report has them all."


def _why(setting: Setting, one: Outcome, domain: str) -> str:
    """`one.last` is in seconds here."""
    words = _SUCCESS.get(one.fate) or _trouble(one)
    filled = [part.format(domain=domain, host=setting.hostname) for part in words]
    if one.fate is Fate.DELAYED:
        filled[1] = _patience(one)
    elif one.reason is Reason.EXPIRED or one.attempts > 1:
        filled.insert(1, _tries(one))
    paragraphs = [_wrapped(" ".join(filter(None, filled)), "    ")]
    if one.text not in filled and (said := _said(one)):
        paragraphs += ["", _wrapped(said, "    ")]
    return "\n".join(paragraphs)


def _trouble(one: Outcome) -> Words:
    """An expired message has a reply or a reason of its last attempt mostly."""
    if one.reason and not (one.reason is Reason.EXPIRED and one.enhanced):
        return ours(one.reason)
    if not one.code and not one.enhanced:
        return ours(Reason.UNREACHABLE)
    return theirs(one.enhanced)


def _tries(one: Outcome) -> str:
    if not one.attempts:
        return ""
    last = f", the last time on {date(one.last)}" if one.last else ""
    times = "once" if one.attempts == 1 else f"{one.attempts} times"
    return f"It was tried {times}{last}, and is given up now."


def _patience(one: Outcome) -> str:
    until = f" until {date(one.until // 1000)}" if one.until else ""
    return f"It will be tried again{until}. You need not send it again."


def _said(one: Outcome) -> str:
    """What the other server answered, for those who can use it."""
    text = clean(one.text, most=SAID_MOST)
    if not one.code:
        return f"What happened: {text}" if text else ""
    who = clean(one.remote) or "The other server"
    return " ".join(filter(None, (who, "said:", str(one.code), one.enhanced, text)))


def _last(setting: Setting, outcomes: Sequence[Outcome]) -> str:
    what = "The whole message" if setting.whole else "The header of the message"
    text = (
        f"{what} is attached, and a report for mail programs. A program wrote this;"
        f" people are at <postmaster@{setting.hostname}>."
    )
    return _wrapped(text)


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(
        *(text, WIDTH),
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )
