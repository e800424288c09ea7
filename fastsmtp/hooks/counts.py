"""The cells of hooks; `fastsmtp.metrics` gives them their names.

The configuration names hooks, so each has a slot; which hook has which slot stands in
the file of pages (`Pages.name_hooks`), so that a reload never mixes two of them up.
"""

from typing import Final

from fastsmtp.cells import Histogram, Labelled, Seen

SLOTS: Final = 16
"""Hooks a configuration may have."""
RESULTS: Final = ("accept", "reject", "defer", "error", "timeout", "busy")
"""How a question ended; the last three are failures."""
KINDS: Final = ("deadline", "blocked")
"""deadline: no answer in time. blocked: one step held up the event loop."""
EDGES: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025),
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)

ANSWERS: Final = Labelled(0, (("result", RESULTS),))
TIMEOUTS: Final = Labelled(ANSWERS.end, (("kind", KINDS),))
DURATION: Final = Histogram(TIMEOUTS.end, EDGES, 1e-6)
"""From the question to its answer, or to the end of patience."""
DURATION_SEEN: Final = Seen(DURATION.first + DURATION.size, DURATION)
SLOT: Final = DURATION_SEEN.end
"""Cells of one hook."""
CELLS: Final = SLOTS * SLOT
