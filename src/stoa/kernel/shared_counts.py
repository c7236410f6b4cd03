"""Counts by name that several processes share: each adds to a row of its own, and the count of a name is the sum over
all rows. So nothing is locked, and the row of a process that has died is cleared by whoever made the memory.

A name is hashed to a cell, with a key that no client knows: two names may share one, and then count together. With
10,000 names in use that befalls one in 26.
"""

import mmap
import os
import sys
import tempfile
from hashlib import blake2b
from typing import Final

COLUMNS: Final = 1 << 18
_CELL_BYTES: Final = 2
_CELL_MAX: Final = (1 << 16) - 1


def memory_for(rows: int) -> int:
    """The descriptor of memory for so many processes: a file without a name, which ends with its last user. On Linux it
    is on no disk: a page for which a full disk has no room would kill whoever counts in it (SIGBUS)."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("stoa-counts")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, rows * COLUMNS * _CELL_BYTES)
    return descriptor


class SharedCounts:
    def __init__(self, descriptor: int, rows: int, key: bytes) -> None:
        self._rows = rows
        self._key = key
        self._cells = memoryview(mmap.mmap(descriptor, rows * COLUMNS * _CELL_BYTES)).cast("H")

    def row(self, place: int) -> "Row":
        """What the process of this number (from 0) counts."""
        return Row(self._cells, self._key, place, self._rows)

    def clear(self, place: int) -> None:
        """The process of this number is gone, and with it all that it counted."""
        self._cells[place * COLUMNS : (place + 1) * COLUMNS] = memoryview(bytes(COLUMNS * _CELL_BYTES)).cast("H")


class Row:
    def __init__(self, cells: "memoryview[int]", key: bytes, place: int, rows: int) -> None:
        self._cells = cells
        self._key = key
        self._begin = place * COLUMNS
        self._rows = rows

    def add(self, name: str, by: int) -> int:
        """Gives the count of all processes afterwards."""
        digest = blake2b(name.encode("utf-8", "surrogateescape"), digest_size=4, key=self._key).digest()
        column = int.from_bytes(digest, "little") % COLUMNS
        own = self._begin + column
        self._cells[own] = min(max(self._cells[own] + by, 0), _CELL_MAX)
        return sum(self._cells[row * COLUMNS + column] for row in range(self._rows))
