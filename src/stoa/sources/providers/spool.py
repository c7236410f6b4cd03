"""A file that is being downloaded: hashed as it arrives, in memory while small, on disk when larger, refused over its
limit."""

import hashlib
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import BinaryIO, Final, Self, cast

from stoa.sources.types import Content

MEMORY_BYTES_MAX: Final = 1024 * 1024


class TooLarge(Exception):
    """The content is over the limit."""


class Spool:
    """`write` pieces, then take the `content`.

    As a context manager it closes the file, unless its content was taken.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._file = cast("BinaryIO", SpooledTemporaryFile(MEMORY_BYTES_MAX))  # noqa: SIM115 — whoever takes the content closes it
        self._digest = hashlib.sha256()
        self._size = 0
        self._taken = False

    @property
    def empty(self) -> bool:
        return self._size == 0

    def write(self, piece: bytes) -> None:
        """Raises TooLarge."""
        self._size += len(piece)
        if self._size > self._bytes_max:
            raise TooLarge
        self._digest.update(piece)
        self._file.write(piece)

    def content(self) -> Content:
        self._taken = True
        self._file.seek(0)
        return Content(self._file, self._size, self._digest.digest())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._taken:
            self._file.close()


def too_large(what: str, bytes_max: int) -> str:
    return f"{what} is over the limit of {bytes_max / 1024 / 1024:,.1f} MiB."
