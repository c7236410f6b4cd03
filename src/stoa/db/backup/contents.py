"""The files that rows name: uploads, items of knowledge bases, artifacts.

Files never change, and come and go with the rows that name them: a file is stored before its row, and removed after it.
A backup must hold every file that its rows name, while uploads and deletions go on. So one pass copies what the rows of
a first snapshot name; then a second snapshot is taken, and another pass copies what is new in it: little. Only where
that pass finds a file gone, because its row was deleted in the few moments since, a third snapshot is taken, and so on.
The tables are read under the snapshot whose pass found everything. Nobody has to wait, and no deletion is held up.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, cast

from stoa.db.backup.reading import CONTENTS, Snapshot, names_content
from stoa.db.backup.repository import Repository
from stoa.db.backup.splitting import BYTES_MAX, Splitter
from stoa.db.backup.storing import Storing
from stoa.db.backup.types import BackupError, Content, Contents, Piece
from stoa.db.blobs import DirectoryBlobs, lock_blob
from stoa.db.engine import Tx
from stoa.db.reaching import connect

DIRECTORIES: Final = tuple({directory for directory, _, _ in CONTENTS})
MISSING_NAMED_MAX: Final = 1_000
"""In the manifest; the doctor counts all of them."""


def path_of(data_dir: Path, name: str) -> Path:
    """Where a content lies. Raises BackupError for a name that leads elsewhere."""
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
    """What one pass over the names of a snapshot has found. Its list goes on disk through the repository."""

    count: int = 0
    bytes: int = 0
    gone: int = 0
    """Files whose rows were deleted since the snapshot: another snapshot is needed."""
    missing: list[str] = field(default_factory=list[str])
    pieces: Sequence[Piece] = ()

    @property
    def found(self) -> Contents:
        return Contents(self.count, self.bytes, self.missing[:MISSING_NAMED_MAX], self.pieces)


class Copying:
    """Copies files into a repository. `known` is the list of an earlier pass or backup: files do not change, so what is
    in it is not read again."""

    def __init__(self, dsn: str, data_dir: Path, store: Storing) -> None:
        self._dsn = dsn
        self._data_dir = data_dir
        self._store = store

    async def copy(self, snapshot: Snapshot, known: Sequence[Piece], tell: Callable[[Pass], None]) -> Pass:
        done, splitter, pieces = Pass(), Splitter(), list[asyncio.Task[Piece]]()
        earlier = _Earlier(self._store.repository, known)
        async for name in snapshot.content_names():
            content = await asyncio.to_thread(earlier.find, name) or await self._content(name, done)
            if content is None:
                continue
            done.count += 1
            done.bytes += content.size or 0
            for piece in splitter.feed(content.line()):
                pieces.append(await self._store.put(piece))
            tell(done)
        for piece in splitter.end():
            pieces.append(await self._store.put(piece))
        done.pieces = [await piece for piece in pieces]
        return done

    async def _content(self, name: str, done: Pass) -> Content | None:
        """None where its row is gone by now."""
        path = path_of(self._data_dir, name)
        try:
            file = await asyncio.to_thread(path.open, "rb")
        except FileNotFoundError:
            if not await self._is_missing(name, path):
                done.gone += 1
                return None
            done.missing.append(name)
            return Content(name, None, ())
        with file:
            content, digest = await self._stored(name, file)
        if digest != path.name:
            done.missing.append(name)
            return Content(name, None, ())
        return content

    async def _stored(self, name: str, file: BinaryIO) -> tuple[Content, str]:
        digest, size, pieces = hashlib.sha256(), 0, list[asyncio.Task[Piece]]()
        while chunk := await asyncio.to_thread(file.read, BYTES_MAX):
            await asyncio.to_thread(digest.update, chunk)
            size += len(chunk)
            pieces.append(await self._store.put(chunk))
        return Content(name, size, [(await piece).id for piece in pieces]), digest.hexdigest()

    async def _is_missing(self, name: str, path: Path) -> bool:
        """Whether a row names a file that is not there. Under the lock of its name, which every upload and removal of
        it holds too, so that it is not one that was just deleted."""
        connection = await connect(self._dsn, command_seconds_max=60)
        try:
            async with connection.transaction():
                await lock_blob(cast("Tx", connection), name.partition("/")[2])
                return await names_content(connection, name) and not await asyncio.to_thread(path.exists)
        finally:
            await connection.close()


class _Earlier:
    """A list in the order of names, read beside another one in the same order: neither is ever whole in memory."""

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
        # A piece that was lost, or removed because it was damaged, is stored again from its file.
        return found if all(self._repository.has(piece) for piece in found.pieces) else None
