"""The ring files of a process: opened, swept and closed."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fastsmtp.errors import FormatTooNew
from fastsmtp.trace.options import WhyOptions
from fastsmtp.trace.ring import Trace

FOLDER: Final = "why"  # in the data folder: it must outlive a restart to be of use
SWEEP: Final = 10.0  # seconds between two looks for what is too old


@contextmanager
def kept(
    data: Path, name: str, options: WhyOptions, trouble: Callable[[str], None]
) -> Iterator[Trace]:
    """The trace of the process of this name, inside a running loop.

    Without its files the server works as well: `trouble` is told why there are none."""
    folder = data / FOLDER
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        trace = Trace(str(folder / name), options.size)
    except (OSError, FormatTooNew) as error:
        trouble(f"nothing is kept for `fastsmtp why`: {error}")
        trace = Trace()
    sweeping = asyncio.ensure_future(sweep(trace, options.keep))
    try:
        yield trace
    finally:
        sweeping.cancel()
        trace.close()


async def sweep(trace: Trace, keep: float) -> None:
    while trace.on:
        trace.sweep(int((time.time() - keep) * 1000))
        await asyncio.sleep(SWEEP)


def tidy(data: Path, options: WhyOptions) -> None:
    """Remove the files of processes that there are no more, once they are too old.

    For the first process of a server, before it starts others."""
    for path in (data / FOLDER).glob("*"):
        if path.stat().st_mtime < time.time() - options.keep or not options.size:
            path.unlink()
