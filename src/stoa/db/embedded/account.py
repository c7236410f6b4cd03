"""The system account that PostgreSQL runs as. PostgreSQL refuses to run as root, so a Stoa that runs as root starts it
under another account that already exists."""

import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypedDict

from stoa.db.embedded.errors import OWN_DATABASE, EmbeddedError

if sys.platform != "win32":
    import pwd

ACCOUNTS_TRIED: Final = ("stoa", "postgres", "nobody")
"""When Stoa runs as root, the first of these that exists: one made for Stoa, one made for PostgreSQL, the unprivileged
one."""

_PROBE_SECONDS_MAX: Final = 20.0


class AsAccount(TypedDict, total=False):
    """Arguments of `subprocess.Popen` that start a program under the account; empty when this process already runs
    under it."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class Account:
    """The account PostgreSQL runs as, and the one that connects to it (`launcher`: the user of this process)."""

    name: str
    uid: int
    gid: int
    launcher: str
    dropped: bool
    """True when this process is root and the account is another."""

    def as_account(self) -> AsAccount:
        if not self.dropped:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def give(self, path: Path) -> None:
        """Makes the account the owner of a path that we have just created, inside our own directories."""
        if self.dropped:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def can_enter(self, directory: Path) -> bool:
        """Tries it as the account, because file modes do not show access lists and mount options."""
        return self.can_run(["/bin/sh", "-c", 'cd -- "$1"', "sh", str(directory)])

    def can_run(self, command: list[str]) -> bool:
        """Whether the command succeeds under the account. Blocks for some milliseconds."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            done = subprocess.run(  # noqa: S603 - our own commands, by absolute path
                command,
                cwd="/",
                env={"LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_PROBE_SECONDS_MAX,
                check=False,
                **self.as_account(),
            )
            return done.returncode == 0
        return False


def choose_account(wanted: str | None, owner_uid: int | None) -> Account:
    """The account for a cluster owned by `owner_uid` (None: not created yet).

    An existing cluster keeps its owner. `wanted` is used by root only.
    Raises EmbeddedError when no account fits.
    """
    here = os.geteuid()
    if here != 0:
        return _own_account(here)
    if owner_uid == 0:
        raise EmbeddedError("The embedded PostgreSQL's files belong to root, and PostgreSQL refuses to run as root.")
    if owner_uid is not None:
        return _dropped(_entry_of_uid(owner_uid))
    names = (wanted,) if wanted else ACCOUNTS_TRIED
    for name in names:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            if entry.pw_uid != 0:
                return _dropped(entry)
    raise EmbeddedError(
        f"PostgreSQL refuses to run as root, and no account {' or '.join(names)} exists here to lend it. "
        f"Run Stoa as an ordinary user, {OWN_DATABASE}."
    )


def _own_account(uid: int) -> Account:
    name = _entry_of_uid(uid).pw_name
    return Account(name=name, uid=uid, gid=os.getegid(), launcher=name, dropped=False)


def _dropped(entry: "pwd.struct_passwd") -> Account:
    return Account(
        name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid, launcher=_entry_of_uid(0).pw_name, dropped=True
    )


def _entry_of_uid(uid: int) -> "pwd.struct_passwd":
    """initdb looks its user up by number and fails if the user has no name, so this raises an error that says so."""
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        raise EmbeddedError(
            f"User number {uid} has no name on this system (no line in /etc/passwd), and PostgreSQL needs one. "
            f"Run Stoa as a user that has, {OWN_DATABASE}."
        ) from None
