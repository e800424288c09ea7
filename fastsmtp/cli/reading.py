"""How a command reads the store: beside a server that may be running."""

import concurrent.futures.thread  # noqa: F401  as the owner it may be out of reach
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastsmtp.cli import Failure
from fastsmtp.config import Config
from fastsmtp.owner import as_owner
from fastsmtp.store.lmdb import LmdbStore


@asynccontextmanager
async def reading(config: Config) -> AsyncIterator[LmdbStore]:
    """The store, open for reading, while it is served or not.

    Only opening it makes files (LMDB's table of readers), so only that is done as the
    owner: what a command writes elsewhere belongs to who calls it."""
    demand_data(config)
    with as_owner(config.data):
        store = LmdbStore.read(config.data, config.store)
    try:
        yield store
    finally:
        await store.close()


def demand_data(config: Config) -> None:
    """`Failure` when there is no data directory, or it is somebody else's."""
    if not config.data.is_dir():
        raise Failure(
            f"{config.data} is not there",
            f"mkdir -m 700 {config.data}, and give it to the user that serves",
        )
    if not os.access(config.data, os.R_OK | os.X_OK, effective_ids=True):
        raise Failure(
            f"{config.data} is not yours to read",
            "run this as the user that serves, or as root",
        )
