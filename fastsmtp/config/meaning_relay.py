"""Checks of [relay_domains] and [[relay]]: ways that lead nowhere, back to us, or give
a password away; and the files these tables name."""

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fastsmtp.config.model import Config
from fastsmtp.config.places import Key
from fastsmtp.config.problem import Problem
from fastsmtp.config.source import Source
from fastsmtp.config.words import local_part_fault
from fastsmtp.net.exchangers import Ours
from fastsmtp.options import split_address, unix_path
from fastsmtp.policy.options import RelayOptions
from fastsmtp.policy.recipients import names_in
from fastsmtp.policy.relaying import Relaying, Via, read_via

SECRET_MOST: Final = 64 * 1024  # octets of a file that can be a password


def relay_domains(config: Config, source: Source) -> Iterator[Problem]:
    for domain, options in config.relay_domains.items():
        path: Key = ("relay_domains", domain)
        via = read_via(options.next_hop)
        if via.transport in ("discard", "refuse"):
            text = "is no server that could take the mail of a domain"
            yield source.problem((*path, "next_hop"), text, f'"{options.next_hop}"')
        yield from _hop(config, source, (*path, "next_hop"), via)
        yield from _no_tls(source, (*path, "tls"), via, options.tls)
        for index, name in enumerate(options.recipients):
            if fault := local_part_fault(name):
                place = (*path, "recipients", index)
                yield source.problem(place, fault, f'"{name}"')
        if options.call_ahead and _asks_in_clear(config, domain):
            text = "asks in clear, and TLS is demanded of this next hop"
            advice = "smtps:// begins with TLS; or name the recipients in a file"
            yield source.problem((*path, "call_ahead"), text, advice=advice)
        if options.recipients_file:
            yield from _file(source, path, options.recipients_file, domain)
        local = config.domains.get(domain)
        if local is not None and local.catch_all:
            yield source.problem(
                ("domains", domain, "catch_all"),
                f"never takes anything: {domain} is in [relay_domains], and what nobody"
                " here has is passed on",
                f'"{local.catch_all}"',
                severity="warning",
            )


def _asks_in_clear(config: Config, domain: str) -> bool:
    table = Relaying(
        *((), config.relay_domains, (), config.destinations), config.send.tls
    )
    hop = table.next_hop("", f"postmaster@{domain}")
    return hop.tls in ("encrypt", "verify") and not hop.implicit_tls


def _file(source: Source, path: Key, file: str, domain: str) -> Iterator[Problem]:
    try:
        text = Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        text = f"cannot be read: {why}"
        yield source.problem((*path, "recipients_file"), text, f'"{file}"')
        return
    names, faults = names_in(text, domain)
    for line, fault in faults:
        yield Problem(source=file, key=domain, line=line, column=1, text=fault)
    if not names and not faults:
        text = "holds no name: nobody in this domain gets mail"
        place = (*path, "recipients_file")
        yield source.problem(place, text, f'"{file}"', severity="warning")


def relay(config: Config, source: Source) -> Iterator[Problem]:
    everything = 0  # number of the row that fits all, from 1
    for number, row in enumerate(config.relay):
        path: Key = ("relay", number)
        via = read_via(row.via)
        if everything:
            text = f"is never reached: the {_nth(everything)} [[relay]] fits all mail"
            yield source.problem(path, text, severity="warning")
        elif "*" in (row.to or "*") and "*" in (row.senders or "*"):
            everything = number + 1
        yield from _hop(config, source, (*path, "via"), via)
        yield from _no_tls(source, (*path, "tls"), via, row.tls)
        yield from _login(source, path, row, via)
        yield from _too_late(config, source, (*path, "to"), row)


def _too_late(
    config: Config, source: Source, path: Key, row: RelayOptions
) -> Iterator[Problem]:
    for index, pattern in enumerate(row.to):
        for table in ("domains", "relay_domains"):
            if pattern.lower() in getattr(config, table):
                text = f"is in [{table}], which counts before [[relay]]"
                place, value = (*path, index), f'"{pattern}"'
                yield source.problem(place, text, value, severity="warning")


def _nth(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")


def _hop(config: Config, source: Source, path: Key, via: Via) -> Iterator[Problem]:
    """A next hop that is one of our own listeners: mail would run in circles."""
    inside = [*config.smtp.listen, *config.lmtp.listen]
    if via.host.startswith("/"):
        ours = via.host in map(unix_path, inside)
    else:
        listening = [split_address(a) for a in inside if not unix_path(a)]
        ours = _is_address(via.host) and Ours(listening)(via.host, via.port)
    if ours:
        text = "is this server itself: mail would run in circles"
        yield source.problem(path, text, f'"{via.host}"')


def _no_tls(source: Source, path: Key, via: Via, tls: str) -> Iterator[Problem]:
    if via.host.startswith("/") and tls not in ("", "none"):
        text = "cannot be had through a Unix socket, which needs none"
        yield source.problem(path, text, f'"{tls}"', advice="leave it out")
    if via.implicit_tls and tls == "none":
        text = "contradicts smtps://, where TLS comes first"
        yield source.problem(path, text, f'"{tls}"', advice="write smtp://")
    if via.transport in ("discard", "refuse") and tls:
        text = f"has no effect: {via.transport} connects to nobody"
        yield source.problem(path, text, f'"{tls}"', severity="warning")


def _login(source: Source, path: Key, row: RelayOptions, via: Via) -> Iterator[Problem]:
    """A name, a password for it, a host to say them to, and nobody who listens."""
    if bool(row.login) != bool(row.secret_file):
        there, missing = ("login", "secret_file")[:: 1 if row.login else -1]
        text = f"needs {missing} beside it"
        yield source.problem((*path, there), text, advice=f"add {missing} = …")
    if not row.login:
        return
    if not via.host or via.mx or via.host.startswith("/"):
        text = "is for one host, and via names none that it could be told"
        yield source.problem((*path, "login"), text, advice="via = smtp://host:587")
    if row.tls in ("none", "may") and not _is_loopback(via.host):
        yield source.problem(
            (*path, "tls"),
            "lets the password be sent in clear",
            f'"{row.tls}"',
            allowed='"encrypt" or "verify" where there is a login',
        )
    if row.secret_file:
        yield from secret(source, (*path, "secret_file"), row.secret_file)


def secret(source: Source, path: Key, file: str) -> Iterator[Problem]:
    try:
        found = read_secret(file)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        yield source.problem(path, f"cannot be read: {why}", f'"{file}"')
        return
    if not found:
        yield source.problem(path, "names an empty file", f'"{file}"')


def read_secret(file: str) -> str:
    """The password in a file; the end of its line does not belong to it. Raises
    `OSError` or `ValueError`."""
    with open(file, "rb") as opened:
        octets = opened.read(SECRET_MOST)
    try:
        return octets.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return _is_address(host) and ipaddress.ip_address(host).is_loopback
