"""The promises of `fastsmtp.store.base`, as classes that each backend's tests inherit.

    class TestLmdb(StoreContract, StoreModel):
        def opened(self, place):        # async context manager -> an open store
            ...

See `StoreContract.opened` and its knobs; everything else comes by itself.
"""
