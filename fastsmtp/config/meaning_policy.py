"""Checks of [policy] and [dnsbl]: settings that can never have an effect."""

from collections.abc import Iterator

from fastsmtp.config.model import Config
from fastsmtp.config.problem import Problem
from fastsmtp.config.source import Source
from fastsmtp.policy.lists import List


def policy(config: Config, source: Source) -> Iterator[Problem]:
    if not config.dnsbl:
        return
    options = config.policy
    reject, defer = options.dnsbl_reject, options.dnsbl_defer
    most = sum(List(zone, each).most for zone, each in config.dnsbl.items())
    for name, mark in (("dnsbl_reject", reject), ("dnsbl_defer", defer)):
        if mark > most:
            text = f"is never reached: all lists together count {most:g} at most"
            yield source.problem(
                ("policy", name), text, value=f"{mark:g}", severity="warning"
            )
    if not reject and not defer:
        text = "and dnsbl_defer are 0: the lists are asked and refuse nobody"
        yield source.problem(("policy", "dnsbl_reject"), text, severity="warning")
    elif reject and defer >= reject:
        text = "is not below dnsbl_reject: nobody is ever deferred"
        yield source.problem(
            ("policy", "dnsbl_defer"), text, value=f"{defer:g}", severity="warning"
        )
    for zone, each in config.dnsbl.items():
        if not each.score and not each.codes:
            text = "counts nothing: its score is 0 and it has no codes"
            yield source.problem(("dnsbl", zone), text, severity="warning")
