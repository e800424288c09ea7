"""What an operator may set about the store. Sizes are octets, times are seconds."""

from dataclasses import dataclass

from fastsmtp.options import COUNT, DURATION, GIB, KIB, MIB, SIZE, option


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """The `[store]` table."""

    segment_size: int = option(
        32 * MIB, "octets in a segment of the message log", SIZE, low=MIB
    )
    map_size: int = option(
        1024 * GIB, "address space of the index; sparse", SIZE, low=16 * MIB
    )
    reserve: int = option(
        32 * MIB, "disk space held back so that deletes work when it is full", SIZE
    )
    min_free: int = option(
        64 * MIB, "below this much free disk the door answers 452", SIZE
    )
    unapplied_bytes: int = option(
        256 * MIB, "accepted mail that may wait for the index", SIZE, low=MIB
    )
    unapplied_age: float = option(
        30.0, "longest wait of accepted mail for the index", DURATION, low=1
    )
    commit_interval: float = option(
        0.02,
        "shortest pause between two commits of the index under load; where commits are "
        "slow it is up to 12 times as long",
        DURATION,
    )
    pin: float = option(600.0, "how long a body without references is kept", DURATION)
    compact_below: int = option(
        50,
        "a segment with fewer live octets (percent) is compacted",
        COUNT,
        low=1,
        high=99,
    )
    compact_rate: int = option(
        32 * MIB, "octets a second the compactor may copy", SIZE, low=64 * KIB
    )
