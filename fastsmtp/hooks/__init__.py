"""Decide about mail in Python: what a hook module is given and what it answers.

    from fastsmtp.hooks import Facts, Reject, Verdict

    async def rcpt(facts: Facts, address: str) -> Verdict:
        if address.startswith("old-"):
            return Reject("This address is no longer read", 550, "5.1.1")
        return None

    [hooks.old]
    module = "old.py"

docs/hooks.md has the rest: the stages, options, threads, what failure means.

    verdicts   Accept, Reject, Defer
    facts      what is known of client and transaction
    body       the message, read lazily
    modules    from the configuration to functions
    questions  one question: its deadline, its answer, what it costs
    rspamd     the hook that asks Rspamd
"""

from fastsmtp.hooks.body import Body
from fastsmtp.hooks.facts import Facts
from fastsmtp.hooks.verdicts import Accept, Defer, Reject, Verdict

__all__ = ["Accept", "Body", "Defer", "Facts", "Reject", "Verdict"]
