"""The cells of one listener's TLS; `fastsmtp.metrics` gives them their names."""

from typing import Final

from fastsmtp.cells import Labelled

FULL: Final = "full"
RESUMED: Final = "resumed"
FAILED: Final = "failed"  # no common version or cipher, or not TLS at all
TIMEOUT: Final = "timeout"
LOST: Final = "lost"  # the connection ended before
RESULTS: Final = (FULL, RESUMED, FAILED, TIMEOUT, LOST)
"""How a handshake may end."""
VERSIONS: Final = ("TLSv1.2", "TLSv1.3", "none")
"""`none`: it did not come to one."""

HANDSHAKES: Final = Labelled(0, (("version", VERSIONS), ("result", RESULTS)))
CELLS: Final = HANDSHAKES.end
