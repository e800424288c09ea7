"""What the keeper spends on one record before its writes reach the index.

    python -m pytest bench/micro_apply.py --benchmark-enable -c pyproject.toml

Reads go to a dictionary over all that was written, as in a backend that joins many
records in one transaction; each round applies 1,000 records.
"""

from collections.abc import Callable
from typing import Any

import pytest

from fastsmtp.auth.accounts import Account, Directory, encode_account
from fastsmtp.cells import fresh
from fastsmtp.delivery import counts
from fastsmtp.delivery.local import LocalDelivery
from fastsmtp.delivery.route import Route
from fastsmtp.mailbox.values import AccountHead, Mailbox, encode
from fastsmtp.policy.options import DomainOptions
from fastsmtp.policy.recipients import Recipients
from fastsmtp.queue import counts as events
from fastsmtp.queue.message import Envelope, Recipient, encode_envelope
from fastsmtp.store import keys
from fastsmtp.store.base import Kind, Record

ROUND = 1000
NOW = 1_700_000_000_000


class Index:
    """Just enough of a store for `Apply`: an overlay keyed as LMDB's would be."""

    def __init__(self, accounts: int) -> None:
        self.parts = range(keys.FIRST_ACCOUNT, keys.FIRST_ACCOUNT + accounts)
        self.values: dict[bytes, bytes] = {}
        self.prefix = {part: keys.u64(part) for part in self.parts}
        for part in self.parts:
            head = encode(AccountHead(modseq=6, next_mailbox=7))
            inbox = encode(Mailbox("INBOX", part, role="inbox"))
            self.values[self.prefix[part] + keys.HEAD] = head
            self.values[self.prefix[part] + keys.mailbox(1)] = inbox

    def read(self, part: int, key: bytes) -> bytes | None:
        return self.values.get(self.prefix[part] + key)

    def find(self, address: str) -> bytes | None:
        number = int(address.partition("@")[0].removeprefix("user"))
        return encode_account(Account(self.parts[number], address))


def delivery(index: Index) -> LocalDelivery:
    """The keeper's `Apply`, for the accounts of the index."""
    directory = Directory(index.find)
    domains = {"example.test": DomainOptions()}
    policy = Recipients(domains, lambda address: directory.lookup(address) is not None)
    return LocalDelivery(
        Route(policy.resolve, directory.lookup),
        fresh(counts.CELLS),
        fresh(events.CELLS),
    )


def rounds(accounts: int, recipients: int) -> Callable[[], None]:
    """A function that applies 1,000 records of so many recipients each."""
    index = Index(accounts)
    apply = delivery(index)
    records = []
    for n in range(ROUND):
        names = (f"user{(n + i) % accounts}@example.test" for i in range(recipients))
        to = tuple(Recipient(name) for name in names)
        envelope = Envelope("s@x.test", to, NOW + n, 30, "7BIT", "192.0.2.1", "x.test")
        records.append(Record(n + 1, Kind.MAIL, encode_envelope(envelope), 4500))

    def run() -> None:
        values, prefix, read = index.values, index.prefix, index.read
        for record in records:
            for part, key, value in apply(record, read).puts:
                values[prefix[part] + key] = value

    return run


CASES = [(1, 1), (1000, 1), (10, 10), (1000, 10)]


@pytest.mark.parametrize(("accounts", "recipients"), CASES)
def test_apply(benchmark: Any, accounts: int, recipients: int) -> None:
    run = rounds(accounts, recipients)
    run()
    benchmark.pedantic(run, rounds=20, warmup_rounds=2)
    each = benchmark.stats.stats.min / ROUND if benchmark.enabled else 0
    benchmark.extra_info["µs per record"] = round(each * 1e6, 2)
