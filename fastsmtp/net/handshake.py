"""How a TLS handshake may end."""

from typing import Final

FULL: Final = "full"
RESUMED: Final = "resumed"
FAILED: Final = "failed"  # no common version or cipher, or not TLS at all
TIMEOUT: Final = "timeout"
LOST: Final = "lost"  # the connection ended before
RESULTS: Final = (FULL, RESUMED, FAILED, TIMEOUT, LOST)
VERSIONS: Final = ("TLSv1.2", "TLSv1.3", "none")
"""`none`: it did not come to one."""
