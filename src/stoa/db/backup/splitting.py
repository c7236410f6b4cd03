"""Cuts a stream of rows into pieces whose borders depend on the rows alone (content-defined chunking).

Unchanged rows fall into the same pieces in two backups, and each piece is stored once. This makes a database backup
incremental without WAL, replication or superuser. A border follows a row whose checksum is small. Longer rows end a
piece more often, so that pieces have about the same size in any table.
"""

import zlib
from collections.abc import Iterator
from typing import Final

TARGET_BYTES: Final = 1024 * 1024
"""The average size of a piece. A changed row costs one piece."""
BYTES_MIN: Final = 128 * 1024
BYTES_MAX: Final = 4 * 1024 * 1024
_CHECKSUMS: Final = 1 << 32


class Splitter:
    def __init__(self, *, target: int = TARGET_BYTES, least: int = BYTES_MIN, most: int = BYTES_MAX) -> None:
        self._least = least
        self._most = most
        self._per_byte = _CHECKSUMS // (target - least)
        self._lines: list[bytes] = []
        self._size = 0

    def feed(self, rows: bytes) -> Iterator[bytes]:
        """Takes complete rows, each with its line break; returns the pieces that are complete."""
        for line in rows.splitlines(keepends=True):
            self._lines.append(line)
            self._size += len(line)
            if self._size >= self._most or (
                self._size >= self._least and zlib.crc32(line) < len(line) * self._per_byte
            ):
                yield from self.end()

    def end(self) -> Iterator[bytes]:
        """The rest. A row of many megabytes is split."""
        whole = b"".join(self._lines)
        self._lines, self._size = [], 0
        for start in range(0, len(whole), self._most):
            yield whole[start : start + self._most]
