"""The same parsers through their Python faces: one function of bytes per target.

A target lets the error through that is allowed and asserts what must hold. Any driver
may call it; `python -m tests.fuzz.guided TARGET` is atheris.
"""

import ipaddress
import random
from collections.abc import Callable, Sequence
from functools import partial

import httptools
import msgspec

from fastsmtp.auth.exchange import Broken, Password, Proof, Proven, normal
from fastsmtp.auth.mechanisms import begin
from fastsmtp.auth.passwords import scram_keys
from fastsmtp.delivery.bounce import Clerk, Original
from fastsmtp.delivery.downgrade import Fit, Hop, fit, survey
from fastsmtp.delivery.jobs import Frames, frame
from fastsmtp.delivery.options import DeliveryOptions
from fastsmtp.delivery.outcomes import Fate, Outcome
from fastsmtp.errors import Damaged, FormatTooNew
from fastsmtp.hooks import Accept
from fastsmtp.hooks.http import BadAnswer, Parsed, feed
from fastsmtp.hooks.rspamd import Unanswered, read, verdict
from fastsmtp.net.proxy import LONGEST, NotProxy
from fastsmtp.net.proxy import parse as parse_proxy
from fastsmtp.queue.message import Envelope, Recipient, decode_envelope
from fastsmtp.smtp import parameters
from fastsmtp.smtp.xclient import attributes
from fastsmtp.store import record
from fastsmtp.wire import address
from fastsmtp.wire.command import SyntaxFault, find_line, parse
from fastsmtp.wire.originator import mailboxes, read_header, without
from fastsmtp.wire.scan import BodyScanner
from tests.fuzz.call import replies
from tests.fuzz.fetch import fetch
from tests.fuzz.question import asked
from tests.fuzz.stretch import stretch
from tests.fuzz.talk import session
from tests.model.question import answered


def body(data: bytes) -> None:
    whole, pieces = BodyScanner(), BodyScanner()
    taken = whole.feed(data)
    middle = len(data) // 2
    first = pieces.feed(data[:middle])
    assert first + pieces.feed(data[middle:]) == taken
    assert whole.output == pieces.output
    assert whole.ended == pieces.ended
    if whole.ended:
        assert data[:taken].endswith(b".\r\n")
        assert len(whole.output) == whole.size - whole.left_out


def command(data: bytes) -> None:
    status, length = find_line(data)
    if status != "whole":
        return
    try:
        made = parse(data[:length])
    except SyntaxFault:
        return
    if made.path is not None and made.path.mailbox:
        made.path.mailbox.decode()
        assert b"\r" not in made.path.mailbox
        assert b"\n" not in made.path.mailbox
        assert len(made.path.mailbox) <= 254


def mailbox(data: bytes) -> None:
    try:
        made = address.parse(data.decode("latin-1"))
    except ValueError:
        return
    assert made == address.parse(str(made)) or len(made.local) > 31


def records(data: bytes) -> None:
    found, offset, _ = record.scan(data, 64, 0, 64 + len(data))
    assert 64 <= offset <= 64 + len(data)
    for one in found:
        try:
            decode_envelope(one.envelope)
        except (msgspec.DecodeError, msgspec.ValidationError):
            continue
    try:
        record.read_segment_header(data)
    except (Damaged, FormatTooNew):
        return


def proxy(data: bytes) -> None:
    """Whole or in pieces it is the same, and nothing is read past the end."""
    try:
        header = parse_proxy(data)
    except NotProxy:
        return
    if header is None:
        assert len(data) < LONGEST
        return
    assert header.size <= len(data)
    assert parse_proxy(data[: header.size]) == header
    for end in range(header.size):
        assert parse_proxy(data[:end]) is None
    if header.client is not None:
        ipaddress.ip_address(header.client[0])
        assert 0 <= header.client[1] < 65536


KEYS = scram_keys("pencil", b"salt of a test.")


def sasl(data: bytes) -> None:
    """Lines of any exchange, one behind the other: three are the most it takes, and
    nobody gets in by nonsense."""
    for mechanism in ("PLAIN", "LOGIN", "SCRAM-SHA-256"):
        exchange = begin(mechanism, lambda name: KEYS, b"secret")
        steps = 0
        for line in data.split(b"\n"):
            step = exchange.step(line)
            steps += 1
            if not isinstance(step, bytes):
                break
            assert b"\n" not in step
            assert len(step) < 2000
        assert steps <= 3
        assert not isinstance(step, Proven)
        if isinstance(step, Password):
            assert step.name == normal(step.name)
            assert "\0" not in step.name + step.password
            assert step.password
        assert not isinstance(step, Proof) or step.final is None
        assert isinstance(step, bytes | Password | Proof | Broken)


def originator(data: bytes) -> None:
    """What is left of a header names nobody who is hidden, and loses nothing else."""
    found = read_header(data)
    kept = without(data, found.blind)
    assert read_header(kept).blind == () or b"\r\n" not in data
    assert read_header(kept).froms == found.froms
    for value in (data, *found.froms):
        try:
            addresses = mailboxes(value)
        except ValueError:
            continue
        for one in addresses:
            assert mailboxes(f"x <{one}>".encode()) == [one]


def rspamd(data: bytes) -> None:
    """An answer of HTTP and JSON is a verdict or a failure, and adds whole fields."""
    parsed = Parsed(1 << 16)
    parsed.parser = parser = httptools.HttpResponseParser(parsed)
    try:
        feed(parser, data)
        found = verdict(read(bytes(parsed.body)))
    except (BadAnswer, Unanswered, ValueError):
        return
    assert len(parsed.body) <= 1 << 16
    if isinstance(found, Accept):
        lines = found.lines().split(b"\r\n")
        assert lines.pop() == b""
        assert all(line.isascii() and line.strip() for line in lines)
    elif found is not None:
        assert found.text.isprintable()
        assert found.text.isascii()


