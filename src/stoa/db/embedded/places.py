"""The paths of all files. `home` is always `<data_dir>/postgres`; `base` is home too, unless root's account cannot
enter it.

    home/   gate.lock users.lock         see locks.py
            elsewhere                    only if base is another directory: its path
    base/   cluster/                     PostgreSQL's data; belongs to the account, mode 0700
            data-directory               only if base is another directory: the path of the data directory it belongs to
            cluster.new-*/               an unfinished initdb
            run/                         the socket, when the path is short enough; the account's, 0700
            postgres.conf hba.conf ident.conf   rewritten at each start
            server.log server.log.1
            programs-<digest>/           only if the account cannot reach those of the environment

home and base belong to the user Stoa runs as. If that is root, the account only owns `cluster` and `run`, so that it
cannot create a symbolic link where root writes.
"""

import contextlib
import hashlib
import os
import secrets
import stat
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stoa.db.durable import sync_directory
from stoa.db.embedded.account import Account
from stoa.db.embedded.errors import OWN_DATABASE, EmbeddedError, from_os_error

ELSEWHERE: Final = Path("/var/lib/stoa")
"""The database's directory if Stoa runs as root and only root can enter the data directory."""

PORT: Final = 5432
"""Only names the socket file; nothing listens on the network."""

_SOCKET_PATH_BYTES_MAX: Final = 103
"""`sun_path` without its final zero on macOS; Linux has 107. Measured against the longer of the two names below."""
_SOCKET_DIR_BYTES_MAX: Final = _SOCKET_PATH_BYTES_MAX - len(f"/.s.PGSQL.{PORT}")

OURS: Final = frozenset(
    {
        "artifacts",
        "blobs",
        "calls",
        "copies",
        "knowledge",
        "models",
        "postgres",
        "restoring.json",
        "secret.key",
        "sources",
    }
)
"""The entries that Stoa creates in a data directory. All others are left alone."""

_POINTER: Final = "elsewhere"
_OWNER: Final = "data-directory"
_ACCESS_LIST: Final = "system.posix_acl_access"
_PRIVATE: Final = ("artifacts", "blobs", "copies", "knowledge", "models", "sources")
_TEMPORARY_NAMES_MAX: Final = 10


@dataclass(frozen=True, slots=True)
class Places:
    home: Path
    base: Path

    @property
    def cluster(self) -> Path:
        return self.base / "cluster"

    @property
    def log(self) -> Path:
        return self.base / "server.log"

    @property
    def configuration(self) -> Path:
        return self.base / "postgres.conf"

    @property
    def hba(self) -> Path:
        return self.base / "hba.conf"

    @property
    def ident(self) -> Path:
        return self.base / "ident.conf"


def make_home(data_dir: Path) -> Path:
    """Creates `<data_dir>/postgres` and checks that we own it. Other users may enter it only if we are root."""
    home = data_dir.resolve() / "postgres"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = home.stat().st_uid
        if owner != os.geteuid():
            raise EmbeddedError(
                f"{home} belongs to user number {owner}, but Stoa runs as user number {os.geteuid()}. Run Stoa as the "
                f"user who made it, choose another directory with STOA_DATA_DIR, {OWN_DATABASE}."
            )
        home.chmod(0o711 if owner == 0 else 0o700)
        _check_writable(home)
    except OSError as error:
        raise from_os_error(error, home) from error
    return home


def known_base(home: Path) -> Path | None:
    """The directory of this home's cluster, or None if there is none yet. A missing cluster is an error."""
    pointer = home / _POINTER
    if pointer.exists():
        base = Path(pointer.read_text().strip())
        if (home / "cluster").is_dir() and not (base / "cluster").is_dir():
            return home  # The process that moved it home was killed.
        if not base.is_dir():
            raise EmbeddedError(
                f"The database of {home} was kept in {base}, which is not there (any more). Bring that directory back, "
                f"or delete {pointer} to start with an empty database."
            )
        return base
    return home if (home / "cluster").is_dir() else None


def choose_base(home: Path, account: Account, elsewhere: Path) -> Path:
    """Where to create the cluster: home if the account can enter it, else a new directory below `elsewhere`.

    Permissions above the data directory are never changed. The new directory has a random name that only home's pointer
    file has, so after deleting the data directory a start gives an empty database, not the old one.
    """
    if not account.dropped or account.can_enter(home) or let_through(home, account):
        return home
    elsewhere.mkdir(mode=0o755, parents=True, exist_ok=True)
    found = elsewhere.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022:
        raise _unreachable(home, account, f"{elsewhere} is not a directory that only root may write to")
    base = elsewhere / secrets.token_hex(8)
    base.mkdir(mode=0o700)
    base.chmod(0o711)
    if not account.can_enter(base):
        base.rmdir()
        raise _unreachable(home, account, f"nor can it enter {elsewhere}")
    write_owner(home, base)
    write_whole(home / _POINTER, f"{base}\n", durable=True)
    return base


