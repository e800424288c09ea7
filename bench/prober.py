"""python -m fastsmtp_bench.prober PORT SECONDS: how long a NOOP waits meanwhile.

Prints one JSON object, times in milliseconds. `asleep` is the longest that the prober
itself was kept from running: what the machine, and not the server, has to answer for.
"""

import json
import sys
import time
from socket import create_connection

PAUSE = 0.002  # seconds between two NOOPs


def probe(port: int, seconds: float) -> dict[str, float]:
    """Asks until the time is over; `count`, `p50`, `p99`, `worst` and `asleep`."""
    waits, asleep = [], 0.0
    with create_connection(("127.0.0.1", port), timeout=30) as server:
        server.recv(512)
        end = time.perf_counter() + seconds
        while (start := time.perf_counter()) < end:
            server.sendall(b"NOOP\r\n")
            reply = server.recv(512)
            answered = time.perf_counter()
            if not reply.startswith(b"250"):
                raise ConnectionError(f"NOOP was answered {reply!r}")
            waits.append(answered - start)
            time.sleep(PAUSE)
            asleep = max(asleep, time.perf_counter() - answered - PAUSE)
    waits.sort()
    return {
        "count": len(waits),
        "p50": waits[len(waits) // 2] * 1e3,
        "p99": waits[len(waits) * 99 // 100] * 1e3,
        "worst": waits[-1] * 1e3,
        "asleep": asleep * 1e3,
    }


if __name__ == "__main__":
    print(json.dumps(probe(int(sys.argv[1]), float(sys.argv[2]))))
