"""What a user's message and a user's login cost beside the dialogue.

`pytest --benchmark-enable bench/micro_submission.py`
"""

import secrets

from pytest_benchmark.fixture import BenchmarkFixture

from fastsmtp.auth.mechanisms import begin
from fastsmtp.auth.options import AuthOptions
from fastsmtp.auth.passwords import scram_keys
from fastsmtp.policy.options import DomainOptions
from fastsmtp.policy.senders import Senders
from fastsmtp.serve.verifier import Verifier
from fastsmtp.wire.originator import mailboxes, read_header

ALICE = "alice@example.test"
HEADER = (
    b"From: Alice <alice@example.test>\r\nTo: bob@example.test\r\n"
    b"Subject: a line of forty characters, more or less\r\n"
    b"Date: Tue, 24 Nov 2026 05:00:00 +0000\r\nMessage-ID: <1@example.test>\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
)


def test_header(benchmark: BenchmarkFixture) -> None:
    """Fields found, From read, sender allowed twice: all that a good message costs."""
    senders = Senders({"example.test": DomainOptions()}, {ALICE}.__contains__, {})

    def look() -> bool:
        found = read_header(HEADER)
        (address,) = mailboxes(found.froms[0])
        return senders.allows(ALICE, ALICE) and senders.allows(ALICE, address)

    assert benchmark(look)


def test_plain_that_is_remembered(benchmark: BenchmarkFixture) -> None:
    verifier = Verifier(AuthOptions(), lambda: 0.0)
    mark = verifier._mark("record", "password")
    verifier._right[mark] = 1.0

    def login() -> bool:
        begin("PLAIN", lambda name: None, b"").step(b"\0alice@example.test\0password")
        return verifier.remembers("record", "password")

    assert benchmark(login)
    verifier.close()


def test_scram_challenge(benchmark: BenchmarkFixture) -> None:
    keys = scram_keys("password", secrets.token_bytes(16))

    def challenge() -> object:
        first = b"n,,n=alice@example.test,r=rOprNGfwEbeRWgbNEkqO"
        return begin("SCRAM-SHA-256", lambda name: keys, b"").step(first)

    assert isinstance(benchmark(challenge), bytes)
