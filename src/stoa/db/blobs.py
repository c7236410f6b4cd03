"""Files by content, behind one port: a local directory by default, a bucket in `stoa.storage`. A name is
`<org>/<project>/<sha256>`, so equal files of one project are stored once, and nothing can be learned about another
project's files.
"""

import asyncio
import hashlib
import os
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol
from uuid import UUID

from stoa.db.durable import sync_directory
from stoa.db.engine import Tx
from stoa.kernel.errors import NotFound, Unavailable

CHUNK_BYTES: Final = 1024 * 1024
INCOMING: Final = "incoming"


@dataclass(frozen=True, slots=True)
class Blob:
    name: str
    size: int
    sha256: bytes


class BlobsUnavailable(Unavailable):
    """The store does not answer or refuses temporarily. Stored files are still there; retry later."""


class BlobDamaged(BlobsUnavailable):
    """The content stored under a name does not have the name's hash."""


class BlobMissing(NotFound):
    """No such blob is stored."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The content {name} is not stored (any more).")


class Blobs(Protocol):
    """Every method raises BlobsUnavailable while the files cannot be reached."""

    async def put(self, org_id: UUID, project_id: UUID, source: BinaryIO) -> Blob:
        """Stores the rest of `source`, which can seek; durable on return. The blob appears under its name complete or
        not at all. Idempotent."""
        ...

    def read(self, name: str) -> AsyncIterator[bytes]:
        """The content, in chunks of up to CHUNK_BYTES. Raises BlobMissing; adapters that verify the hash raise
        BlobDamaged before the last chunk."""
        ...

    def local(self, name: str) -> AbstractAsyncContextManager[Path]:
        """A local read-only file with the content, for converters, while the context is open. Raises BlobMissing if the
        adapter has to copy it."""
        ...

    async def delete(self, name: str) -> int:
        """Returns the number of bytes removed; 0 when there was no such blob. On return the blob is deleted;
        on remote storage a check after the deletion has confirmed it."""
        ...

    async def exists(self, name: str) -> bool: ...


def blob_name(org_id: UUID, project_id: UUID, sha256: bytes) -> str:
    return f"{org_id}/{project_id}/{sha256.hex()}"


UPLOAD_SECONDS_MAX: Final = 3600.0
"""A younger blob may belong to an upload in progress: content is stored before the row that names it."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored blob. `owner` is (organization, project, SHA-256); None for an unfinished upload."""

    name: str
    size: int
    age_seconds: float
    owner: tuple[UUID, UUID, bytes] | None


class BlobStore(Blobs, Protocol):
    """Blobs that can also be listed: for the doctor, and for sweeps."""

    def stored(self, org_id: UUID | None = None) -> AsyncIterator[Sequence[Stored]]:
        """Blobs of one organization or of all, in batches: the whole list is never in memory."""
        ...

    async def remove_incoming(self, name: str) -> bool:
        """Removes an unfinished upload; false when there was none."""
        ...


class DirectoryBlobs:
    """Blobs in a directory. A file appears under its name complete or not at all."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def put(self, org_id: UUID, project_id: UUID, source: BinaryIO) -> Blob:
        return await asyncio.to_thread(self._put, org_id, project_id, source)

    async def read(self, name: str) -> AsyncIterator[bytes]:
        try:
            file = await asyncio.to_thread(self.path(name).open, "rb")
        except FileNotFoundError as error:
            raise BlobMissing(name) from error
        try:
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                yield chunk
        finally:
            file.close()

    @asynccontextmanager
    async def local(self, name: str) -> AsyncGenerator[Path]:
        yield self.path(name)

    def path(self, name: str) -> Path:
        org_id, project_id, digest = name.split("/")
        return self._root / str(UUID(org_id)) / str(UUID(project_id)) / digest[:2] / digest

    async def delete(self, name: str) -> int:
        return await asyncio.to_thread(self._delete, self.path(name))

    async def exists(self, name: str) -> bool:
        return await asyncio.to_thread(self.path(name).exists)

    async def stored(self, org_id: UUID | None = None) -> AsyncIterator[Sequence[Stored]]:
        for directory in await asyncio.to_thread(self._directories, org_id):
            if found := await asyncio.to_thread(self._stored, directory):
                yield found

    async def remove_incoming(self, name: str) -> bool:
        path = self._root / INCOMING / Path(name).name
        there = await asyncio.to_thread(path.exists)
        await asyncio.to_thread(self._delete, path)
        return there

    def _directories(self, org_id: UUID | None) -> list[Path]:
        incoming = [self._root / INCOMING] if org_id is None and (self._root / INCOMING).is_dir() else []
        return incoming + sorted(path for path in self._root.glob(f"{org_id or '*'}/*/*") if path.is_dir())

    def _stored(self, directory: Path) -> list[Stored]:
        found: list[Stored] = []
        now = time.time()
        for path in sorted(directory.iterdir()):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            age = now - status.st_mtime
            if directory.name == INCOMING:
                found.append(Stored(path.name, status.st_size, age, None))
            elif owner := _owner(path):
                found.append(Stored(blob_name(*owner), status.st_size, age, owner))
        return found

    def _put(self, org_id: UUID, project_id: UUID, source: BinaryIO) -> Blob:
        incoming = self._root / INCOMING
        incoming.mkdir(parents=True, exist_ok=True, mode=0o700)
        digest, size = hashlib.sha256(), 0
        descriptor, temporary = tempfile.mkstemp(dir=incoming)
        try:
            with os.fdopen(descriptor, "wb") as target:
                while chunk := source.read(CHUNK_BYTES):
                    digest.update(chunk)
                    size += len(chunk)
                    target.write(chunk)
                target.flush()
                os.fsync(target.fileno())
            name = blob_name(org_id, project_id, digest.digest())
            final = self.path(name)
            final.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            Path(temporary).replace(final)
            sync_directory(final.parent)
            return Blob(name, size, digest.digest())
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _delete(self, path: Path) -> int:
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return 0
        sync_directory(path.parent)
        return size


def _owner(path: Path) -> tuple[UUID, UUID, bytes] | None:
    """None for a file that Stoa did not write."""
    org_id, project_id, _, digest = path.parts[-4:]
    try:
        return UUID(org_id), UUID(project_id), bytes.fromhex(digest)
    except ValueError:
        return None


async def opened(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same content, after its first chunk has arrived, so that missing or unreachable content is refused before a
    response begins."""
    first = await anext(content, b"")
    return _continued(first, content)


async def _continued(first: bytes, content: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    try:
        if first:
            yield first
        async for piece in content:
            yield piece
    finally:
        if isinstance(content, AsyncGenerator):
            await content.aclose()


async def lock_blob(tx: Tx, name: str) -> None:
    """Takes an advisory lock on a blob's name until the transaction ends: adding a reference and removing the blob
    exclude each other."""
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", name)
