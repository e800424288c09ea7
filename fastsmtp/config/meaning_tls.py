"""Checks of the [tls] table: files that cannot be used, certificates that nobody will
believe."""

import time
from collections.abc import Iterator
from typing import Final

from fastsmtp.config.model import Config
from fastsmtp.config.places import Key
from fastsmtp.config.problem import Problem
from fastsmtp.config.source import Source
from fastsmtp.net.options import CertificatePair
from fastsmtp.owner import as_owner

SOON: Final = 14 * 86400.0  # seconds before its end that a certificate is renewed


def tls(config: Config, source: Source) -> Iterator[Problem]:
    if not config.tls.certificates:
        return
    from fastsmtp.net.certificates import ciphers_fault

    fault = ciphers_fault(config.tls.ciphers)
    if fault is not None:
        value = f'"{config.tls.ciphers}"'
        yield source.problem(("tls", "ciphers"), fault, value=value)
        return
    names: set[str] = set()
    for number, pair in enumerate(config.tls.certificates):
        with as_owner(config.data):  # who serves reads them, at each renewal
            yield from _pair(config, source, number, names)
        yield from _open_key(source, number, pair)


def _pair(
    config: Config, source: Source, number: int, seen: set[str]
) -> Iterator[Problem]:
    from fastsmtp.net.certificates import BadPair, context_for, facts

    pair = config.tls.certificates[number]
    path: Key = ("tls", "certificates", number)
    try:
        found = facts(pair)
        context_for(pair, config.tls)
    except BadPair as bad:
        yield source.problem(
            (*path, bad.which),
            bad.why,
            value=f'"{bad.path}"',
            advice=_advice(bad.why),
        )
        return
    here = (*path, "certificate")
    shown = f'"{pair.certificate}"'
    left = found.not_after - time.time()
    if left < SOON:
        day = time.strftime("%Y-%m-%d", time.gmtime(found.not_after))
        text = f"has expired on {day}" if left < 0 else f"ends soon, on {day}"
        yield source.problem(here, text, value=shown, severity="warning")
    if number == 0 and not found.covers(config.hostname):
        yield source.problem(
            here,
            f"does not name {config.hostname}, but {', '.join(found.names)}",
            value=shown,
            advice="put the pair with the name of the hostname setting first",
            severity="warning",
        )
    if seen.issuperset(found.names):
        text = f"is never used: an earlier one names {', '.join(found.names)}"
        yield source.problem(here, text, value=shown, severity="warning")
    seen.update(found.names)


def _advice(why: str) -> str:
    if "Permission" in why:
        return "the owner of the data folder must be able to read it, folders included"
    if "passphrase" in why:
        return "`openssl pkey -in KEY -out NEW` writes it without"
    if "is not the key" in why:
        return "a certificate and its key are made together; name that pair"
    return ""


def _open_key(source: Source, number: int, pair: CertificatePair) -> Iterator[Problem]:
    try:
        mode = pair.key.stat().st_mode
    except OSError:
        return
    if mode & 0o007:
        yield source.problem(
            ("tls", "certificates", number, "key"),
            "may be read by every user of this machine",
            value=f'"{pair.key}"',
            advice=f"`chmod o= {pair.key}`",
            severity="warning",
        )
