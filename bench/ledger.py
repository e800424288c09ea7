"""Whether every acknowledged message is where it belongs, once: in the mailboxes of a
fastsmtp, or in the record of a sink."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fastsmtp import config
from fastsmtp.cli.contents import Contents
from fastsmtp.cli.reading import reading
from fastsmtp.store.base import Store

ID: Final = re.compile(rb"-ID: <([^@>\s]+)@load\.invalid>")
EXAMPLES: Final = 3
START: Final = 2048  # octets of a message, which hold its id
STILL: Final = 2.0  # seconds


@dataclass(slots=True)
class Balance:
    """What was found of what was acknowledged.

    copies   of each message there must be: its recipients
    unasked  found although their acknowledgement never came: allowed, once
    """

    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    unasked: int = 0

    @property
    def good(self) -> bool:
        return not self.lost and not self.doubled

    def sentence(self) -> str:
        if self.good:
            more = f", and {self.unasked:,} that were in flight" if self.unasked else ""
            return (
                f"all {self.acknowledged:,} acknowledged messages are there once{more}"
            )
        parts = []
        for what, found in (("lost", self.lost), ("there twice", self.doubled)):
            if found:
                parts.append(f"{len(found):,} {what} ({', '.join(found[:EXAMPLES])})")
        return f"of {self.acknowledged:,} acknowledged messages " + ", ".join(parts)


def acknowledged(folder: Path, tag: str = "") -> list[str]:
    """The ids that generators wrote down in this folder."""
    files = sorted(folder.glob(f"acked-{tag}*"))
    return [name for file in files for name in file.read_text().split()]


def settle(
    acked: Iterable[str], found: Counter[tuple[str, str]], copies: int
) -> Balance:
    """`found`: how often (mailbox, id) was seen."""
    there: Counter[str] = Counter()
    twice = set()
    for (_, name), times in found.items():
        there[name] += 1
        if times > 1:
            twice.add(name)
    wanted = set(acked)
    lost = sorted(name for name in wanted if there[name] < copies)
    over = {name for name, times in there.items() if times > copies}
    unasked = len(set(there) - wanted)
    return Balance(len(wanted), lost, sorted(twice | over), unasked)


def marked(found: Counter[tuple[str, str]], mark: str) -> Counter[tuple[str, str]]:
    """Only what belongs to one run."""
    return Counter({key: n for key, n in found.items() if key[1].startswith(mark)})


def in_record(path: Path) -> Counter[tuple[str, str]]:
    """What a sink wrote down; a line is one message, however many recipients it had."""
    lines = path.read_text().split("\n")
    return Counter(("", line.split()[0]) for line in lines if line)


def in_folder(folder: Path) -> Counter[tuple[str, str]]:
    """What is in the Maildirs of another server, somewhere below this folder, when
    nothing new has come for STILL seconds. Raises OSError."""
    before: Counter[tuple[str, str]] = Counter()
    while (found := _in_maildirs(folder)) != before:
        before = found
        time.sleep(STILL)
    return found


def _in_maildirs(folder: Path) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for path in (*folder.glob("**/new/*"), *folder.glob("**/cur/*")):
        with path.open("rb") as file:
            if name := ID.search(file.read(START)):
                found[str(path.parent.parent), name[1].decode()] += 1
    return found


def in_mailboxes(configuration: Path, addresses: list[str]) -> Counter[tuple[str, str]]:
    """What is in these inboxes; the server may run."""
    return asyncio.run(_read(configuration, addresses))


async def _read(configuration: Path, addresses: list[str]) -> Counter[tuple[str, str]]:
    async with reading(config.load(configuration)) as store:
        inboxes = [await _names(store, address) for address in addresses]
    there = zip(addresses, inboxes, strict=True)
    return Counter((address, name) for address, names in there for name in names)


async def _names(store: Store, address: str) -> list[str]:
    """The ids in one inbox."""
    contents = await Contents.open(store, address, "INBOX")
    found = []
    async for _, email in contents.emails():
        if name := ID.search(await contents.start(email, START)):
            found.append(name[1].decode())
    return found
