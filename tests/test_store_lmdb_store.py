from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from contract.model import StoreModel
from contract.promises import StoreContract

from fastsmtp.cells import fresh
from fastsmtp.store.counts import SIZE
from fastsmtp.store.lmdb import LmdbStore, next_epoch
from fastsmtp.store.options import StoreOptions

SMALL = StoreOptions(
    segment_size=1 << 20, map_size=1 << 28, reserve=0, min_free=0, commit_interval=0.0
)


class OnLmdb:
    @asynccontextmanager
    async def opened(self, place: Path) -> AsyncIterator[LmdbStore]:
        epoch = next_epoch(place, SMALL)
        store = await LmdbStore.open(
            place, None, SMALL, epoch=epoch, series=0, cells=fresh(SIZE)
        )
        yield store
        await store.close()


class TestLmdb(OnLmdb, StoreContract):
    """Every promise."""


@pytest.mark.slow
class TestLmdbModel(OnLmdb, StoreModel):
    """Random steps, here and on a model."""
