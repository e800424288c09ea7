"""Whether every acknowledged message is where it belongs, once: in the mailboxes of a
fastsmtp, or in the record of a sink."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fastsmtp import config
from fastsmtp.cli.contents import Contents
from fastsmtp.store.base import Store
