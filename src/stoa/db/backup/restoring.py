"""Restores a backup into an empty database and an empty data directory.

1. a marker in the data directory names the backup that is being restored
2. the files are written, or uploaded into the bucket; without rows they have no effect
3. all rows are loaded in one transaction
4. the schema is upgraded to this release's, as at a start
5. the marker is removed

If the process is killed, the marker remains, and no server starts with it; the same command continues. No existing data
is overwritten.
"""

import asyncio
import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Final, cast
from uuid import UUID

from stoa.db.backup.contents import DIRECTORIES, Files, path_of
from stoa.db.backup.loading import is_empty, load, migrations_of
from stoa.db.backup.notes import NOTE, noted
from stoa.db.backup.repository import UNFINISHED, Damaged, Repository, write_whole
from stoa.db.backup.taking import SECRET_KEY
from stoa.db.backup.types import BackupError, Content, Manifest
from stoa.db.blobs import BlobsUnavailable
from stoa.db.durable import sync_directory
from stoa.db.migrate import SchemaError, migrate

AT_ONCE: Final = 8
"""Files that are written at a time."""
IN_MEMORY_BYTES: Final = 8 * 1024 * 1024
"""A larger file is uploaded into the bucket through a temporary file."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Restored:
    files: int
    missing: int
    """Files that were missing already when the backup was made."""
    migrated: Sequence[str]
    """Migrations that upgraded the schema to this release's."""
    has_secret_key: bool


def begin(data_dir: Path, manifest: Manifest) -> bool:
    """Marks that this backup is being restored there; returns whether it was marked before. Raises BackupError where
    there is any other data.

    Call it before the database is started, which creates the database's directory.
    """
    migrations_of(manifest)
    begun = _was_begun(data_dir, manifest)
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(data_dir / NOTE, json.dumps({"backup": manifest.id}).encode())
    return begun


async def restore(
    repository: Repository,
    manifest: Manifest,
    dsn: str,
    data_dir: Path,
    *,
    begun: bool,
    bucket: Files | None = None,
    tell: Tell = lambda _: None,
) -> Restored:
    """`begun` is the result of `begin`. Files are uploaded into the `bucket`, where there is one. Raises
    BackupError."""
    loaded = not await is_empty(dsn)
    if loaded and not begun:
        await asyncio.to_thread(_end, data_dir)
        raise BackupError("The database holds a Stoa already. Nothing was changed; restore into an empty one.")
    try:
        files, missing = await _files(repository, manifest, data_dir, bucket, tell)
        if not loaded:
            await load(dsn, repository, manifest, tell)
        tell("schema")
        migrated = await migrate(dsn)
        has_key = await asyncio.to_thread(_secret_key, repository, manifest, data_dir)
        await asyncio.to_thread(_end, data_dir)
    except Damaged as error:
        raise BackupError(
            f"{error} No server starts in {data_dir} as it is. Put the file back from a copy of the backups and run the"
            f" same command again; or choose an older backup (--list, --backup) and another directory."
        ) from error
    except SchemaError as error:
        raise BackupError(str(error)) from error
    except BlobsUnavailable as error:
        raise BackupError(f"{error.message} Run the same command again to go on.") from error
    except OSError as error:
        raise BackupError(
            f"{error.filename or data_dir}: {error.strerror or error}. Run the same command again to go on."
        ) from error
    return Restored(files, missing, migrated, has_key)


def _was_begun(data_dir: Path, manifest: Manifest) -> bool:
    found = noted(data_dir)
    if found is not None and found != manifest.id:
        raise BackupError(
            f"A restore of another backup ({found}) into {data_dir} has not ended. Go on with --backup {found}, or"
            " remove what is there: stoa data remove"
        )
    if found is None:
        for name in (*DIRECTORIES, "postgres"):
            if (data_dir / name).is_dir() and any((data_dir / name).iterdir()):
                raise BackupError(
                    f"{data_dir} holds data already ({name}). Nothing was changed; name an empty directory with --into,"
                    " or move or remove what is there: stoa data"
                )
    return found is not None


def _end(data_dir: Path) -> None:
    (data_dir / NOTE).unlink()
    sync_directory(data_dir)


def _secret_key(repository: Repository, manifest: Manifest, data_dir: Path) -> bool:
    path = data_dir / SECRET_KEY
    if not path.exists() and manifest.secret_key is not None:
        write_whole(path, repository.get(manifest.secret_key.id, "the secret key"))
    return path.exists()


async def _files(
    repository: Repository, manifest: Manifest, data_dir: Path, bucket: Files | None, tell: Tell
) -> tuple[int, int]:
    """(number of files, how many of them were missing when the backup was made)"""
    written = missing = 0
    directories = set[Path]()
    async for batch in _batches(repository, manifest):
        if bucket is not None:
            await asyncio.gather(*(_upload(repository, one, bucket) for one in batch))
        else:
            await asyncio.gather(*(asyncio.to_thread(_write, repository, one, data_dir) for one in batch))
            directories.update(path_of(data_dir, one.name).parent for one in batch if one.size is not None)
        written += sum(one.size is not None for one in batch)
        missing += sum(one.size is None for one in batch)
        tell(f"{written:,} of {manifest.contents.count:,} files")
    for directory in directories:
        await asyncio.to_thread(sync_directory, directory)
    return written, missing


async def _batches(repository: Repository, manifest: Manifest) -> AsyncIterator[Sequence[Content]]:
    contents, batch = repository.contents(manifest.contents.pieces), list[Content]()
    while (content := await asyncio.to_thread(next, contents, None)) is not None:
        batch.append(content)
        if len(batch) == AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _write(repository: Repository, content: Content, data_dir: Path) -> None:
    """Runs in a thread. Keeps a file that an earlier attempt has written completely."""
    path = path_of(data_dir, content.name)
    if content.size is None or (path.exists() and path.stat().st_size == content.size):
        return
    for parent in (data_dir / content.name.partition("/")[0], path.parent):
        parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
    try:
        with fresh.open("wb") as file:
            _join(repository, content, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def _join(repository: Repository, content: Content, file: IO[bytes]) -> None:
    digest = hashlib.sha256()
    for piece in content.pieces:
        part = repository.get(piece, f"the file {content.name}")
        digest.update(part)
        file.write(part)
    if digest.hexdigest() != content.name.rpartition("/")[2]:
        raise BackupError(f"The file {content.name} is not what its name says: the backup was changed.")


async def _upload(repository: Repository, content: Content, bucket: Files) -> None:
    """Keeps a file that an earlier attempt has uploaded completely."""
    path_of(Path(), content.name)
    directory, _, below = content.name.partition("/")
    if content.size is None or await bucket[directory].exists(below):
        return
    org_id, project_id, _ = below.split("/")
    with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES) as file:
        await asyncio.to_thread(_join, repository, content, file)
        file.seek(0)
        await bucket[directory].put(UUID(org_id), UUID(project_id), cast("BinaryIO", file))
