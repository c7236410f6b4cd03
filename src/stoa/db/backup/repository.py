"""A directory of backups.

repository.json       its format, and the wrapped master key where it is encrypted
pieces/ab/abcdef…     pieces of tables and files, named by their content and stored once for all backups
backups/<id>          one manifest for each backup, written last: a killed backup has none
lock                  locked exclusively by writers and removers, shared by readers

A file appears under its name complete and synced to disk, or not at all. What a killed process leaves ends in `.new`,
and the next backup removes it.
"""

import json
import os
import re
import secrets
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from stoa.db.backup import rules
from stoa.db.backup.sealing import Checksummed, Sealer, Unsealable, as_json, new_key, opened_key
from stoa.db.backup.types import FORMAT, BackupError, Content, Damage, Keep, Manifest, Piece
from stoa.db.durable import sync_directory

if sys.platform != "win32":
    import fcntl

DESCRIPTION: Final = "repository.json"
PIECES: Final = "pieces"
BACKUPS: Final = "backups"
LOCK: Final = "lock"
UNFINISHED: Final = ".new"
READ_AGAIN_DAYS: Final = 14
"""Daily backups verify each piece that they use once in so many days."""
_NAME: Final = re.compile(r"[0-9a-f]{64}")


class Busy(BackupError):
    """Another process is using the repository."""


class Damaged(BackupError):
    """A file of the repository is missing or damaged."""

    def __init__(self, damage: Damage) -> None:
        super().__init__(f"{damage.path} {damage.problem}; it holds {damage.of}.")
        self.damage = damage


