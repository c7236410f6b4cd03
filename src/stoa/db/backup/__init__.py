"""Backups: a directory of content-addressed pieces, a manifest for each backup, and the way back.

Why it is built as it is: docs/decisions/0105-backups.md. Everything here works beside running servers; restoring wants
an empty database.
"""

from stoa.db.backup.checking import Checked, check
from stoa.db.backup.repository import Busy, Damaged, Repository, identities, make_repository, open_repository
from stoa.db.backup.restoring import Restored, begin, check_whole, restore
from stoa.db.backup.taking import Origin, take
from stoa.db.backup.types import BackupError, Damage, Keep, Manifest, Taken, WrongSecret

__all__ = [
    "BackupError",
    "Busy",
    "Checked",
    "Damage",
    "Damaged",
    "Keep",
    "Manifest",
    "Origin",
    "Repository",
    "Restored",
    "Taken",
    "WrongSecret",
    "begin",
    "check",
    "check_whole",
    "identities",
    "make_repository",
    "open_repository",
    "restore",
    "take",
]
