"""Backs up the files that rows name: uploads, items of knowledge bases, artifacts.

Files never change. A file is stored before its row and removed after it. A backup must hold every file that its rows
name, while uploads and deletions continue. So a first pass copies the files of a first snapshot; then a second snapshot
is taken, and a second pass copies the few files that are new in it. If that pass finds that a file was removed, because
its row was deleted meanwhile, a third snapshot is taken, and so on. The tables are read under the snapshot whose pass
found every file. Nothing waits for a backup, and no deletion is delayed.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

from stoa.db.backup.reading import CONTENTS, Snapshot, names_content
from stoa.db.backup.repository import Repository
from stoa.db.backup.splitting import BYTES_MAX, Splitter
from stoa.db.backup.storing import Storing
from stoa.db.backup.types import BackupError, Content, Contents, Piece
from stoa.db.blobs import BlobDamaged, BlobMissing, Blobs, DirectoryBlobs, lock_blob
from stoa.db.connecting import connect
from stoa.db.engine import Tx

DIRECTORIES: Final = tuple({directory for directory, _, _ in CONTENTS})
MISSING_NAMED_MAX: Final = 1_000
"""The manifest lists this many at most; the doctor counts all of them."""
READ_AT_ONCE: Final = 8
"""Files that are read at a time: each request to a bucket takes tens of milliseconds."""

Files = Mapping[str, Blobs]
"""The directory of each kind of file, by the first part of its name."""


def directories(data_dir: Path) -> Files:
    return {name: DirectoryBlobs(data_dir / name) for name in DIRECTORIES}


def path_of(data_dir: Path, name: str) -> Path:
    """The path of a file. Raises BackupError for a name that leads outside."""
    directory, _, below = name.partition("/")
    try:
        path = DirectoryBlobs(data_dir / directory).path(below)
        if directory not in DIRECTORIES or len(bytes.fromhex(path.name)) != hashlib.sha256().digest_size:
            raise ValueError
    except ValueError:
        raise BackupError(f"{name!r} is no name of a file: the manifest was changed.") from None
    return path


@dataclass(slots=True)
class Pass:
    """The result of one pass over a snapshot's names. Its list is written to disk through the repository."""

    count: int = 0
    bytes: int = 0
    gone: int = 0
    """Files whose rows were deleted after the snapshot was taken: another snapshot is needed."""
    missing: list[str] = field(default_factory=list[str])
    pieces: Sequence[Piece] = ()

    @property
    def found(self) -> Contents:
        return Contents(self.count, self.bytes, self.missing[:MISSING_NAMED_MAX], self.pieces)


class Copying:
    """Copies files into a repository. `known` is the list of an earlier pass or backup: files never change, so its
    entries are not read again. With `files` None the contents are stored elsewhere, and all count as missing."""

    def __init__(self, dsn: str, files: Files | None, store: Storing) -> None:
        self._dsn = dsn
        self._files = files
        self._store = store

    async def copy(self, snapshot: Snapshot, known: Sequence[Piece], tell: Callable[[Pass], None]) -> Pass:
        done, splitter, pieces = Pass(), Splitter(), list[asyncio.Task[Piece]]()
        earlier = _SortedList(self._store.repository, known)
        reading = deque[Content | asyncio.Task[Content | None]]()

        async def take() -> None:
            """Waits for the oldest file being read: the list is in the order of names."""
            first = reading.popleft()
            content = first if isinstance(first, Content) else await first
            if content is None:
                return
            done.count += 1
            done.bytes += content.size or 0
            for piece in splitter.feed(content.line()):
                pieces.append(await self._store.put(piece))
            tell(done)

        try:
            async for name in snapshot.content_names():
                if len(reading) == READ_AT_ONCE:
                    await take()
                found = await asyncio.to_thread(earlier.find, name)
                reading.append(found or asyncio.create_task(self._content(name, done), name=f"read {name}"))
            while reading:
                await take()
        finally:  # Not a TaskGroup, which would wrap the exceptions of its tasks.
            left = [one for one in reading if isinstance(one, asyncio.Task)]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        for piece in splitter.end():
            pieces.append(await self._store.put(piece))
        done.pieces = [await piece for piece in pieces]
        return done

    async def _content(self, name: str, done: Pass) -> Content | None:
        """None where the file's row has been deleted by now."""
        directory, _, below = name.partition("/")
        if self._files is not None:
            try:
                content, digest = await self._stored(name, self._files[directory].read(below))
            except BlobMissing:
                if not await self._is_missing(name, self._files[directory]):
                    done.gone += 1
                    return None
            except BlobDamaged:
                pass
            else:
                if digest == name.rpartition("/")[2]:
                    return content
        done.missing.append(name)
        return Content(name, None, ())

    async def _stored(self, name: str, chunks: AsyncIterator[bytes]) -> tuple[Content, str]:
        digest, size, pieces, waiting = hashlib.sha256(), 0, list[asyncio.Task[Piece]](), bytearray()
        async for chunk in chunks:
            await asyncio.to_thread(digest.update, chunk)
            size += len(chunk)
            waiting += chunk
            while len(waiting) >= BYTES_MAX:
                pieces.append(await self._store.put(bytes(waiting[:BYTES_MAX])))
                del waiting[:BYTES_MAX]
        if waiting:
            pieces.append(await self._store.put(bytes(waiting)))
        return Content(name, size, [(await piece).id for piece in pieces]), digest.hexdigest()

    async def _is_missing(self, name: str, blobs: Blobs) -> bool:
        """Whether a row names a file that does not exist. It takes the lock of the file's name, which every upload and
        removal takes too, so that a file that is being removed does not count as missing."""
        connection = await connect(self._dsn, command_seconds_max=60)
        try:
            async with connection.transaction():
                below = name.partition("/")[2]
                await lock_blob(cast("Tx", connection), below)
                return await names_content(connection, name) and not await blobs.exists(below)
        finally:
            await connection.close()


class _SortedList:
    """Reads a sorted list beside another sorted one, so that neither is ever in memory as a whole."""

    def __init__(self, repository: Repository, pieces: Sequence[Piece]) -> None:
        self._repository = repository
        self._contents = repository.contents(pieces)
        self._next = next(self._contents, None)

    def find(self, name: str) -> Content | None:
        while self._next is not None and self._next.name < name:
            self._next = next(self._contents, None)
        found = self._next
        if found is None or found.name != name or found.size is None:
            return None
        # A piece that was lost, or removed because it was damaged, is stored again from the file.
        return found if all(self._repository.keeps(piece) for piece in found.pieces) else None
