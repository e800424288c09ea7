"""Any sequence of steps leaves a backend where the obvious model of it ends."""

import asyncio
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.bench import OnStore, following, order
from fastsmtp.errors import Conflict, Misused
from fastsmtp.store import keys
from fastsmtp.store.base import Check, Kind, Store, added

PARTS = (keys.QUEUE, 300, 301)
_part = st.sampled_from(PARTS)
_key = st.sampled_from([b"a", b"a\x00", b"b", b"b\xff", b"z"]) | st.binary(
    min_size=1, max_size=3
).filter(lambda k: k[0] < 0xF0)
_value = st.binary(max_size=4)
_put = st.tuples(_key, _value)
_nth = st.integers(0, 5)
_step = st.one_of(
    st.tuples(
        st.just("commit"),
        _part,
        st.lists(st.tuples(_key, st.booleans()), max_size=2),
        st.lists(_put, max_size=3),
        st.lists(_key, max_size=2),
        st.dictionaries(_nth, st.sampled_from([-1, 1, 2]), max_size=2),
    ),
    st.tuples(
        st.just("mail"),
        st.lists(st.tuples(_part, _key, _value), max_size=3),
        st.lists(st.tuples(_part, _key), max_size=2),
        st.integers(0, 2),
        st.booleans(),
    ),
    st.tuples(st.just("scan"), _part, _key, _key, st.integers(1, 4), st.booleans()),
    st.tuples(
        st.just("add"),
        st.sampled_from([b"g1", b"g2"]),
        st.integers(-3, 5),
        st.integers(-3, 5),
    ),
    st.tuples(st.just("reopen")),
)


class Model:
    """The state a store should be in, kept the slow and obvious way."""

    def __init__(self) -> None:
        self.values: dict[tuple[int, bytes], bytes] = {}
        self.bodies: list[tuple[int, bytes]] = []
        self.refs: Counter[int] = Counter()
        self.versions: Counter[int] = Counter()

    def scan(self, part: int, lo: bytes, hi: bytes) -> list[tuple[bytes, bytes]]:
        found = [(k, v) for (p, k), v in self.values.items() if p == part]
        return sorted((k, v) for k, v in found if lo <= k < hi)


class Walk:
    """Takes each step on the store and on the model and compares what came back."""

    def __init__(self, store: Store, model: Model) -> None:
        self.store = store
        self.model = model

    async def commit(
        self,
        part: int,
        checks: list[tuple[bytes, bool]],
        puts: list[tuple[bytes, bytes]],
        deletes: list[bytes],
        refs: dict[int, int],
    ) -> None:
        model = self.model
        wanted = {
            model.bodies[n][0]: c for n, c in refs.items() if n < len(model.bodies)
        }
        now = [(key, model.values.get((part, key)), right) for key, right in checks]
        asked = [Check(k, v if right else (v or b"") + b"?") for k, v, right in now]
        fails: type[Exception] | None = None
        if any(model.refs[id] + change < 0 for id, change in wanted.items()):
            fails = Misused
        if not all(right for _, right in checks):
            fails = Conflict
        try:
            version = await self.store.commit(
                part, checks=asked, puts=puts, deletes=deletes, refs=wanted
            )
        except (Conflict, Misused) as error:
            assert type(error) is fails  # noqa: PT017
            return
        assert fails is None
        assert version > model.versions[part]
        model.versions[part] = version
        model.refs.update(wanted)
        self._write([(part, k) for k in deletes], [(part, k, v) for k, v in puts])

    async def mail(
        self,
        puts: list[tuple[int, bytes, bytes]],
        deletes: list[tuple[int, bytes]],
        refs: int,
        wait: bool,
    ) -> None:
        body = b"body %d\r\n" % len(self.model.bodies) * 3
        envelope = order(puts=puts, deletes=deletes, refs=refs)
        id = await self.store.append(Kind.MAIL, envelope, body)
        await self.store.applied(id)
        if wait:
            await self.store.applied(id)
        self.model.bodies.append((id, body))
        self.model.refs[id] = refs
        self._write(deletes, puts)

    def _write(
        self, deletes: list[tuple[int, bytes]], puts: list[tuple[int, bytes, bytes]]
    ) -> None:
        for place in deletes:
            self.model.values.pop(place, None)
        for part, key, value in puts:
            self.model.values[part, key] = value

    async def scan(
        self, part: int, lo: bytes, hi: bytes, limit: int, reverse: bool
    ) -> None:
        wanted = self.model.scan(part, lo, hi)
        if reverse:
            wanted.reverse()
        assert await self.store.scan(part, lo, hi, limit, reverse) == wanted[:limit]

    async def add(self, key: bytes, first: int, second: int) -> None:
        await self.store.commit(keys.QUEUE, adds={key: (first, second)})
        value = added(self.model.values.get((keys.QUEUE, key)), (first, second))
        self.model.values.pop((keys.QUEUE, key), None)
        if value is not None:
            self.model.values[keys.QUEUE, key] = value

    async def compare(self) -> None:
        for part in PARTS:
            wanted = self.model.scan(part, b"", b"\xff")
            assert await self.store.scan(part, b"", b"\xff", 10_000) == wanted
            for key, value in wanted:
                assert self.store.peek(part, key) == value
        for id, body in self.model.bodies:
            blob = await self.store.blob_open(id)  # within the pin: all are there
            assert blob.read(0, 1000) == body
            blob.verify()
            blob.close()


def _lives(steps: list[Any]) -> list[list[Any]]:
    """Cut at each "reopen"."""
    lives: list[list[Any]] = [[]]
    for step in steps:
        if step[0] == "reopen":
            lives.append([])
        else:
            lives[-1].append(step)
    return lives


class StoreModel(OnStore):
    """Inherited beside `StoreContract`."""

    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],
    )
    @given(steps=st.lists(_step, max_size=25))
    def test_it_behaves_like_its_model(self, steps: list[Any]) -> None:
        async def live(place: Path, model: Model, steps: list[Any]) -> None:
            async with self.opened(place) as store, following(store):
                walk = Walk(store, model)
                for name, *details in steps:
                    await getattr(walk, name)(*details)
                await walk.compare()

        with tempfile.TemporaryDirectory() as place:
            model = Model()
            lives = _lives(steps)
            if not self.survives:
                lives = [[step for steps in lives for step in steps]]
            for steps_of_life in lives:
                asyncio.run(live(Path(place), model, steps_of_life))
