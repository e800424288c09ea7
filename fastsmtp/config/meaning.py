"""Checks of what a configuration means: well written and yet wrong."""

import ipaddress
import os
import pwd
import stat
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Final

from fastsmtp.config.kinds import SOCKET_PATH
from fastsmtp.config.meaning_policy import policy
from fastsmtp.config.meaning_relay import relay, relay_domains, secret
from fastsmtp.config.meaning_submission import (
    pop3,
    programs,
    senders,
    submission,
)
from fastsmtp.config.meaning_tls import tls
from fastsmtp.config.model import Config
from fastsmtp.config.places import Key
from fastsmtp.config.problem import Problem
from fastsmtp.config.source import Source, dotted
from fastsmtp.options import split_address, unix_path

SOCKET_NAME: Final = len("/control.sock")

Check = Callable[[Config, Source], Iterator[Problem]]
Known = Callable[[str], bool]
"""Whether an account has this address; given in lower case."""


def examine(
    config: Config, source: Source, known: Known | None, *, serving: bool
) -> list[Problem]:
    """Every finding.

    known    None where nobody can say which accounts there are
    serving  what only a server needs, too: its certificates and who it becomes"""
    checks = (*CHECKS, *OF_SERVERS) if serving else CHECKS
    found = [problem for check in checks for problem in check(config, source)]
    found += postmaster(config, source, known)
    if known is not None:
        found += strangers(config, source, known)
        found += senders(config, source, known)
    return found


def hostname(config: Config, source: Source) -> Iterator[Problem]:
    if "." not in config.hostname or config.hostname.lower() in ("localhost",):
        yield source.problem(
            ("hostname",),
            "has no domain; other servers distrust such a name",
            f'"{config.hostname}"',
            advice="use the name that the address of this machine resolves to",
            severity="warning",
        )


def token(config: Config, source: Source) -> Iterator[Problem]:
    if config.metrics.token_file:
        yield from secret(source, ("metrics", "token_file"), config.metrics.token_file)


def folders(config: Config, source: Source) -> Iterator[Problem]:
    for name, path in (("data", config.data), ("run", config.run)):
        if _is_file(path):
            yield source.problem(
                (name,),
                "is a file, not a folder",
                f'"{path}"',
                advice="name a folder; it is made when it does not exist",
            )
    length = len(os.fsencode(config.run)) + SOCKET_NAME
    if length > SOCKET_PATH:
        yield source.problem(
            ("run",),
            f"is too long for a Unix socket by {length - SOCKET_PATH} octets",
            f'"{config.run}"',
            allowed=f"at most {SOCKET_PATH - SOCKET_NAME} octets",
            advice='set run to a short path, such as "/run/fastsmtp"',
        )


def _is_file(path: Path) -> bool:
    """Who may not look into the folder it is in cannot say."""
    try:
        return not stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        return False


def user(config: Config, source: Source) -> Iterator[Problem]:
    if not config.user:
        return
    try:
        pwd.getpwnam(config.user)
    except KeyError:
        yield source.problem(
            ("user",),
            "is no user of this machine",
            f'"{config.user}"',
            advice=f"`useradd --system {config.user}` makes one",
        )


def listeners(config: Config, source: Source) -> Iterator[Problem]:
    """Two sockets on one address: the second would not start."""
    kinds: list[tuple[tuple[str, str], list[str]]] = [
        (("smtp", "listen"), config.smtp.listen),
        (("submission", "listen"), config.submission.listen),
        (("submission", "listen_tls"), config.submission.listen_tls),
        (("lmtp", "listen"), config.lmtp.listen),
        (("pop3", "listen"), config.pop3.listen),
        (("pop3", "listen_tls"), config.pop3.listen_tls),
        (("sendmail", "listen"), config.sendmail.listen),
    ]
    taken: list[tuple[Key, str]] = [
        ((*key, index), address)
        for key, addresses in kinds
        for index, address in enumerate(addresses)
    ]
    if not (config.smtp.listen or config.lmtp.listen):
        yield source.problem(("smtp", "listen"), "is empty: no mail would come in")
    if config.metrics.listen:
        taken.append((("metrics", "listen"), config.metrics.listen))
    for (first, one), (second, other) in combinations(taken, 2):
        if _collide(one, other):
            yield source.problem(
                second,
                f"needs the same port as {dotted(first)} ({one})",
                f'"{other}"',
                advice="give each its own address or port",
            )


def _collide(one: str, other: str) -> bool:
    if unix_path(one) or unix_path(other):
        return one == other
    (host, port), (host2, port2) = split_address(one), split_address(other)
    if port == 0 or port != port2:
        return False
    if host == host2:
        return True
    try:
        first, second = ipaddress.ip_address(host), ipaddress.ip_address(host2)
    except ValueError:
        return False
    same_family = first.version == second.version
    return same_family and (
        first == second or first.is_unspecified or second.is_unspecified
    )


