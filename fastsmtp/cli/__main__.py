"""`python -m fastsmtp.cli`: the command where no script is installed."""

import sys

from fastsmtp.cli import main

sys.exit(main())