def said(data: bytes) -> None:
    """Values of the parameters of MAIL and RCPT."""
    for reader in (
        *(parameters.ret, parameters.envid, parameters.notify, parameters.submitter),
        *(partial(parameters.orcpt, utf8=utf8) for utf8 in (False, True)),
    ):
        try:
            text = reader(data)
        except ValueError:
            continue
        assert text.isprintable()
        assert len(text) <= len(data)
    wished(data)


def wished(data: bytes) -> None:
    """Values that are numbers and moments."""
    for reader, low, high in (
        (parameters.priority, -9, 9),
        (parameters.hold_for, 1, 999_999_999),
        (parameters.hold_until, -(10**14), 10**15),
        (lambda value: parameters.by(value)[0], -999_999_999, 999_999_999),
    ):
        try:
            assert low <= reader(data) <= high
        except ValueError:
            continue


def told(data: bytes) -> None:
    """What a proxy says in XCLIENT."""
    try:
        found = attributes(data)
    except ValueError:
        return
    assert found
    for name, value in found.items():
        assert value.isprintable()
        assert len(value) <= 255
        if name in ("ADDR", "DESTADDR") and value:
            assert str(ipaddress.ip_address(value)) == value


def question(data: bytes) -> None:
    """What a next hop says when it is asked for a recipient, as the oracle has it."""
    for whom in ("bob@x.test", "b\u00fcro@x.test"):
        assert asked(data, whom) == answered(data, whom)


def post(data: bytes) -> None:
    """What a sender says to the keeper: in two pieces as whole, and again as it was."""
    whole, pieces, seen = Frames(), Frames(), 0
    try:
        for kind, what in whole.feed(data):
            seen += 1
            said = frame(kind, what)
            ((same, again),) = Frames().feed(said)
            assert frame(same, again) == said
    except (msgspec.MsgspecError, ValueError):
        seen = -1
    middle = len(data) // 2
    try:
        first = len(list(pieces.feed(data[:middle])))
        assert first + len(list(pieces.feed(data[middle:]))) == seen
    except (msgspec.MsgspecError, ValueError):
        assert seen == -1


class Body:
    """A message in memory."""

    def __init__(self, data: bytes) -> None:
        self.data, self.length = data, len(data)

    def read(self, offset: int, size: int) -> bytes:
        return self.data[offset : offset + size]


def transfer(data: bytes) -> None:
    stretch(data)


def downgrade(data: bytes) -> None:
    """What does not fit a hop is made to fit, or goes back; either way it ends."""
    envelope = Envelope("a@x.test", (Recipient("b@y.test"),), 0, smtputf8=True)
    for hop in (Hop(False, False), Hop(True, False), Hop(True, True)):
        made = fit(envelope, Body(data), ["b@y.test"], hop)
        if not isinstance(made, Fit):
            continue
        whole = made.body.read(0, made.body.length)
        assert len(whole) == made.body.length
        facts = survey(Body(whole), 0)
        assert not facts.unfit
        assert hop.eight_bit or not facts.eight_bit
        if not made.converted:
            assert whole == data


def notice(data: bytes) -> None:
    """Whatever a message and its peer's reply hold, the notice has its three parts."""
    text = data.decode("utf-8", "surrogateescape")
    about = Original(1, Envelope("a@x.test", (), 0), Body(data))
    outcome = Outcome("b@y.test", Fate.FAILED, code=550, text=text, remote=text[:99])
    clerk = Clerk("mx.x.test", DeliveryOptions(), lambda: "token")
    (made,) = clerk.notices(about, [outcome], 0, lambda: 2)
    boundary = made.tail.strip(b"\r\n-")
    head, *parts = made.head.split(b"\r\n--" + boundary + b"\r\n")
    assert head.isascii()
    assert len(parts) == 3
    assert parts[1].isascii()
    assert parts[1].count(b"\r\n\r\n") == 2
    assert parts[1].count(b"\r\nAction: ") == 1
    for line in b"".join(parts[:2]).split(b"\r\n"):
        assert len(line) <= 998
        assert b"\n" not in line
    assert made.end - made.begin in (0, len(data))


Target = Callable[[bytes], None]
FACES: dict[str, Target] = {
    "body": body,
    "command": command,
    "address": mailbox,
    "record": records,
    "session": session,
    "replies": replies,
    "proxy": proxy,
    "sasl": sasl,
    "originator": originator,
    "rspamd": rspamd,
    "parameters": said,
    "xclient": told,
    "transfer": transfer,
    "fetch": fetch,
    "downgrade": downgrade,
    "notice": notice,
    "question": question,
    "post": post,
}


class Mutations:
    """Endless inputs; the same seed gives the same ones."""

    def __init__(
        self, inputs: Sequence[bytes], words: Sequence[bytes], seed: int
    ) -> None:
        self.inputs = inputs
        self.words = words
        self.random = random.Random(seed)

    def __next__(self) -> bytes:
        draw = self.random.random
        made = self.inputs[int(draw() * len(self.inputs))]
        for _ in range(1 + int(draw() * 4)):
            begin = int(draw() * (len(made) + 1))
            end = begin + int(draw() * draw() * (len(made) + 1 - begin))
            word = self.words[int(draw() * len(self.words))]
            made = made[:begin] + word + made[end if draw() < 0.5 else begin :]
        return made
