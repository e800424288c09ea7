"""How much a client network may do a minute: token buckets that cost a number each.

    rate = Rate(60)
    wait = rate.take("192.0.2.7", now)      # 0.0: go on; else seconds until the next

A bucket holds a minute's worth of tokens and fills evenly. What is kept is not the
tokens but the moment at which the bucket will be full again: taking a token moves it
on, and it may lie a minute ahead at most. A bucket that is full is like none, so it can
be forgotten without harm; that bounds the memory.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

MINUTE: Final = 60.0  # seconds
MOST: Final = 65_536  # networks remembered, about 8 MiB
GRAIN: Final = 1e-6  # seconds that rounding may be off


class Rate:
    """The buckets of one kind of thing.

    per_minute  tokens in a full bucket, and how many come back in a minute
    most        buckets kept. When more networks than that are in debt at once, those
                that came first are forgiven: nobody is refused for what others do
    """

    __slots__ = ("_full_at", "_most", "_token")

    def __init__(self, per_minute: int, most: int = MOST) -> None:
        self._token = MINUTE / per_minute
        self._most = most
        self._full_at: dict[Hashable, float] = {}

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: Hashable, now: float) -> float:
        """Take a token: 0.0, or nothing was taken and a token comes in so many seconds.

        `now` is in seconds of a clock that never goes back."""
        full_at = self._full_at.get(key)
        if full_at is None:
            if len(self._full_at) >= self._most:
                self._make_room(now)
            full_at = now
        full_at = max(full_at, now) + self._token
        wait = full_at - now - MINUTE
        if wait > GRAIN:
            return wait
        self._full_at[key] = full_at
        return 0.0

    def _make_room(self, now: float) -> None:
        """Seldom: a quarter of the room is free afterwards."""
        kept = {key: at for key, at in self._full_at.items() if at > now}
        if len(kept) > self._most * 3 // 4:
            kept = dict(list(kept.items())[len(kept) // 2 :])
        self._full_at = kept
