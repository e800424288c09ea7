"""`fastsmtp check --online`: does the world find this server, and is its machine fit?

One function for each fact. Nothing is sent but questions to the DNS and connections to
port 25 of the names that the DNS gives as ours, which are greeted and left.
"""

import ctypes
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from fastsmtp.cli import diagnosis, lookup
from fastsmtp.cli.lookup import NoAnswer, NoSuchName
from fastsmtp.config import Config

Level = Literal["ok", "warning", "error"]

SMTP: Final = 25
PATIENCE: Final = 5.0  # seconds to reach a port and hear a greeting
RENEW: Final = 14 * 86400  # seconds: a certificate that ends sooner is warned of
TIME_ERROR: Final = 5  # adjtimex(2): nothing keeps the clock right
LEVELS: Final[dict[str, Level]] = {"good": "ok", "doubtful": "warning", "bad": "error"}


class Result(NamedTuple):
    """One fact, how it is, and what to do about it."""

    check: str
    level: Level
    text: str
    advice: str = ""

    def __str__(self) -> str:
        line = f"{self.level:<8}{self.check}: {self.text}"
        return f"{line}\n        {self.advice}" if self.advice else line


def greeting(name: str) -> str:
    """What port 25 of a host says first. Raises `OSError`."""
    with socket.create_connection((name, SMTP), PATIENCE) as sock:
        return sock.recv(512).decode("latin-1").partition("\r")[0]


@dataclass(frozen=True)
class World:
    """What is outside: DNS, the ports of hosts, the time."""

    ask: Callable[[str, str], list[str]] = lookup.ask
    greeting: Callable[[str], str] = greeting
    now: Callable[[], float] = time.time


Checks = Iterator[Result]


def examine(config: Config, world: World | None = None) -> Checks:
    """All facts, as they are found; a network that does not answer takes seconds."""
    world = world or World()
    works = list(resolver(config, world))
    yield from works
    if works[0].level == "ok":
        addresses = _addresses(config.hostname, world)
        yield from own_name(config, addresses)
        yield from pointers(config, world, addresses)
        yield from exchangers(config, world, addresses)
        yield from ports(config, world)
    yield from certificates(config, world)
    yield from clock()
    for look in (diagnosis.space, diagnosis.sync_speed):
        for found in look(config):
            level = LEVELS[found.verdict]
            yield Result(found.about, level, found.text, found.advice)


def resolver(config: Config, world: World) -> Checks:
    started = time.monotonic()
    try:
        world.ask(config.hostname, "A")
    except NoSuchName:
        pass  # an answer
    except NoAnswer as error:
        yield Result(
            *("resolver", "error", str(error)),
            "see nameserver in /etc/resolv.conf; without DNS nothing else is asked",
        )
        return
    took = (time.monotonic() - started) * 1000
    if took > 1000:
        advice = "policy asks the DNS for each client; run a resolver on this machine"
        yield Result("resolver", "ok", f"answers, slowly: {took:.0f} ms", advice)
    else:
        yield Result("resolver", "ok", f"answers in {took:.0f} ms")


def _addresses(name: str, world: World) -> list[str]:
    found = []
    for kind in ("A", "AAAA"):
        try:
            found += world.ask(name, kind)
        except (NoSuchName, NoAnswer):
            continue
    return found


def own_name(config: Config, addresses: list[str]) -> Checks:
    if addresses:
        yield Result("hostname", "ok", f"{config.hostname} is {', '.join(addresses)}")
        return
    yield Result(
        *("hostname", "error", f"{config.hostname} has no address in the DNS"),
        "give it an A or AAAA record, or put the right name into hostname",
    )


def pointers(config: Config, world: World, addresses: list[str]) -> Checks:
    """PTR of our addresses: many servers distrust who has none that leads back."""
    for address in addresses:
        try:
            names = world.ask(lookup.reverse(address), "PTR")
        except (NoSuchName, NoAnswer):
            names = []
        advice = f"who gives you the address sets it; it should be {config.hostname}"
        if not names:
            yield Result("PTR", "error", f"{address} has no name", advice)
        elif config.hostname.lower() in names:
            yield Result("PTR", "ok", f"{address} is {config.hostname}")
        elif any(address in _addresses(name, world) for name in names):
            text = f"{address} is {names[0]}, not {config.hostname}"
            yield Result("PTR", "warning", text, advice)
        else:
            text = f"{address} is {names[0]}, which is another address"
            yield Result("PTR", "error", text, advice)


