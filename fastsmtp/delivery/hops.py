"""How much each next hop may have at a time, and which are left alone.

One that has not answered yet gets a few messages, and each answer doubles them. All
that have not answered share half of the room, however many they are: who is silent must
not take the room of others, neither by much mail for one nor by a little for each of a
thousand. When half of that is taken, each gets one message. Who has answered is
remembered for a time, also without mail.

One that cannot be reached is left alone for a while, longer each time, and has then not
answered again.
"""

from collections.abc import Collection, Iterable
from itertools import islice
from typing import Final

from fastsmtp.delivery.attempt import Attempt
from fastsmtp.delivery.options import DeliveryOptions
from fastsmtp.queue import backoff
from fastsmtp.queue.schedule import TURN, Schedule

PROBES: Final = 10  # messages at a time for a next hop that has not answered
SILENT: Final = 0.5  # of all that is active: for those that have not answered
HOPS: Final = 100  # known before the dead ones among them are forgotten
GOOD: Final = 10_000  # without mail that are remembered as having answered


class Hop:
    """A next hop that has mail, or could not be reached.

    heard    it has answered, and could be reached since
    active   jobs that were given for it
    most     of these at a time, while there is room
    failures how often in a row it could not be reached
    paused   milliseconds, wall clock, before which it gets nothing
    left     destinations that are left alone with it until then
    waiting  destinations whose mail is to go there when it can take more, in the order
             in which they came
    """

    __slots__ = ("active", "failures", "heard", "left", "most", "paused", "waiting")

    def __init__(self, most: int) -> None:
        self.heard = False
        self.active = 0
        self.most = most
        self.failures = 0
        self.paused = 0
        self.left: set[str] = set()
        self.waiting: dict[str, None] = {}


class Hops:
    """All of one dispatcher, by their keys. Destinations whose mail has to wait for a
    next hop are parked in its schedule, and come again when there is room."""

    def __init__(self, schedule: Schedule, options: DeliveryOptions) -> None:
        self._schedule = schedule
        self._options = options
        self._hops: dict[str, Hop] = {}
        self._tidy_at = HOPS
        self._room = max(1, int(SILENT * options.active))
        self._silent = 0  # jobs of those that have not answered, `_room` at most
        self._kept: dict[str, None] = {}  # who got none of that room, in their order
        self._good: dict[str, None] = {}  # who has answered, the latest last

    def __len__(self) -> int:
        return len(self._hops)

    def takes(self, key: str, now: int) -> bool:
        """Whether it may have another message."""
        hop = self._hops.get(key)
        if hop is None:
            return key in self._good or self._silent < self._room
        return hop.paused <= now and hop.active < self._most(hop)

    def keep(self, key: str, name: str, ids: Iterable[int], now: int) -> None:
        """These messages of a destination are not for now: they wait for the hop."""
        hop = self._hop(key)
        if hop.paused > now:
            self._schedule.give_back(name, ids)
            self._schedule.pause(name, hop.paused)
            hop.left.add(name)
            return
        self._schedule.park(name, ids)
        hop.waiting[name] = None
        if not hop.active:
            self._kept[key] = None

    def given(self, key: str) -> None:
        """It has another message."""
        hop = self._hop(key)
        hop.active += 1
        self._silent += not hop.heard

    def ended(self, attempt: Attempt) -> bool:
        """One was tried; whether the hop is left alone from now on."""
        key = attempt.hop
        hop = self._hops.get(key)
        if hop is None:
            return False
        self._less(hop)
        failed = not attempt.reached
        self._hear(hop, not failed)
        fails = failed and hop.paused <= self._schedule.now()
        if fails:
            self._leave_alone(key, hop, attempt.id)
        elif not failed:
            hop.most = min(2 * hop.most, self._options.hop_active)
            if hop.most == self._options.hop_active:
                hop.failures = 0
        self._relieve(key, hop)
        self._relieve_kept()
        return fails

    def returned(self, key: str, name: str, id: int) -> None:
        """One was not tried, and waits for the hop again."""
        hop = self._hop(key)
        self._less(hop)
        hop.waiting[name] = None
        self._schedule.park(name, (id,))

    def hurry(self, keys: Collection[str]) -> None:
        """Try these although they were left alone after a failure."""
        for key in keys:
            hop = self._hops.get(key)
            if hop is None or not hop.paused:
                continue
            hop.paused = 0
            for name in hop.left:
                self._schedule.pause(name, 0)
            self._schedule.noted(hop.left)
            hop.left.clear()
            self._wake(hop)

    def wake(self) -> None:
        """Whatever waits for any of them may come again."""
        self._kept.clear()
        for hop in self._hops.values():
            self._wake(hop)

    def look_anew(self) -> None:
        """The clock went back: none of them is left alone by the old one."""
        for hop in self._hops.values():
            hop.paused = 0

    # inside

    def _hop(self, key: str) -> Hop:
        hop = self._hops.get(key)
        if hop is None:
            if len(self._hops) >= self._tidy_at:
                self._forget_dead()
            hop = self._hops[key] = Hop(min(PROBES, self._options.hop_active))
            hop.heard = key in self._good
        return hop

    def _forget_dead(self) -> None:
        """Those that failed once and have no mail any more: mail to forged senders
        would make them more and more."""
        most = int(1000 * self._options.hop_pause_most)
        before = self._schedule.now() - most
        hops = self._hops.items()
        stays = {k: h for k, h in hops if h.active or h.waiting or h.paused > before}
        self._hops = stays
        self._tidy_at = max(HOPS, 2 * len(stays))

    def _most(self, hop: Hop) -> int:
        if hop.heard:
            return hop.most
        if self._silent < self._room // 2:
            return hop.most
        return int(self._silent < self._room)

    def _less(self, hop: Hop) -> None:
        hop.active -= 1
        self._silent -= not hop.heard

    def _hear(self, hop: Hop, heard: bool) -> None:
        if hop.heard != heard:
            hop.heard = heard
            self._silent += -hop.active if heard else hop.active

    def _leave_alone(self, key: str, hop: Hop, id: int) -> None:
        self._good.pop(key, None)
        hop.failures += 1
        hop.most = min(PROBES, self._options.hop_active)
        pause = self._options.hop_pause * 2.0 ** min(hop.failures - 1, 30)
        pause = min(pause, self._options.hop_pause_most)
        chance = backoff.chance_of(id)
        hop.paused = self._schedule.now() + backoff.pause(1, chance, (pause,))
        hop.left.clear()

    def _relieve(self, key: str, hop: Hop) -> None:
        """Let destinations come again that wait for this next hop: as many as may fill
        it. What they give is read first, so all of them would be read for a few. When
        nothing is under way nobody would come back here, so all of them come."""
        most = self._most(hop)
        if hop.waiting and hop.active <= most // 2:
            count = max(1, (most - hop.active) // TURN)
            self._wake(hop, count if hop.active else len(hop.waiting))
        if not hop.active and not hop.failures and not hop.waiting:
            del self._hops[key]
            self._remember(key)

    def _remember(self, key: str) -> None:
        self._good.pop(key, None)
        self._good[key] = None
        if len(self._good) > GOOD:
            del self._good[next(iter(self._good))]

    def _relieve_kept(self) -> None:
        """The same for those that got nothing, one message for each."""
        for key in list(islice(self._kept, max(0, self._room - self._silent))):
            del self._kept[key]
            if key in self._hops:
                self._wake(self._hops[key])

    def _wake(self, hop: Hop, count: int | None = None) -> None:
        names = list(islice(hop.waiting, count))
        for name in names:
            del hop.waiting[name]
        self._schedule.unpark(names)
