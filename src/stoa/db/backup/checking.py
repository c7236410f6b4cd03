"""Reads a whole backup, and reports what is missing or damaged."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from stoa.db.backup.repository import Damaged, Repository
from stoa.db.backup.types import Damage, Manifest

AT_ONCE: Final = 4
"""Pieces that threads read at a time."""


@dataclass(slots=True)
class Checked:
    pieces: int = 0
    bytes: int = 0
    damages: list[Damage] = field(default_factory=list[Damage])


async def check(repository: Repository, manifest: Manifest, tell: Callable[[str], None] = lambda _: None) -> Checked:
    """Checks that every piece exists and matches its name, that the pieces of each table and file have the recorded
    total size, and that every file has the SHA-256 of its name."""
    found, batch = Checked(), list[tuple[str, str, int]]()
    for piece in _tables(manifest):
        batch.append(piece)
        if len(batch) == AT_ONCE:
            await _check(repository, batch, found)
            batch.clear()
            tell(f"{found.bytes >> 20:,} MB are whole")
    await _check(repository, batch, found)
    await asyncio.to_thread(_check_files, repository, manifest, found, tell)
    return found


def _tables(manifest: Manifest) -> Iterator[tuple[str, str, int]]:
    """(name of a piece, what it belongs to, its size)"""
    if manifest.secret_key is not None:
        yield manifest.secret_key.id, "the secret key", manifest.secret_key.size
    for table in manifest.tables:
        for piece in table.pieces:
            yield piece.id, f"rows of {table.name}", piece.size


async def _check(repository: Repository, batch: list[tuple[str, str, int]], found: Checked) -> None:
    results = await asyncio.gather(
        *(asyncio.to_thread(repository.get, name, of) for name, of, _ in batch), return_exceptions=True
    )
    for (_, of, size), result in zip(batch, results, strict=True):
        found.pieces += 1
        if isinstance(result, Damaged):
            found.damages.append(result.damage)
        elif isinstance(result, BaseException):
            raise result
        else:
            found.bytes += len(result)
            if len(result) != size:
                found.damages.append(Damage(str(repository.root), f"has {len(result)} bytes instead of {size}", of))


def _check_files(repository: Repository, manifest: Manifest, found: Checked, tell: Callable[[str], None]) -> None:
    count = 0
    try:
        for content in repository.contents(manifest.contents.pieces):
            count += 1
            digest = hashlib.sha256()
            for piece in content.pieces:
                try:
                    part = repository.get(piece, f"the file {content.name}")
                except Damaged as error:
                    found.damages.append(error.damage)
                    break
                digest.update(part)
                found.pieces += 1
                found.bytes += len(part)
            else:
                if content.size is not None and not content.name.endswith(digest.hexdigest()):
                    found.damages.append(Damage(str(repository.root), "puts pieces together wrongly", content.name))
            if count % 100 == 0:
                tell(f"{found.bytes >> 20:,} MB are whole")
    except Damaged as error:
        found.damages.append(error.damage)
        return
    if count != manifest.contents.count:
        found.damages.append(
            Damage(str(repository.root), f"lists {count} files instead of {manifest.contents.count}", "all files")
        )