def exchangers(config: Config, world: World, addresses: list[str]) -> Checks:
    """MX of our domains: does mail for them come here?"""
    for domain in config.domains:
        about = f"MX of {domain}"
        wanted = f"add: {domain}. MX 10 {config.hostname}."
        try:
            records = world.ask(domain, "MX")
        except NoSuchName:
            yield Result(about, "error", "the domain is not in the DNS", wanted)
            continue
        except NoAnswer as error:
            yield Result(about, "warning", f"not known: {error}")
            continue
        yield _exchanger(about, wanted, records, config, world, addresses)


def _exchanger(
    about: str,
    wanted: str,
    records: list[str],
    config: Config,
    world: World,
    addresses: list[str],
) -> Result:
    names = [record.partition(" ")[2] for record in records]
    if names == ["."]:
        text = "says that the domain takes no mail (RFC 7505)"
        return Result(about, "error", text, wanted)
    if not names:
        text = "there is none; mail goes to the address of the domain itself"
        return Result(about, "warning", text, wanted)
    ours = [name for name in names if _is_us(name, config, world, addresses)]
    if not ours:
        return Result(about, "error", f"leads to {', '.join(names)}, not here", wanted)
    if ours[0] != names[0]:
        text = f"{names[0]} is asked before {ours[0]}"
        return Result(about, "ok", f"leads here, but {text}")
    return Result(about, "ok", f"leads here ({ours[0]})")


def _is_us(name: str, config: Config, world: World, addresses: list[str]) -> bool:
    if name == config.hostname.lower():
        return True
    return bool(set(_addresses(name, world)) & set(addresses))


def ports(config: Config, world: World) -> Checks:
    """Whether port 25 of our name is answered by us."""
    about = f"port {SMTP} of {config.hostname}"
    try:
        said = world.greeting(config.hostname)
    except TimeoutError:
        yield Result(
            *(about, "warning", f"no answer in {PATIENCE:.0f} s"),
            "a firewall here or on the way; or this network blocks outgoing port 25,"
            " and others get through: try from outside",
        )
    except OSError as error:
        text = error.strerror or str(error)
        advice = "start the server, let it listen on port 25, open the firewall"
        yield Result(about, "error", text, advice)
    else:
        if said.startswith("220") and config.hostname.lower() in said.lower():
            yield Result(about, "ok", said)
        else:
            advice = "another server answers there, or a proxy in between"
            yield Result(about, "error", f"says {said!r}", advice)


def certificates(config: Config, world: World) -> Checks:
    from fastsmtp.net.certificates import BadPair, facts

    if not config.tls.certificates:
        advice = "set tls.certificates; most mail is sent over TLS today"
        yield Result("certificate", "warning", "there is none", advice)
    covered = False
    for pair in config.tls.certificates:
        try:
            found = facts(pair)
        except BadPair as error:
            yield Result("certificate", "error", str(error))
            continue
        covered = covered or found.covers(config.hostname)
        left = found.not_after - world.now()
        text = f"{found.names[0] if found.names else pair.certificate}: "
        until = time.strftime("%Y-%m-%d", time.gmtime(found.not_after))
        if left < 0:
            text += f"ended on {until}"
            yield Result("certificate", "error", text, "renew it")
        elif left < RENEW:
            text += f"ends on {until}, in {left / 86400:.0f} days"
            yield Result("certificate", "warning", text, "see why it was not renewed")
        else:
            yield Result("certificate", "ok", f"{text}valid until {until}")
    if config.tls.certificates and not covered:
        text = f"none is for {config.hostname}"
        advice = "clients that check names do not trust it"
        yield Result("certificate", "warning", text, advice)


def clock() -> Checks:
    """Whether something keeps the clock right: the kernel knows."""
    state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    if state == TIME_ERROR:
        advice = "run chrony or systemd-timesyncd; dates, retries and TLS need it"
        yield Result("clock", "warning", "nothing keeps it right", advice)
    elif state < 0:
        yield Result("clock", "warning", "the kernel does not say how it is")
    else:
        yield Result("clock", "ok", "kept right by the machine")