class Repository:
    """Blocks: call it in threads. Several threads may use it at once."""

    def __init__(self, root: Path, sealer: Sealer, *, encrypted: bool) -> None:
        self.root = root
        self.encrypted = encrypted
        self.damaged: set[str] = set()
        """Paths of pieces that `keeps` has found damaged."""
        self._sealer = sealer
        self._share = int(time.time() // 86_400) % READ_AGAIN_DAYS

    def put(self, content: bytes) -> tuple[Piece, int]:
        """Stores a piece durably. Returns it with the number of bytes written: 0 where it existed."""
        name = self._sealer.name(content)
        piece = Piece(name, len(content))
        if self.keeps(name):
            return piece, 0
        sealed = self._sealer.seal(name, content)
        path = self._path(name)
        path.parent.mkdir(exist_ok=True, mode=0o700)
        write_whole(path, sealed, sync_name=False)
        return piece, len(sealed)

    def has(self, name: str) -> bool:
        try:
            return self._path(name).stat().st_size > 0
        except FileNotFoundError:
            return False

    def keeps(self, name: str) -> bool:
        """Whether the next backup may rely on a stored piece. Each day another share of the pieces is verified, because
        disks damage files that nobody reads. A damaged piece is stored again from the server's data."""
        if not self.has(name):
            return False
        if int(name[:8], 16) % READ_AGAIN_DAYS != self._share:
            return True
        try:
            self.get(name, "a piece")
        except Damaged as error:
            self.damaged.add(error.damage.path)
            return False
        return True

    def get(self, name: str, of: str) -> bytes:
        """The content of a piece; `of` names what depends on it, for messages. Raises Damaged."""
        path = self._path(name)
        try:
            content = self._sealer.open(name, path.read_bytes())
        except FileNotFoundError:
            raise Damaged(Damage(str(path), "is missing", of)) from None
        except (Unsealable, OSError) as error:
            raise Damaged(Damage(str(path), f"is damaged ({error})", of)) from None
        if self._sealer.name(content) != name:
            raise Damaged(Damage(str(path), "is damaged (it holds something else than its name says)", of))
        return content

    def backups(self) -> Sequence[str]:
        """The ids of all complete backups, oldest first."""
        return identities(self.root)

    def manifest(self, identity: str) -> Manifest:
        """Raises Damaged; BackupError where there is none, or a newer release wrote it."""
        path = self.root / BACKUPS / rules.check_identity(identity)
        try:
            found = self._sealer.open(identity, path.read_bytes())
        except FileNotFoundError:
            raise BackupError(f"There is no backup {identity} in {self.root}; --list shows those that are.") from None
        except (Unsealable, OSError) as error:
            raise Damaged(Damage(str(path), f"is damaged ({error})", "the manifest of the backup")) from None
        try:
            return Manifest.from_json(as_json(found, str(path)))
        except (KeyError, TypeError, ValueError, IndexError):
            raise BackupError(f"{path} is no manifest: it was changed.") from None

    def add(self, manifest: Manifest) -> None:
        """Makes the backup exist, after the names of its pieces are synced to disk."""
        for directory in ((self.root / PIECES), *(self.root / PIECES).glob("??")):
            sync_directory(directory)
        content = json.dumps(manifest.to_json()).encode()
        write_whole(self.root / BACKUPS / manifest.id, self._sealer.seal(manifest.id, content))

    def prune(self, keep: Keep, just: str | None = None) -> tuple[Sequence[str], int]:
        """Removes backups that are not to be kept, then all pieces that no backup names. Returns the ids and the number
        of bytes freed. The backup that was `just` taken stays. Call with the exclusive lock.

        If a manifest cannot be read, nothing is removed: its pieces are unknown.
        """
        every = self.backups()
        stay = set(rules.kept(every, keep, just))
        gone = [one for one in every if one not in stay]
        if not gone:
            return (), 0
        # All other manifests are read before anything is removed.
        named = {name for one in sorted(stay) for name in self.names(self.manifest(one))}
        for one in gone:
            (self.root / BACKUPS / one).unlink()
        sync_directory(self.root / BACKUPS)
        freed = 0
        for path in self._pieces():
            if path.name not in named:
                freed += path.stat().st_size
                path.unlink()
        return gone, freed

    def names(self, manifest: Manifest) -> Generator[str]:
        """The names of all pieces of a backup, including those of its files."""
        if manifest.secret_key is not None:
            yield manifest.secret_key.id
        for table in manifest.tables:
            yield from (piece.id for piece in table.pieces)
        for piece in manifest.contents.pieces:
            yield piece.id
        for content in self.contents(manifest.contents.pieces):
            yield from content.pieces

    def contents(self, pieces: Sequence[Piece]) -> Generator[Content]:
        """The lines of a list of files, with one piece of it in memory. Raises Damaged."""
        rest = b""
        for piece in pieces:
            *lines, rest = (rest + self.get(piece.id, "a part of the list of files")).split(b"\n")
            for line in lines:
                name, size, ids = line.decode().split("\t")
                yield Content(name, None if size == "-" else int(size), ids.split())

    def sweep(self) -> None:
        """Removes what killed processes have left. Call with the exclusive lock."""
        for directory in (self.root, self.root / BACKUPS, *(self.root / PIECES).glob("??")):
            for path in directory.iterdir():
                if _unfinished(path):
                    path.unlink(missing_ok=True)

    @contextmanager
    def held(self, *, alone: bool) -> Generator[None]:
        """Raises Busy. The system drops the lock when the process ends."""
        # Readers may use a disk that is mounted read-only.
        try:
            file = os.open(self.root / LOCK, (os.O_RDWR | os.O_CREAT) if alone else os.O_RDONLY, 0o600)
        except FileNotFoundError:  # A copy without the lock file, on a read-only disk.
            yield
            return
        try:
            fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise Busy(f"Another process works on the backups in {self.root}; try again when it has ended.") from None
        try:
            yield
        finally:
            os.close(file)

    def _pieces(self) -> Generator[Path]:
        for directory in sorted((self.root / PIECES).glob("??")):
            yield from sorted(directory.iterdir())

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise BackupError(f"{name!r} is no name of a piece: the manifest was changed.")
        return self.root / PIECES / name[:2] / name


def identities(root: Path) -> Sequence[str]:
    """The ids of all backups in a directory, oldest first. Needs no passphrase; empty where there is no repository."""
    try:
        names = [path.name for path in (root / BACKUPS).iterdir() if not _unfinished(path)]
    except (FileNotFoundError, NotADirectoryError):
        return ()
    return sorted(rules.check_identity(name) for name in names)


def open_repository(root: Path, secret: bytes | None) -> Repository:
    """Raises BackupError."""
    path = root / DESCRIPTION
    try:
        found = as_json(path.read_bytes(), str(path))
    except (FileNotFoundError, NotADirectoryError):
        raise BackupError(f"There are no backups in {root}: it holds no {DESCRIPTION}.") from None
    try:
        if found["format"] > FORMAT:
            raise BackupError(f"The backups in {root} were made by a newer Stoa; use that one.")
        key: Any = found["encryption"]
        if key is None:
            return Repository(root, Checksummed(), encrypted=False)
        return Repository(root, opened_key(key, secret), encrypted=True)
    except (KeyError, TypeError, ValueError):
        raise BackupError(f"{path} is damaged. Take it from a copy of this directory.") from None


def make_repository(root: Path, secret: bytes | None) -> Repository:
    """Opens the repository, or creates one, encrypted where there is a secret.

    Creates only the last component of the path: where a disk is not mounted, backups must not be written below the
    mount point. Raises BackupError.
    """
    if (root / DESCRIPTION).exists():
        found = open_repository(root, secret)
        if secret is not None and not found.encrypted:
            raise BackupError(f"The backups in {root} are not encrypted. Encrypted ones need a directory of their own.")
        return found
    if not root.parent.is_dir():
        raise BackupError(f"There is no directory {root.parent}. Is its disk mounted? Otherwise make it.")
    root.mkdir(exist_ok=True, mode=0o700)
    others = [
        path.name for path in root.iterdir() if path.name not in (PIECES, BACKUPS, LOCK) and not _unfinished(path)
    ]
    if others:
        raise BackupError(f"{root} holds other things ({min(others)}). Name an empty directory, or one of backups.")
    for name in (PIECES, BACKUPS):
        (root / name).mkdir(exist_ok=True, mode=0o700)
    (root / LOCK).touch(0o600)
    key, sealer = (None, Checksummed()) if secret is None else new_key(secret)
    written = json.dumps({"format": FORMAT, "made_by": "stoa backup", "encryption": key}, indent=1)
    write_whole(root / DESCRIPTION, written.encode() + b"\n")
    sync_directory(root.parent)
    return Repository(root, sealer, encrypted=secret is not None)


def _unfinished(path: Path) -> bool:
    return path.name.endswith(UNFINISHED)


def write_whole(path: Path, content: bytes, *, sync_name: bool = True) -> None:
    """Writes a file that appears under its name complete and synced, or not at all. Without `sync_name` the name itself
    is on disk only after `sync_directory`."""
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    if sync_name:
        sync_directory(path.parent)
