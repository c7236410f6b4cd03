"""Blobs in a bucket, with the same guarantees as in a directory.

An object appears under its name complete or not at all: a single PUT, or the completion of an upload in parts. A key is
`<prefix>/<kind>/<org>/<project>/<sha256>`, so a kind of files can be listed for one organization.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final
from uuid import UUID

from stoa.db.blobs import (
    CHUNK_BYTES,
    INCOMING,
    Blob,
    BlobDamaged,
    BlobMissing,
    BlobsUnavailable,
    Stored,
    blob_name,
)
from stoa.storage.bucket import Bucket, BucketRefused, Listed
from stoa.storage.copies import Copies
from stoa.storage.unfinished import UnfinishedUploads

BLOCK_BYTES: Final = 2 * 1024 * 1024
"""Bytes per block of a download. A reader has one block in memory, and no request is open while it waits."""
COPY_BLOCK_BYTES: Final = 8 * 1024 * 1024
UPLOAD_ATTEMPTS_MAX: Final = 2
"""Bytes per part of an upload; each request is retried separately."""
DIGEST_HEX: Final = 64


class BucketBlobs:
    def __init__(self, bucket: Bucket, kind: str, copies: Copies, unfinished: UnfinishedUploads | None) -> None:
        """`unfinished` is None if unfinished uploads cannot be listed; lifecycle rules must then abort them."""
        self._bucket = bucket
        self._kind = kind
        self._copies = copies
        self._unfinished = unfinished

    async def put(self, org_id: UUID, project_id: UUID, source: BinaryIO) -> Blob:
        """The name is the hash of the content, so content larger than a part is read twice."""
        first = await asyncio.to_thread(_read_full, source, self._bucket.part_bytes + 1)
        if len(first) <= self._bucket.part_bytes:
            digest = (await asyncio.to_thread(hashlib.sha256, first)).digest()
            blob = Blob(blob_name(org_id, project_id, digest), len(first), digest)
            await self._bucket.put(self._key(blob.name), first)
            return blob
        start = await asyncio.to_thread(source.tell) - len(first)
        digest, size = await asyncio.to_thread(_measured, source, first)
        del first
        blob = Blob(blob_name(org_id, project_id, digest), size, digest)
        for left in reversed(range(UPLOAD_ATTEMPTS_MAX)):
            await asyncio.to_thread(source.seek, start)
            if await self._put_parts(blob, source, last=left == 0):
                break
        return blob

    async def _put_parts(self, blob: Blob, source: BinaryIO, *, last: bool) -> bool:
        """Whether the object exists now, which a HEAD decides: the response to the completion of an upload may be lost,
        and some servers answer 200 although it failed. Raises BlobsUnavailable at the last attempt."""
        key = self._key(blob.name)
        failed: BlobsUnavailable | None = None
        try:
            await self._bucket.put_parts(key, _pieces(source, blob.sha256))
        except BucketRefused:
            raise
        except BlobsUnavailable as error:
            failed = error
        stored = await self._bucket.head(key)
        if stored is not None and stored.size == blob.size:
            return True
        if last:
            raise failed or BlobsUnavailable("The upload did not arrive whole; send it again.")
        return False

    async def read(self, name: str) -> AsyncGenerator[bytes]:
        async for block in self._blocks(name, await self._size(name), BLOCK_BYTES):
            for start in range(0, len(block), CHUNK_BYTES):
                yield block[start : start + CHUNK_BYTES]

    @asynccontextmanager
    async def local(self, name: str) -> AsyncGenerator[Path]:
        size = await self._size(name)
        async with AsyncExitStack() as stack:
            try:
                path = await stack.enter_async_context(self._copies.hold(size))
                await self._copy(name, size, path)
            except OSError as error:  # An error of the local disk; errors of the consumer are not caught.
                raise BlobsUnavailable(f"A file cannot be copied for reading: {error.strerror}.") from error
            yield path

    async def delete(self, name: str) -> int:
        key = self._key(name)
        found = await self._bucket.head(key)
        await self._bucket.delete(key)
        if found is not None and await self._bucket.head(key) is not None:
            raise BlobsUnavailable(f"The content {name} is still there after its deletion.")
        return found.size if found is not None else 0

    async def exists(self, name: str) -> bool:
        return await self._bucket.head(self._key(name)) is not None

    async def stored(self, org_id: UUID | None = None) -> AsyncGenerator[Sequence[Stored]]:
        """A whole listing has pages of 1,000; an object that Stoa did not write is skipped."""
        now = datetime.now(UTC)
        prefix = f"{self._kind}/{org_id}" if org_id is not None else self._kind
        async for batch in self._bucket.list(prefix):
            if found := [one for listed in batch if (one := self._stored(listed, now)) is not None]:
                yield found
        if org_id is None and self._unfinished is not None:
            async for uploads in self._unfinished.list(self._kind):
                yield [Stored(one.name, 0, (now - one.began_at).total_seconds(), None) for one in uploads]

    async def remove_incoming(self, name: str) -> bool:
        if self._unfinished is not None and name.startswith(self._unfinished.PREFIX):
            return await self._unfinished.abort(self._kind, name)
        key = f"{self._kind}/{INCOMING}/{Path(name).name}"
        there = await self._bucket.head(key) is not None
        await self._bucket.delete(key)
        return there

    def _key(self, name: str) -> str:
        """Raises ValueError for an invalid name."""
        org_id, project_id, digest = name.split("/")
        if len(digest) != DIGEST_HEX:
            raise ValueError(f"{name} names no blob")
        return f"{self._kind}/{blob_name(UUID(org_id), UUID(project_id), bytes.fromhex(digest))}"

    def _stored(self, listed: Listed, now: datetime) -> Stored | None:
        age = (now - listed.changed_at).total_seconds()
        parts = listed.key.removeprefix(f"{self._kind}/").split("/")
        if parts[0] == INCOMING and len(parts) == 2:
            return Stored(parts[1], listed.size, age, None)
        try:
            org_id, project_id, digest = UUID(parts[0]), UUID(parts[1]), bytes.fromhex(parts[2])
        except (ValueError, IndexError):
            return None
        name = blob_name(org_id, project_id, digest)
        return Stored(name, listed.size, age, (org_id, project_id, digest)) if name == "/".join(parts) else None

    async def _size(self, name: str) -> int:
        found = await self._bucket.head(self._key(name))
        if found is None:
            raise BlobMissing(name)
        return found.size

    async def _blocks(self, name: str, size: int, block_bytes: int) -> AsyncIterator[bytes]:
        """Yields the last block only if the hash of all blocks is the name."""
        digest, key = hashlib.sha256(), self._key(name)
        expected = bytes.fromhex(name.rpartition("/")[2])
        for start in range(0, max(size, 1), block_bytes):
            end = min(start + block_bytes, size)
            try:
                block = await self._bucket.read(key, start, end) if end > start else b""
            except FileNotFoundError as error:
                raise BlobMissing(name) from error
            await asyncio.to_thread(digest.update, block)
            if end == size and digest.digest() != expected:
                raise BlobDamaged(f"The stored content {name} is damaged; restore it from a backup or upload it again.")
            yield block

    async def _copy(self, name: str, size: int, path: Path) -> None:
        with path.open("wb") as target:
            async for block in self._blocks(name, size, COPY_BLOCK_BYTES):
                await asyncio.to_thread(target.write, block)


def _read_full(source: BinaryIO, size: int) -> bytes:
    """Up to `size` bytes; fewer only at the end."""
    pieces: list[bytes] = []
    left = size
    while left > 0 and (piece := source.read(left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _measured(source: BinaryIO, first: bytes) -> tuple[bytes, int]:
    """SHA-256 and size of the first bytes and the rest."""
    digest, size = hashlib.sha256(first), len(first)
    while piece := source.read(CHUNK_BYTES):
        digest.update(piece)
        size += len(piece)
    return digest.digest(), size


async def _pieces(source: BinaryIO, expected: bytes) -> AsyncIterator[bytes]:
    """Reads the source again. Raises BlobsUnavailable, which aborts the upload, if it has changed."""
    digest = hashlib.sha256()
    while piece := await asyncio.to_thread(_read_full, source, CHUNK_BYTES):
        await asyncio.to_thread(digest.update, piece)
        yield piece
    if digest.digest() != expected:
        raise BlobsUnavailable("The upload changed while it was stored; send it again.", retry_after_seconds=1)
