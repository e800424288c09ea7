"""Checks of the [submission], [pop3] and [auth] tables: where nobody could log in, and
names that nobody has."""

from collections.abc import Callable, Iterator

from fastsmtp.config.model import Config
from fastsmtp.config.problem import Problem
from fastsmtp.config.source import Source
from fastsmtp.options import unix_path


def submission(config: Config, source: Source) -> Iterator[Problem]:
    options = config.submission
    secured = bool(config.tls.certificates)
    advice = "[tls] certificates needs a certificate"
    if options.listen_tls and not secured:
        text = "begins with TLS, and there is no certificate"
        yield source.problem(("submission", "listen_tls"), text, advice=advice)
    starttls = secured and config.smtp.starttls
    if options.listen and not (starttls or config.auth.without_tls_on_loopback):
        text = "lets nobody log in: passwords are not taken in clear"
        yield source.problem(("submission", "listen"), text, advice=advice)
    listening = options.listen or options.listen_tls or config.auth.on_smtp
    if listening and not config.auth.mechanisms:
        text = "is empty: nobody could log in"
        yield source.problem(("auth", "mechanisms"), text, advice="name at least one")


def pop3(config: Config, source: Source) -> Iterator[Problem]:
    options = config.pop3
    secured = bool(config.tls.certificates)
    advice = "[tls] certificates needs a certificate"
    if options.listen_tls and not secured:
        text = "begins with TLS, and there is no certificate"
        yield source.problem(("pop3", "listen_tls"), text, advice=advice)
    if options.listen and not (secured or config.auth.without_tls_on_loopback):
        text = "lets nobody log in: passwords are not taken in clear"
        yield source.problem(("pop3", "listen"), text, advice=advice)


def senders(
    config: Config, source: Source, known: Callable[[str], bool]
) -> Iterator[Problem]:
    for account in config.submission.senders:
        if not known(account.lower()):
            yield source.problem(
                ("submission", "senders", account),
                "is no account: nobody can send as this",
                advice=f"`fastsmtp user add {account}` makes the account",
                severity="warning",
            )


def programs(config: Config, source: Source) -> Iterator[Problem]:
    """The kernel says who is at the other end of a Unix socket, and of no other."""
    options = config.sendmail
    for index, address in enumerate(options.listen):
        if not unix_path(address):
            text = "is no Unix socket: nobody could tell who connects"
            advice = 'write "unix:/run/fastsmtp/sendmail.sock"'
            key = ("sendmail", "listen", index)
            yield source.problem(key, text, f'"{address}"', advice=advice)
    domain = (options.domain or config.hostname).lower()
    if options.listen and domain not in config.domains:
        yield source.problem(
            ("sendmail", "domain"),
            f"is {domain}, which is not a domain of this server: mail of cron for root"
            " would be sent elsewhere",
            advice=f'[domains."{domain}"] with aliases = {{ root = ["…"] }}',
            severity="warning",
        )
