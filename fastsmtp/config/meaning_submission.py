"""Checks of the [submission] and [auth] tables: where nobody could log in, and names
that nobody has."""

from collections.abc import Callable, Iterator

from fastsmtp.config.model import Config
from fastsmtp.config.problem import Problem
from fastsmtp.config.reader import dotted
from fastsmtp.config.source import Source


def submission(config: Config, source: Source) -> Iterator[Problem]:
    options = config.submission
    secured = bool(config.tls.certificates)
    advice = "[tls] certificates needs a certificate"
    if options.listen_tls and not secured:
        text = "begins with TLS, and there is no certificate"
        yield _problem(source, ("submission", "listen_tls"), text, advice)
    starttls = secured and config.smtp.starttls
    if options.listen and not (starttls or config.auth.without_tls_on_loopback):
        text = "lets nobody log in: passwords are not taken in clear"
        yield _problem(source, ("submission", "listen"), text, advice)
    listening = options.listen or options.listen_tls or config.auth.on_smtp
    if listening and not config.auth.mechanisms:
        text = "is empty: nobody could log in"
        yield _problem(source, ("auth", "mechanisms"), text, "name at least one")


def senders(
    config: Config, source: Source, known: Callable[[str], bool]
) -> Iterator[Problem]:
    for account in config.submission.senders:
        if not known(account.lower()):
            yield _problem(
                source,
                ("submission", "senders", account),
                "is no account: nobody can send as this",
                f"`fastsmtp user add {account}` makes the account",
                "warning",
            )


def _problem(
    source: Source,
    path: tuple[str, ...],
    text: str,
    advice: str,
    severity: str = "error",
) -> Problem:
    place = source.place(path)
    return Problem(
        source=source.file,
        key=dotted(path),
        line=place.line,
        column=place.column,
        text=text,
        advice=advice,
        severity=severity,  # type: ignore[arg-type]
    )
