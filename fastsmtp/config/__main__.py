"""`python -m fastsmtp.config > docs/configure.md`"""

import sys

from fastsmtp.config.document import markdown

sys.stdout.write(markdown())
