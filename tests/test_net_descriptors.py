"""How many descriptors there are, and how many of them connections get."""

import resource
import subprocess
import sys

import pytest

from fastsmtp.net import descriptors


@pytest.mark.parametrize(
    ("limit", "configured", "most", "highest"),
    [
        (1024, 20_000, 768, 960),
        (100_000, 20_000, 20_000, 99_936),
        (100, 20_000, 1, 36),
        (resource.RLIM_INFINITY, 20_000, 20_000, (1 << 30) - 64),
    ],
)
def test_connections_leave_some(
    monkeypatch: pytest.MonkeyPatch,
    limit: int,
    configured: int,
    most: int,
    highest: int,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert descriptors.connections_most(configured) == most
    assert descriptors.highest() == highest


def test_the_limit_is_raised_to_what_is_allowed() -> None:
    program = (
        "import resource as r; from fastsmtp.net.descriptors import raise_limit;"
        "r.setrlimit(r.RLIMIT_NOFILE, (50, 300)); print(raise_limit())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert done.stdout == b"300\n"
