"""Files by content, behind one port: a local directory by default. A name is `<org>/<project>/<sha256>`, so equal files of
one project are stored once, and nothing can be learned about another project's.
"""

import asyncio
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import BinaryIO, Final, Protocol
from uuid import UUID

from stoa.db.engine import Tx

CHUNK_BYTES: Final = 1024 * 1024
INCOMING_SECONDS_MAX: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Blob:
    name: str
    size: int
    sha256: bytes


class Blobs(Protocol):
    async def put(self, org_id: UUID, project_id: UUID, source: BinaryIO) -> Blob:
        """Stores what `source` holds, hashing as it copies; durable on return. Putting the same content twice is fine."""
        ...

    def read(self, name: str) -> AsyncIterator[bytes]: ...

    def path(self, name: str) -> Path:
        """A local file with the content, for converters."""
        ...

    async def delete(self, name: str) -> int:
        """Gives the bytes that went; 0 when there was nothing."""
        ...

    async def exists(self, name: str) -> bool: ...

    def stored(self) -> AsyncIterator[Sequence[str]]:
        """The names of all blobs, in groups, for sweeps; removes what unfinished `put`s of more than an hour ago left behind."""
        ...


def blob_name(org_id: UUID, project_id: UUID, sha256: bytes) -> str:
    return f"{org_id}/{project_id}/{sha256.hex()}"


class DirectoryBlobs:
    """Blobs in a directory. A file appears under its name complete or not at all."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def put(self, org_id: UUID, project_id: UUID, source: BinaryIO) -> Blob:
        return await asyncio.to_thread(self._put, org_id, project_id, source)

    async def read(self, name: str) -> AsyncIterator[bytes]:
        file = await asyncio.to_thread(self.path(name).open, "rb")
        try:
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                yield chunk
        finally:
            file.close()

    def path(self, name: str) -> Path:
        org_id, project_id, digest = name.split("/")
        return self._root / str(UUID(org_id)) / str(UUID(project_id)) / digest[:2] / digest

    async def delete(self, name: str) -> int:
        return await asyncio.to_thread(self._delete, self.path(name))

    async def exists(self, name: str) -> bool:
        return await asyncio.to_thread(self.path(name).exists)

    async def stored(self) -> AsyncIterator[Sequence[str]]:
        await asyncio.to_thread(self._clear_incoming)
        for directory in await asyncio.to_thread(lambda: sorted(self._root.glob("*/*/??"))):
            yield await asyncio.to_thread(_names, directory)

    def _clear_incoming(self) -> None:
        for path in (self._root / "incoming").glob("*"):
            with suppress(FileNotFoundError):
                if time() - path.stat().st_mtime > INCOMING_SECONDS_MAX:
                    path.unlink()

    def _put(self, org_id: UUID, project_id: UUID, source: BinaryIO) -> Blob:
        incoming = self._root / "incoming"
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
            _sync_directory(final.parent)
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
        _sync_directory(path.parent)
        return size


def _names(directory: Path) -> list[str]:
    try:
        return [f"{directory.parents[1].name}/{directory.parent.name}/{path.name}" for path in directory.iterdir()]
    except FileNotFoundError:
        return []


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def hold(tx: Tx, name: str) -> None:
    """Holds a blob's name until the transaction ends: who refers to it and who removes it take turns."""
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", name)
