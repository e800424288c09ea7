"""Measures fastsmtp, other servers and their parts on one machine: `fastsmtp-bench`.

    fastsmtp-bench run            load, live progress, a verdict, a report
    fastsmtp-bench --help         everything else

In a checkout this package is the folder bench/; installed it is `fastsmtp_bench`, which
is the name that everything imports. `load.c` is the client and `sink.c` the server on
the other side; an installed package brings both compiled, a checkout compiles them
when they are first needed.
"""
