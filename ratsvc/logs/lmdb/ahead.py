"""Reading ahead, in a thread, for readers of what is not in memory any more.

A read of pages that are only on the disk holds the event loop until they are there, and with it every other reader.
Nothing says beforehand whether they are in memory, but a read that took long says that it was so: then, before the
next read there, the pages of the rows that follow are brought in by a thread, until it finds them there already.
Only hints come of this: where rows lie is looked up without LMDB, and a commit meanwhile may make it wrong.
Cost: while everything is in memory, two looks at the clock a read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from time import monotonic

from ratsvc.logs.lmdb.pages import Pages
from ratsvc.logs.lmdb.rows import ROW_KEY

SLOW_S = 0.003
"""A read that took longer came from the disk (in memory it takes 0.2 ms)."""
AHEAD_BYTES = 4 * 1024 * 1024
AHEAD_ROWS = 2_000
MAX_PLACES = 1_000
_PIECE = 256 * 1024
