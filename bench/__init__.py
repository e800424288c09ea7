"""Measures fastsmtp against its peers on one machine; only loopback.

    python -m bench             everything, into the table of docs/performance.md
    python -m bench.side_by_side W1 W3
    python -m bench.memory
    python -m bench.disk

`load.c` is the client and `sink.c` the least server there can be: the ceiling of what
the client can drive. Both are compiled when they are first needed.
"""
