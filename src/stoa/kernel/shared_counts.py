"""Counts by name in shared memory: each process adds to its own row, and the count of a name is the sum over all rows.
So no lock is needed, and the process that created the memory clears the row of a process that has died.

A keyed hash maps a name to a cell: two names may share a cell and are then counted together. With 10,000 names that
happens to one in 26.
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
    """The descriptor of memory for so many processes: an anonymous file, which is freed with its last user. On Linux it
    is not on a disk: on a full disk, a page without space would kill the writing process (SIGBUS)."""
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
        """The row of the process with this number (from 0)."""
        return Row(self._cells, self._key, place, self._rows)

    def clear(self, place: int) -> None:
        """Removes all counts of the process with this number, which has ended."""
        self._cells[place * COLUMNS : (place + 1) * COLUMNS] = memoryview(bytes(COLUMNS * _CELL_BYTES)).cast("H")


class Row:
    def __init__(self, cells: "memoryview[int]", key: bytes, place: int, rows: int) -> None:
        self._cells = cells
        self._key = key
        self._begin = place * COLUMNS
        self._rows = rows

    def add(self, name: str, by: int) -> int:
        """Returns the new count over all processes."""
        digest = blake2b(name.encode("utf-8", "surrogateescape"), digest_size=4, key=self._key).digest()
        column = int.from_bytes(digest, "little") % COLUMNS
        own = self._begin + column
        self._cells[own] = min(max(self._cells[own] + by, 0), _CELL_MAX)
        return sum(self._cells[row * COLUMNS + column] for row in range(self._rows))