def write_owner(home: Path, base: Path) -> None:
    """Writes the path of its data directory into a base outside of it, so that `leftovers` finds it when that directory
    was deleted."""
    if base != home and owner_of(base) != home.parent:
        write_whole(base / _OWNER, f"{home.parent}\n", durable=True)


def owner_of(base: Path) -> Path | None:
    """The data directory of a base outside of it; None if an earlier version did not record it."""
    try:
        return Path((base / _OWNER).read_text().strip())
    except OSError:
        return None


def forget_base(home: Path) -> None:
    """Records that the database is in home."""
    (home / _POINTER).unlink(missing_ok=True)
    sync_directory(home)


def let_through(home: Path, account: Account) -> bool:
    """Gives only the account search permission on our private data directory, to reach home; true if it can then.

    Only that directory is changed, and only if the account can already reach it and all its files are ours. Our other
    files in it are made private first.
    """
    data_dir = home.parent
    found = data_dir.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o077:
        return False
    if not account.can_enter(data_dir.parent) or not OURS.issuperset(entry.name for entry in data_dir.iterdir()):
        return False
    for name in _PRIVATE:
        (data_dir / name).mkdir(mode=0o700, exist_ok=True)
        (data_dir / name).chmod(0o700)
    try:
        os.setxattr(data_dir, _ACCESS_LIST, _may_pass(account.uid))
        if account.can_enter(home):
            return True
        os.removexattr(data_dir, _ACCESS_LIST)
    except (AttributeError, OSError):  # Access lists are not supported here.
        pass
    data_dir.chmod(0o700)
    return False


def _may_pass(uid: int) -> bytes:
    """A POSIX access list, as Linux stores it: all permissions for the owner, search for one user, none for others."""
    nobody = 0xFFFFFFFF
    owner, user, group, mask, other = (
        (0x01, 7, nobody),
        (0x02, 1, uid),
        (0x04, 0, nobody),
        (0x10, 1, nobody),
        (0x20, 0, nobody),
    )
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in (owner, user, group, mask, other))


def check_reachable(base: Path, account: Account) -> None:
    """Checks an existing cluster, whose directory may have been moved to where the account cannot enter."""
    if account.dropped and not account.can_enter(base):
        raise _unreachable(base, account, "and the database is already there")


def _unreachable(path: Path, account: Account, why: str) -> EmbeddedError:
    return EmbeddedError(
        f"PostgreSQL must not run as root, and the account {account.name!r} cannot enter {path}, {why}. "
        f"Choose a data directory outside of private directories with STOA_DATA_DIR (for example below /var/lib), "
        f"run Stoa as an ordinary user, {OWN_DATABASE}."
    )


def socket_dir(base: Path, account: Account) -> Path:
    """A directory for the socket that only the account (and root) may enter: in base, or a short one elsewhere.

    The short one is in the system's directory for temporary files, where others may have created its name first: it is
    used only if it is a real directory that we own and nobody else may write to.
    """
    run = base / "run"
    if _fits(run):
        return _private(run, account)
    digest = hashlib.sha256(os.fsencode(base)).hexdigest()[:12]
    for parent in dict.fromkeys((tempfile.gettempdir(), "/tmp")):  # noqa: S108 - checked below before it is used
        for number in range(_TEMPORARY_NAMES_MAX):
            outer = Path(parent, f"stoa-{os.geteuid()}-{digest}-{number}")
            if _fits(outer / "run") and _is_ours(outer):
                outer.chmod(0o711 if account.dropped else 0o700)
                return _private(outer / "run", account)
    raise EmbeddedError(
        f"The path {run} is too long for a socket, and no directory of ours could be made in {tempfile.gettempdir()}. "
        f"Choose a shorter STOA_DATA_DIR, {OWN_DATABASE}."
    )


def forget_socket_dir(directory: Path, base: Path) -> None:
    """Removes a directory that `socket_dir` made outside of base, once the server is down."""
    if directory.parent != base:
        with contextlib.suppress(OSError):
            directory.rmdir()
            directory.parent.rmdir()


def write_whole(path: Path, text: str, *, durable: bool = False) -> None:
    """Replaces a file in one step; everybody may read it, only we may write it."""
    fresh = path.with_name(f"{path.name}.new")
    with fresh.open("w") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(text)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    fresh.rename(path)
    if durable:
        sync_directory(path.parent)


def _check_writable(home: Path) -> None:
    """Tests by writing: a full disk still creates empty files, a read-only one does not."""
    probe = home / f"probe-{secrets.token_hex(4)}"
    probe.touch()
    probe.unlink()


def _private(directory: Path, account: Account) -> Path:
    directory.mkdir(mode=0o700, exist_ok=True)
    directory.chmod(0o700)
    account.give(directory)
    return directory


def _fits(directory: Path) -> bool:
    """Short enough for a socket, and without the comma that separates hosts in a DSN."""
    return len(os.fsencode(directory)) <= _SOCKET_DIR_BYTES_MAX and "," not in str(directory)


def _is_ours(directory: Path) -> bool:
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        found = directory.lstat()
        return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022
    except OSError:
        return False
    return True
