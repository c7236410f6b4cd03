"""Copies blobs from one store to another. What is there already is not copied again, so that it can be broken off and
called again, also while a server writes to the store that is copied from."""

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import BinaryIO, Final, cast

from stoa.db.blobs import BlobDamaged, BlobMissing, BlobStore, Stored

AT_ONCE: Final = 8
IN_MEMORY_BYTES: Final = 8 * 1024 * 1024
"""A larger blob goes through a temporary file."""


@dataclass(slots=True)
class Moved:
    """`copied` and `there` are blobs; `damaged` names those whose content is not what their name stands for."""

    copied: int = 0
    bytes: int = 0
    there: int = 0
    gone: int = 0
    """Deleted while they were copied."""
    damaged: list[str] = field(default_factory=list[str])

    def plus(self, other: "Moved") -> "Moved":
        return Moved(
            self.copied + other.copied,
            self.bytes + other.bytes,
            self.there + other.there,
            self.gone + other.gone,
            [*self.damaged, *other.damaged],
        )


async def move(
    source: BlobStore,
    target: BlobStore,
    *,
    dry_run: bool = False,
    verify: bool = False,
    progress: Callable[[Moved], None] = lambda _: None,
) -> Moved:
    """Copies all blobs; nothing is removed. Each is hashed on its way. With `verify`, what is there already is read and
    hashed too, and copied again where it is damaged. Raises BlobsUnavailable."""
    moved = Moved()
    places = asyncio.Semaphore(AT_ONCE)

    async def one(stored: Stored) -> None:
        try:
            await _move_one(source, target, stored, moved, dry_run=dry_run, verify=verify)
        finally:
            places.release()
        progress(moved)

    async for batch in source.stored():
        async with asyncio.TaskGroup() as group:
            for stored in batch:
                if stored.owner is not None:
                    await places.acquire()
                    group.create_task(one(stored), name=f"copy {stored.name}")
    return moved


async def _move_one(
    source: BlobStore, target: BlobStore, stored: Stored, moved: Moved, *, dry_run: bool, verify: bool
) -> None:
    assert stored.owner is not None
    org_id, project_id, digest = stored.owner
    if await target.exists(stored.name) and not (verify and await is_damaged(target, stored.name)):
        moved.there += 1
        return
    if dry_run:
        moved.copied, moved.bytes = moved.copied + 1, moved.bytes + stored.size
        return
    with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES) as spool:
        read = sha256()
        try:
            async for piece in source.read(stored.name):
                await asyncio.to_thread(spool.write, piece)
                read.update(piece)
        except BlobMissing:
            moved.gone += 1
            return
        except BlobDamaged:
            read = sha256(b"damaged")
        if read.digest() != digest:
            moved.damaged.append(stored.name)
            return
        spool.seek(0)
        made = await target.put(org_id, project_id, cast("BinaryIO", spool))
    moved.copied, moved.bytes = moved.copied + 1, moved.bytes + made.size


async def is_damaged(store: BlobStore, name: str) -> bool:
    """Reads and hashes it."""
    digest = sha256()
    try:
        async for piece in store.read(name):
            await asyncio.to_thread(digest.update, piece)
    except (BlobDamaged, BlobMissing):
        return True
    return digest.hexdigest() != name.rpartition("/")[2]
