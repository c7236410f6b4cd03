"""Locates, moves and removes an installation's data, also outside of its data directory.

Needs a stopped server: `_alone` refuses while any process uses the database, and stops one that a killed process left
running.
"""

import asyncio
import errno
import os
import secrets
import shutil
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stoa.db.durable import sync_directory
from stoa.db.embedded import locks, places, postmaster
from stoa.db.embedded.account import Account, choose_account
from stoa.db.embedded.errors import EmbeddedError, from_os_error
from stoa.db.embedded.places import ELSEWHERE, OURS
from stoa.db.embedded.server import start_embedded

_WAIT_SECONDS_MAX: Final = 10.0


@dataclass(frozen=True, slots=True)
class DataPlaces:
    """`database` is the directory of the embedded database; None where there is none (yet)."""

    directory: Path
    database: Path | None

    @property
    def elsewhere(self) -> bool:
        """Whether the database is outside of the data directory."""
        return self.database is not None and not self.database.is_relative_to(self.directory)


@dataclass(frozen=True, slots=True)
class Leftover:
    """A database whose data directory was deleted, or no longer names it. `owner` is that directory, if recorded."""

    path: Path
    owner: Path | None


def locate(data_dir: Path) -> DataPlaces:
    """Raises EmbeddedError where the data directory names a database that is not there."""
    directory = data_dir.resolve()
    return DataPlaces(directory, places.known_base(directory / "postgres"))


def leftovers(elsewhere: Path = ELSEWHERE) -> Sequence[Leftover]:
    """Databases outside of data directories that no data directory names any more, for example because it was deleted
    manually."""
    found: list[Leftover] = []
    try:
        candidates = sorted(path for path in elsewhere.iterdir() if (path / "cluster").is_dir())
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return ()
    for path in candidates:
        owner = places.owner_of(path)
        if owner is None or not _leads_to(owner, path):
            found.append(Leftover(path, owner))
    return found


async def move(data_dir: Path, target: Path) -> DataPlaces:
    """Moves everything to `target`, which must not exist or be empty, and moves a database from elsewhere into it if
    the system allows that.

    After a kill either the old or the new location is complete; another call continues. Raises EmbeddedError.
    """
    source, target = await asyncio.to_thread(_check_move, data_dir, target)
    async with _alone(source):
        try:
            await asyncio.to_thread(_move, source, target)
        except OSError as error:
            raise from_os_error(error, target) from error
    return await asyncio.to_thread(locate, target)


async def remove(data_dir: Path) -> Sequence[Path]:
    """Removes the database, wherever it is, and all of Stoa's entries in the data directory; returns the entries that
    remain because they are not Stoa's.

    Raises EmbeddedError.
    """
    directory = await asyncio.to_thread(_check_there, data_dir)
    async with _alone(directory):
        try:
            return await asyncio.to_thread(_remove, directory)
        except OSError as error:
            raise from_os_error(error, directory) from error


async def remove_leftover(path: Path, elsewhere: Path = ELSEWHERE) -> None:
    """Removes a database that `leftovers` lists. Raises EmbeddedError for any other."""
    await asyncio.to_thread(_remove_leftover, path, elsewhere)


def _check_there(data_dir: Path) -> Path:
    directory = data_dir.resolve()
    if not directory.is_dir():
        raise EmbeddedError(f"There is no data in {directory}.")
    return directory


def _check_move(data_dir: Path, target: Path) -> tuple[Path, Path]:
    source, target = _check_there(data_dir), target.absolute()
    if target.resolve().is_relative_to(source) or source.is_relative_to(target.resolve()):
        raise EmbeddedError(f"{target} and {source} lie within one another; choose another place.")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise EmbeddedError(f"{target} is there already and not an empty directory; choose another place.")
    return source, target


def _remove_leftover(path: Path, elsewhere: Path) -> None:
    if path.absolute() not in {one.path for one in leftovers(elsewhere)}:
        raise EmbeddedError(f"{path} is no database that an installation left behind; `stoa data path` lists those.")
    found = postmaster.read_pid_file(path / "cluster")
    if found is not None and not postmaster.is_gone(found.pid):
        raise EmbeddedError(f"A PostgreSQL (process {found.pid}) runs in {path}; stop it first.")
    shutil.rmtree(path)