def _targets(config: Config) -> Iterator[tuple[Key, str]]:
    for domain, options in config.domains.items():
        path: Key = ("domains", domain)
        if options.catch_all:
            yield (*path, "catch_all"), options.catch_all
        for alias, addresses in options.aliases.items():
            for index, address in enumerate(addresses):
                yield (*path, "aliases", alias, index), address


def aliases_twice(config: Config, source: Source) -> Iterator[Problem]:
    for domain, options in config.domains.items():
        seen: dict[str, str] = {}
        for alias in options.aliases:
            first = seen.setdefault(alias.lower(), alias)
            if first != alias:
                yield source.problem(
                    ("domains", domain, "aliases", alias),
                    f"is the same name as {first}; case does not count",
                    advice="join the two",
                )


def loops(config: Config, source: Source) -> Iterator[Problem]:
    """Aliases that lead to each other have nobody who gets the mail. One that names
    itself means the account of that name."""
    edges: dict[str, list[str]] = {}
    paths: dict[str, Key] = {}
    for domain, options in config.domains.items():
        for alias, addresses in options.aliases.items():
            address = f"{alias}@{domain}".lower()
            lowered = [target.lower() for target in addresses]
            edges[address] = [target for target in lowered if target != address]
            paths[address] = ("domains", domain, "aliases", alias)
    reported: set[str] = set()
    for start in edges:
        loop = [] if start in reported else _loop(start, edges)
        if loop:
            reported.update(loop)
            yield source.problem(
                paths[start],
                "leads back to itself: " + " → ".join((*loop, start)),
                advice="let one of them lead to an account",
            )


def _loop(start: str, edges: dict[str, list[str]]) -> list[str]:
    """The shortest way from `start` back to it, without the return; [] if none."""
    ways = [[start]]
    seen = {start}
    for way in ways:
        for target in edges.get(way[-1], ()):
            if target == start:
                return way
            if target not in seen:
                seen.add(target)
                ways.append([*way, target])
    return []


def postmaster(
    config: Config, source: Source, known: Known | None
) -> Iterator[Problem]:
    """RFC 5321 4.5.1: mail to postmaster must reach somebody."""
    unless = "" if known is not None else ", unless an account has that name"
    for domain, options in config.domains.items():
        address = f"postmaster@{domain}"
        named = any(alias.lower() == "postmaster" for alias in options.aliases)
        if domain in config.relay_domains:
            continue  # who has it there, has it
        if named or options.catch_all or (known is not None and known(address)):
            continue
        yield source.problem(
            ("domains", domain),
            f"{address} is read by nobody{unless}",
            advice='add aliases = { postmaster = ["…"] }',
            severity="warning",
        )


def strangers(config: Config, source: Source, known: Known) -> Iterator[Problem]:
    """Aliases and catch-alls that lead to nobody."""
    names = {
        f"{alias}@{domain}".lower()
        for domain, options in config.domains.items()
        for alias in options.aliases
    }
    for path, address in _targets(config):
        local, _, domain = address.lower().rpartition("@")
        plain = f"{local.partition('+')[0]}@{domain}"
        here = domain in config.domains and domain not in config.relay_domains
        if not here or plain in names or known(plain):
            continue
        yield source.problem(
            path,
            "has no account and is no alias: nobody gets this mail",
            f'"{address}"',
            advice=f"`fastsmtp user add {address}` makes the account",
            severity="warning",
        )


def processes(config: Config, source: Source) -> Iterator[Problem]:
    if config.processes.mode != "one":
        return
    for name in ("receivers", "readers"):
        number = getattr(config.processes, name)
        if number > 1:
            yield source.problem(
                ("processes", name),
                "has no effect in mode one",
                str(number),
                advice='set mode = "split"',
                severity="warning",
            )


def memory(config: Config, source: Source) -> Iterator[Problem]:
    smtp = config.smtp
    if smtp.max_connections_per_network > smtp.max_connections:
        yield source.problem(
            ("smtp", "max_connections_per_network"),
            "is above max_connections: one network may take every connection",
            str(smtp.max_connections_per_network),
            allowed=f"at most {smtp.max_connections}",
            severity="warning",
        )


CHECKS: Final[tuple[Check, ...]] = (
    hostname,
    folders,
    token,
    listeners,
    aliases_twice,
    loops,
    processes,
    memory,
    policy,
    submission,
    programs,
    relay_domains,
    relay,
    pop3,
)
OF_SERVERS: Final[tuple[Check, ...]] = (user, tls)
