"""What a server sets out with, and the numbers that all its processes share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastsmtp import blocks
from fastsmtp.config import Config
from fastsmtp.net.systemd import Notifier
from fastsmtp.pages import Pages

PAGES: Final = "counters"  # file in the run directory
FIRST_WORKER: Final = 2  # slot of the keeper among the pages; receivers follow
GRACE: Final = 30.0  # seconds a transaction under way may still take after a reload
LAST: Final = 6.0
"""Seconds that a transaction, and a message with a next hop, may still take when the
server ends: all of the end is to be over within ten."""
SETTLING: Final = 1.5  # seconds after that until all that was accepted is applied


@dataclass(frozen=True, slots=True)
class Outset:
    """path: the file the configuration came from; a reload reads it again."""

    config: Config
    path: Path
    notifier: Notifier


def counting(config: Config, slots: int) -> Pages:
    """The file of counters, made new. Raises `OSError` with its path."""
    path = config.run / PAGES
    try:
        pages = Pages.create(path, blocks.CELLS, slots)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    pages.name(config.hooks)
    return pages
