"""How often a login may be tried: failures counted by client network and by account.

    wait = guesses.begin(network, name, now)   # seconds to wait, or None: not at all
    guesses.failed(network, name, now)         # or succeeded(…)

Rules
- A network has `free_failures`. Each one above that doubles the time between two
  attempts from it (1 s, 2 s, 4 s … `max_delay`), however many connections it has; at
  `max_failures` it is sent away. One failure is forgotten after each `forget` seconds.
- Failures for one name, from whatever networks, delay attempts for that name in the
  same way, but never end them: an attack cannot lock the owner out.
- A network from which this name has logged in before is *familiar* and waits for none
  of this: attacks from elsewhere, and other people's mistakes behind the same
  address, do not slow it. `free_failures` for this name from there, and it waits like
  everybody until one is forgotten.
- Names that nobody has are counted like others; nobody learns which they are.

Memory is bounded: above `LIMIT` the one that failed least recently is forgotten.
"""

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from fastsmtp.auth.options import AuthOptions

LIMIT: Final = 10_000  # networks, names, and pairs of both, each
FIRST: Final = 1.0  # seconds between attempts after the first failure too many


@dataclass(slots=True)
class Score:
    """count: failures that are not forgotten, at the time `at`; the next attempt of
    the network may begin at `next`."""

    count: float = 0.0
    at: float = 0.0
    next: float = 0.0


class Guesses:
    """See the head of this file. Times are seconds of any clock that does not jump."""

    def __init__(self, options: AuthOptions) -> None:
        self._options = options
        self._networks: dict[Hashable, Score] = {}
        self._names: dict[Hashable, Score] = {}
        self._pairs: dict[Hashable, Score] = {}  # that have logged in

    def familiar(self, network: Hashable, name: str, now: float) -> bool:
        pair = self._pairs.get((network, name))
        limit = max(self._options.free_failures, 1)
        return pair is not None and math.ceil(self._count(pair, now)) < limit

    def begin(self, network: Hashable, name: str, now: float) -> float | None:
        """Seconds this attempt has to wait; None: it may not be made."""
        if self.familiar(network, name, now):
            return 0.0
        score = self._networks.get(network)
        wait = 0.0
        if score is not None:
            turn = self._turn(score, now)
            if turn is None:
                return None
            wait = turn
        named = self._names.get(name)
        if named is not None:
            wait = max(wait, self._pause(self._count(named, now)))
        return wait

    def failed(self, network: Hashable, name: str, now: float) -> None:
        pair = (network, name)
        if pair in self._pairs:
            self._add(self._pairs, pair, now)
        else:
            self._add(self._names, name, now)
        self._add(self._networks, network, now)

    def succeeded(self, network: Hashable, name: str, now: float) -> None:
        """Forgets no failure: who has one account may not guess others for it, and who
        is behind the owner's address may not guess between the owner's logins."""
        pair = (network, name)
        _put(self._pairs, pair, self._pairs.get(pair) or Score(at=now))

    def _turn(self, score: Score, now: float) -> float | None:
        """How long until the network's turn; takes it."""
        count = self._count(score, now)
        if math.ceil(count) >= self._options.max_failures:
            return None
        pause = self._pause(count)
        if not pause:
            return 0.0
        turn = max(score.next, now) + pause
        if turn - now > self._options.max_delay:
            return None
        score.next = turn
        return turn - now

    def _pause(self, count: float) -> float:
        above = math.ceil(count) - self._options.free_failures
        if above < 0:
            return 0.0
        return float(min(FIRST * 2 ** min(above, 30), self._options.max_delay))

    def _count(self, score: Score, now: float) -> float:
        gone = max(now - score.at, 0.0) / self._options.forget
        return max(score.count - gone, 0.0)

    def _add(self, scores: dict[Hashable, Score], key: Hashable, now: float) -> None:
        score = scores.get(key) or Score()
        score.count = self._count(score, now) + 1
        score.at = now
        _put(scores, key, score)


def _put(there: dict[Hashable, Score], key: Hashable, value: Score) -> None:
    """As the newest; the oldest goes when there are too many."""
    there.pop(key, None)
    if len(there) >= LIMIT:
        del there[next(iter(there))]
    there[key] = value
