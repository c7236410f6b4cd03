"""Takes a backup, with or without running servers."""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, cast

import asyncpg

from stoa import __version__
from stoa.db.backup import rules
from stoa.db.backup.contents import Copying, Files, Pass
from stoa.db.backup.reading import Snapshot, snapshot
from stoa.db.backup.repository import Damaged, Repository
from stoa.db.backup.storing import Storing, storing
from stoa.db.backup.types import BackupError, Manifest, Piece, Table, Taken
from stoa.db.blobs import BlobsUnavailable

PASSES_MAX: Final = 20
"""The limit of passes. Each takes as long as copying what was uploaded during the one before: the second takes moments,
a third is rare."""
SECRET_KEY: Final = "secret.key"  # noqa: S105 — the name of a file

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Origin:
    """What is backed up."""

    dsn: str
    data_dir: Path
    files: Files | None
    """None: the files are in a bucket, and are not copied."""
    with_secret_key: bool = False


async def take(origin: Origin, repository: Repository, tell: Tell = lambda _: None) -> Taken:
    """Call with the repository's exclusive lock. If the process is killed, there is no backup, and the next one uses
    the pieces. Raises BackupError."""
    begun = time.monotonic()
    await asyncio.to_thread(repository.sweep)
    if origin.with_secret_key and not repository.encrypted:
        raise BackupError("The secret key is only put into encrypted backups.")
    try:
        async with storing(repository) as store:
            manifest = await _take(origin, store, tell)
            await asyncio.to_thread(repository.add, manifest)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
        raise BackupError(f"The database went away, or refused: {error}.") from error
    except BlobsUnavailable as error:
        raise BackupError(f"{error.message} Try again: what was stored until now is used.") from error
    except OSError as error:
        raise BackupError(f"{error.filename or 'The disk'}: {error.strerror or error}.") from error
    return Taken(manifest, store.bytes_stored, time.monotonic() - begun, sorted(repository.damaged))


async def _take(origin: Origin, store: Storing, tell: Tell) -> Manifest:
    copying = Copying(origin.dsn, origin.files, store)
    known = await asyncio.to_thread(_last_list, store.repository)
    for number in range(PASSES_MAX):
        async with snapshot(origin.dsn) as seen:
            taken_at = cast("datetime", await seen.connection.fetchval("SELECT now()"))
            tell(f"files, pass {number + 1}")
            done = await copying.copy(seen, known, lambda found: _tell_files(found, tell))
            known = done.pieces
            if origin.files is not None and 0 < done.count == len(done.missing):
                raise BackupError(
                    f"None of the {done.count:,} files that the database names is where files are kept. Name the data"
                    " directory with --data-dir, or the bucket with STOA_BLOBS."
                )
            if number == 0 or done.gone:
                continue  # The first pass may take hours; the tables are read from a snapshot taken after it.
            return await _manifest(origin, store, seen, taken_at, done, tell)
    raise BackupError(
        f"In {PASSES_MAX} attempts files were deleted faster than new ones could be copied. Try again later."
    )


async def _manifest(
    origin: Origin, store: Storing, seen: Snapshot, taken_at: datetime, contents: Pass, tell: Tell
) -> Manifest:
    copied = list[Table]()
    for name, columns, parent in await seen.tables():
        tell(f"table {name}")
        copied.append(await seen.copy(name, columns, store.put, parent=parent))
    key: Piece | None = None
    if origin.with_secret_key:
        key = await (await store.put(await asyncio.to_thread((origin.data_dir / SECRET_KEY).read_bytes)))
    return Manifest(
        id=rules.stamp(taken_at, lambda: secrets.token_hex(4)),
        taken_at=taken_at,
        finished_at=datetime.now(UTC),
        stoa=__version__,
        postgres=seen.postgres,
        schema=seen.schema,
        tables=copied,
        sequences=await seen.sequences(),
        contents=contents.found,
        secret_key=key,
    )


def _tell_files(found: Pass, tell: Tell) -> None:
    if found.count % 100 == 0:
        tell(f"{found.count:,} files")


def _last_list(repository: Repository) -> Sequence[Piece]:
    """The list of the newest readable backup. Files that are in no list are merely read again."""
    for identity in reversed(repository.backups()):
        try:
            pieces = repository.manifest(identity).contents.pieces
            for _ in repository.contents(pieces):
                pass
        except (Damaged, BackupError):
            continue
        return pieces
    return ()
