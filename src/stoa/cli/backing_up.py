"""`stoa backup` and `stoa restore`: access the database directly, with or without a running server."""

import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import typer
from rich.status import Status

from stoa.app import open_doctor
from stoa.app.storage import open_named
from stoa.cli.asking import errors, out
from stoa.cli.doctor import database_of
from stoa.db.backup import rules
from stoa.db.backup.checking import check
from stoa.db.backup.contents import Files, directories
from stoa.db.backup.loading import migrations_of
from stoa.db.backup.repository import DESCRIPTION, Repository, make_repository, open_repository
from stoa.db.backup.restoring import Restored, begin, restore
from stoa.db.backup.taking import Origin, take
from stoa.db.backup.types import BackupError, Keep, Manifest, Taken, WrongSecret
from stoa.db.checks import Scope
from stoa.db.embedded import EmbeddedError, remove, start_embedded
from stoa.db.migrate import migrations
from stoa.doctor import Report
from stoa.kernel.telemetry import configure_logs
from stoa.settings import Settings, SettingsError

NICE: Final = 10
"""The nice value of a scheduled backup, which gives the server priority."""
LIVE: Final = ("conversations.unproven", "conversations.unread_files", "knowledge.overdue", "runs.abandoned")
"""Findings that a server fixes within seconds after it starts on the restored data: a backup contains running work."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BackupOptions:
    """The options of a call of `stoa backup`."""

    directory: Path
    keep: Keep
    secret: bytes | None
    with_secret_key: bool
    with_bucket: bool
    """Whether the files in a bucket are copied too. Files in a directory always are."""


def secret_of(settings: Settings, key_file: Path | None) -> bytes | None:
    """The key of the given file, else of the settings. Raises BackupError."""
    chosen = settings.backup
    if key_file is None and chosen is not None:
        if chosen.passphrase is not None:
            return chosen.passphrase.get_secret_value().encode()
        key_file = chosen.key_file
    try:
        return key_file.read_bytes().strip() if key_file is not None else None
    except OSError as error:
        raise BackupError(f"The key file {key_file} cannot be read: {error.strerror or error}.") from error


def asked_secret(directory: Path, secret: bytes | None, *, encrypt: bool = False) -> bytes | None:
    """The secret. Prompts for a passphrase if one is needed and none was given."""
    description = directory / DESCRIPTION
    if secret is not None or not sys.stdin.isatty():
        if secret is None and encrypt:
            raise WrongSecret("Set STOA_BACKUP_PASSPHRASE, or name a key file with --key-file.")
        return secret
    is_there = description.is_file()
    if is_there and json.loads(description.read_text("utf-8"))["encryption"] is None:
        return None
    if not is_there and not encrypt:
        return None
    passphrase: str = typer.prompt(
        "Passphrase of the backups", hide_input=True, confirmation_prompt=not is_there, err=True
    )
    return passphrase.encode()


def run_backup(settings: Settings, wanted: BackupOptions, *, scheduled: bool, as_json: bool) -> None:
    """Raises BackupError, EmbeddedError and NoDatabase."""
    if scheduled:
        os.nice(NICE)
    _refuse_inside(settings, wanted.directory)
    repository = make_repository(wanted.directory, wanted.secret)
    with repository.held(alone=True):
        taken = asyncio.run(_take(settings, wanted, repository, quiet=scheduled or as_json))
        try:
            gone, freed = repository.prune(wanted.keep, taken.manifest.id)
        except BackupError as error:
            raise BackupError(f"The backup {taken.manifest.id} is whole, but old ones stay: {error}") from error
    if as_json or scheduled:
        sys.stdout.write(json.dumps({**_shown(taken), "removed": list(gone)}) + "\n")
        return
    manifest = taken.manifest
    out.print(
        f"{manifest.id}: {manifest.rows:,} rows and {manifest.contents.count:,} files, as of"
        f" {manifest.taken_at:%Y-%m-%d %H:%M:%S} UTC. Stored {_size(taken.bytes_stored)} that"
        f" {'was' if taken.bytes_stored else 'were'} new, in {taken.seconds:.1f} s.",
        markup=False,
    )
    if taken.damaged:
        errors.print(
            f"{len(taken.damaged)} pieces in {repository.root} were damaged ({taken.damaged[0]} …), and were stored"
            " again where the server still has their content. Older backups may lack more: stoa restore --check. Look"
            " at the disk.",
            markup=False,
        )
    if gone:
        out.print(f"Removed {len(gone)} old backups: {_size(freed)} are free again.")
    if settings.blobs is not None and not wanted.with_bucket:
        out.print(
            f"The contents of files lie in {settings.blobs}, and are not in it (they count as missing): back the bucket"
            " up as its provider does it, after this, or call this with --files.",
            markup=False,
        )
    else:
        _warn_missing(manifest)
    if manifest.secret_key is None and settings.secret_key is None:
        out.print(
            f"Not in it: {settings.data_dir / 'secret.key'}, without which the credentials of connections cannot be"
            " read. Keep a copy of it elsewhere.",
            markup=False,
        )


def _refuse_inside(settings: Settings, directory: Path) -> None:
    if directory.resolve().is_relative_to(settings.data_dir.resolve()):
        raise BackupError(f"{directory} is inside the data directory, and would go with it. Name another place.")


async def _take(settings: Settings, wanted: BackupOptions, repository: Repository, *, quiet: bool) -> Taken:
    data_dir = settings.data_dir.resolve()
    async with AsyncExitStack() as stack:
        dsn = await stack.enter_async_context(database_of(settings))
        bucket = await stack.enter_async_context(_bucket(settings if wanted.with_bucket else None))
        files = directories(data_dir) if settings.blobs is None else bucket
        with _progress(quiet=quiet) as tell:
            return await take(Origin(dsn, data_dir, files, wanted.with_secret_key), repository, tell)


@asynccontextmanager
async def _bucket(settings: Settings | None) -> AsyncGenerator[Files | None]:
    """The bucket of STOA_BLOBS, or None. Raises BackupError if it cannot be used."""
    if settings is None or settings.blobs is None:
        yield None
        return
    try:
        async with open_named(settings, settings.blobs) as files:
            yield dict(files.each())
    except SettingsError as error:
        raise BackupError(str(error)) from error


def _shown(taken: Taken) -> dict[str, Any]:
    manifest = taken.manifest
    return {
        "id": manifest.id,
        "taken_at": manifest.taken_at.isoformat(),
        "rows": manifest.rows,
        "files": manifest.contents.count,
        "missing": list(manifest.contents.missing),
        "damaged": list(taken.damaged),
        "bytes_stored": taken.bytes_stored,
        "seconds": round(taken.seconds, 3),
    }


def _warn_missing(manifest: Manifest) -> None:
    missing = manifest.contents.missing
    if missing:
        errors.print(
            f"{len(missing)} files that rows name were missing or damaged at their origin, so that they are not in the"
            f" backup: {missing[0]} …; stoa doctor lists them.",
            markup=False,
        )


def list_backups(repository: Repository, *, as_json: bool) -> None:
    rows: list[dict[str, Any]] = []
    for identity in repository.backups():
        try:
            manifest = repository.manifest(identity)
        except BackupError as error:
            rows.append({"id": identity, "problem": str(error)})
            continue
        rows.append(
            {
                "id": identity,
                "taken_at": manifest.taken_at.isoformat(),
                "rows": manifest.rows,
                "files": manifest.contents.count,
                "bytes": sum(piece.size for table in manifest.tables for piece in table.pieces)
                + manifest.contents.bytes,
                "stoa": manifest.stoa,
                "schema": manifest.schema[-1].number,
            }
        )
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=1) + "\n")
        return
    for row in rows:
        description = row.get("problem") or (
            f"{row['rows']:,} rows, {row['files']:,} files, {_size(row['bytes'])}; Stoa {row['stoa']}, schema"
            f" {row['schema']}"
        )
        out.print(f"{row['id']}  {description}", markup=False)
    if not rows:
        out.print("There are no backups yet.")


def manifest_of(repository: Repository, identity: str | None) -> Manifest:
    """The backup that is named, else the newest."""
    if identity is None:
        found = repository.backups()
        if not found:
            raise BackupError(f"There is no whole backup in {repository.root} yet.")
        identity = rules.newest(found, datetime.now(UTC)) or found[-1]
    return repository.manifest(rules.check_identity(identity))


def run_restore(settings: Settings, repository: Repository, manifest: Manifest) -> None:
    """Raises BackupError and EmbeddedError."""
    with repository.held(alone=False):
        done = asyncio.run(_restore(settings, repository, manifest))
    place = settings.data_dir.resolve()
    files = f" and {settings.blobs}" if settings.blobs is not None and done.files else ""
    out.print(
        f"Restored {manifest.id}: {manifest.rows:,} rows and {done.files:,} files into {place}{files}, the state of"
        f" {manifest.taken_at:%Y-%m-%d %H:%M:%S} UTC.",
        markup=False,
    )
    out.print(_schema(manifest, done.migrated))
    _warn_missing(manifest)
    if not done.has_secret_key and settings.secret_key is None:
        out.print(
            f"Put secret.key of the old installation into {place} before you start, or set STOA_SECRET_KEY: a new key"
            " cannot read the credentials of connections.",
            markup=False,
        )
    out.print(f"Start with: stoa serve --data-dir {place}", markup=False)


async def _restore(settings: Settings, repository: Repository, manifest: Manifest) -> Restored:
    begun = begin(settings.data_dir, manifest)
    async with AsyncExitStack() as stack:
        dsn = await stack.enter_async_context(database_of(settings))
        bucket = await stack.enter_async_context(_bucket(settings))
        place = settings.data_dir.resolve()
        with _progress(quiet=False) as tell:
            return await restore(repository, manifest, dsn, place, begun=begun, bucket=bucket, tell=tell)


def _schema(manifest: Manifest, migrated: Sequence[str]) -> str:
    was = f"It was made by Stoa {manifest.stoa} with schema {manifest.schema[-1].number}"
    return (
        f"{was}, and was brought to schema {migrations()[-1].number}." if migrated else f"{was}, which is this one's."
    )


def run_check(
    settings: Settings, repository: Repository, manifest: Manifest, *, scratch: Path | None, trial: bool, as_json: bool
) -> bool:
    """Whether the backup is complete and, after a trial restore, passes all checks of the doctor. Raises BackupError
    and EmbeddedError."""
    configure_logs("error", "console")
    migrations_of(manifest)
    with repository.held(alone=False), _progress(quiet=as_json) as tell:
        found = asyncio.run(check(repository, manifest, tell))
        report = None
        if trial and not found.damages:
            report = asyncio.run(_try(settings, repository, manifest, scratch, tell))
    broken = [one for one in report.diagnoses if one.count and one.name not in LIVE] if report else []
    whole = not found.damages and not broken and (report is None or report.complete)
    if as_json:
        shown = {
            "id": manifest.id,
            "whole": whole,
            "pieces": found.pieces,
            "bytes": found.bytes,
            "damaged": [{"path": one.path, "problem": one.problem, "of": one.of} for one in found.damages],
            "broken": {one.name: [finding.detail for finding in one.findings[:5]] for one in broken},
            "restored": report is not None,
        }
        sys.stdout.write(json.dumps(shown, indent=1) + "\n")
        return whole
    for one in found.damages:
        out.print(f"{one.path} {one.problem}; it holds {one.of}.", markup=False)
    for one in broken:
        out.print(f"{one.name}: {one.count}. {one.promise} {one.findings[0].detail}", markup=False)
    out.print(_verdict(manifest, found.pieces, found.bytes, report, whole=whole), markup=False)
    if found.damages:
        out.print(
            "Remove the damaged files; the next backup stores again what the server still has. Restore from an older"
            " backup, or from a copy of this directory, what it has not."
        )
    return whole


def _verdict(manifest: Manifest, pieces: int, size: int, report: Report | None, *, whole: bool) -> str:
    if not whole:
        return f"{manifest.id} is NOT whole."
    checked = f"{manifest.id} is whole: {pieces:,} pieces, {_size(size)}"
    if report is None:
        return f"{checked} were read. It was not restored on trial."
    later = sum(one.count for one in report.diagnoses if one.name in LIVE)
    under_way = f" ({later} things were under way; a server takes them up.)" if later else ""
    return f"{checked} were read; restored on trial, it keeps all {len(report.diagnoses)} promises.{under_way}"


async def _try(
    settings: Settings, repository: Repository, manifest: Manifest, scratch: Path | None, tell: Tell
) -> Report:
    async with _scratch(scratch) as data_dir:
        begun = begin(data_dir, manifest)
        embedded = await start_embedded(data_dir)
        try:
            await restore(repository, manifest, embedded.dsn, data_dir, begun=begun, tell=tell)
            tell("promises")
            nowhere_else: dict[str, object] = {"database_url": None, "database_session_url": None, "backup": None}
            if manifest.contents.bytes:  # The backup contains the files, wherever the server stores its own.
                nowhere_else["blobs"] = None
            chosen = settings.model_copy(update={"data_dir": data_dir, **nowhere_else})
            async with open_doctor(chosen, embedded.dsn) as doctor:
                return await doctor.examine(Scope(), full=True)
        finally:
            await embedded.stop()


@asynccontextmanager
async def _scratch(below: Path | None) -> AsyncGenerator[Path]:
    """A temporary data directory."""
    home = await asyncio.to_thread(_new_directory, below)
    data_dir = home / "data"
    try:
        yield data_dir
    finally:
        with contextlib.suppress(EmbeddedError):  # There is no database yet.
            await remove(data_dir)
        shutil.rmtree(home, ignore_errors=True)


def _new_directory(below: Path | None) -> Path:
    home = Path(tempfile.mkdtemp(prefix="stoa-check-", dir=below))
    home.chmod(0o711)  # The database may run as another user.
    return home


def _say_nothing(_: str) -> None: ...


@contextlib.contextmanager
def _progress(*, quiet: bool) -> Generator[Tell]:
    if quiet:
        yield _say_nothing
        return
    with Status("Beginning …", console=errors) as status:
        yield status.update


def open_backups(settings: Settings, source: Path, key_file: Path | None) -> Repository:
    """Raises BackupError."""
    return open_repository(source, asked_secret(source, secret_of(settings, key_file)))


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"
