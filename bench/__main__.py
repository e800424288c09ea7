"""`python -m fastsmtp_bench` is `fastsmtp-bench`."""

from fastsmtp_bench.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