@asynccontextmanager
async def _alone(directory: Path) -> AsyncGenerator[None]:
    """Locks the gate, so that no server starts meanwhile. Raises EmbeddedError while one runs."""
    home = directory / "postgres"
    if not await asyncio.to_thread(home.is_dir):
        yield
        return
    if await _left_running(home):
        await (await start_embedded(directory)).stop()
    async with locks.gate(home, time.monotonic() + _WAIT_SECONDS_MAX):
        if locks.in_use(home):
            raise EmbeddedError(f"A Stoa server runs on {directory}. Stop it first.")
        yield


async def _left_running(home: Path) -> bool:
    """Whether a PostgreSQL is running without users, because its Stoa was killed."""
    async with locks.gate(home, time.monotonic() + _WAIT_SECONDS_MAX):
        base = _base_if_there(home)
        found = postmaster.read_pid_file(base / "cluster") if base is not None else None
        return found is not None and not postmaster.is_gone(found.pid) and not locks.in_use(home)


def _move(source: Path, target: Path) -> None:
    base = places.known_base(source / "postgres")
    account = choose_account(None, (base / "cluster").stat().st_uid) if base is not None else None
    target.parent.mkdir(parents=True, exist_ok=True)
    comes_along = base is not None and base.is_relative_to(source)
    if comes_along and account is not None and account.dropped and not account.can_enter(target.parent):
        raise EmbeddedError(
            f"The account {account.name!r}, which PostgreSQL runs as, cannot enter {target.parent}."
            " Choose a place outside of private directories."
        )
    if target.exists():
        target.rmdir()
    _rename_or_copy(source, target)
    if base is not None and account is not None and not comes_along:
        _bring_home(base, target / "postgres", account)


def _bring_home(base: Path, home: Path, account: Account) -> None:
    """A database from elsewhere, where its account can get into home. Killed in between, `known_base` finds the cluster
    in either place."""
    places.write_owner(home, base)
    if account.can_enter(home) or places.let_through(home, account):
        _rename_or_copy(base / "cluster", home / "cluster")
        places.forget_base(home)
        shutil.rmtree(base)


def _rename_or_copy(source: Path, target: Path) -> None:
    """Complete under its new name, or not there at all. Between file systems the copy is made beside it and on disk
    before the original goes."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy = target.with_name(f"{target.name}.new-{secrets.token_hex(4)}")
        try:
            shutil.copytree(source, copy, symlinks=True, copy_function=_copy_file)
            for directory in (source, *(path for path in source.rglob("*") if path.is_dir() and not path.is_symlink())):
                _keep_owner(directory, copy / directory.relative_to(source))
            os.sync()
            copy.rename(target)
        except BaseException:
            shutil.rmtree(copy, ignore_errors=True)
            raise
        sync_directory(target.parent)
        shutil.rmtree(source)
    else:
        sync_directory(target.parent)


def _copy_file(source: str, target: str) -> None:
    shutil.copy2(source, target, follow_symlinks=False)
    _keep_owner(Path(source), Path(target))


def _keep_owner(source: Path, target: Path) -> None:
    found = source.lstat()
    os.chown(target, found.st_uid, found.st_gid, follow_symlinks=False)


def _remove(directory: Path) -> Sequence[Path]:
    home = directory / "postgres"
    base = _base_if_there(home)
    if base is not None and not base.is_relative_to(directory):
        shutil.rmtree(base)
    # The database last: as long as it is there, the directory is an installation that can be removed.
    for name in sorted(OURS, key=lambda name: name == home.name):
        path = directory / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    left = sorted(directory.iterdir())
    if not left:
        directory.rmdir()
    return left


def _base_if_there(home: Path) -> Path | None:
    try:
        return places.known_base(home)
    except EmbeddedError:  # It is gone already.
        return None


def _leads_to(owner: Path, base: Path) -> bool:
    try:
        return places.known_base(owner / "postgres") == base
    except (EmbeddedError, OSError):
        return False
