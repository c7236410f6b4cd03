"""The parts of a backup, as its manifest describes them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

FORMAT: Final = 1
"""The format of the repository and of manifests. A release reads its own format and older ones."""


class BackupError(Exception):
    """A backup cannot be made, checked or restored; the message says why, and what to do."""


class WrongSecret(BackupError):
    """The repository is encrypted, and the passphrase or key file is missing or wrong."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Up to a few megabytes of a table or a file. `id` is derived from the content: SHA-256, keyed where it is
    encrypted; `size` is the content's."""

    id: str
    size: int


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a table in PostgreSQL's text format of COPY, cut into pieces."""

    name: str
    columns: Sequence[str]
    rows: int
    pieces: Sequence[Piece]


@dataclass(frozen=True, slots=True)
class Contents:
    """The list of all files that rows name, itself split into pieces; each of its lines is a `Content`."""

    count: int
    bytes: int
    missing: Sequence[str]
    """Names of files that were missing when the backup was made, or whose content did not match their name."""
    pieces: Sequence[Piece]


@dataclass(frozen=True, slots=True)
class Content:
    """A file that rows name: `blobs/<org>/<project>/<sha256>`. `size` is None where it was missing when the backup was
    made."""

    name: str
    size: int | None
    pieces: Sequence[str]
    """The ids of its pieces."""

    def line(self) -> bytes:
        size = "-" if self.size is None else str(self.size)
        return f"{self.name}\t{size}\t{' '.join(self.pieces)}\n".encode()


@dataclass(frozen=True, slots=True)
class Migrated:
    """A migration that was applied to the database."""

    number: int
    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """One backup: written last, so that a backup without one does not exist."""

    id: str
    """Begins with the moment at which it was taken: `20261130T030000.000Z-1a2b3c4d`."""
    taken_at: datetime
    """The moment of its snapshot."""
    finished_at: datetime
    stoa: str
    postgres: str
    schema: Sequence[Migrated]
    tables: Sequence[Table]
    sequences: Mapping[str, int]
    contents: Contents
    secret_key: Piece | None
    """The file `secret.key`, where it was included."""

    def to_json(self) -> dict[str, Any]:
        shown = asdict(self)
        for moment in ("taken_at", "finished_at"):
            shown[moment] = shown[moment].isoformat()
        return {"format": FORMAT, **shown}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Manifest":
        """Raises BackupError for a manifest of a newer release."""
        if found["format"] > FORMAT:
            raise BackupError(
                f"This backup has format {found['format']}, and this Stoa reads up to {FORMAT}: use a newer one."
            )
        contents, secret_key = found["contents"], found["secret_key"]
        return cls(
            id=found["id"],
            taken_at=datetime.fromisoformat(found["taken_at"]),
            finished_at=datetime.fromisoformat(found["finished_at"]),
            stoa=found["stoa"],
            postgres=found["postgres"],
            schema=[Migrated(**one) for one in found["schema"]],
            tables=[Table(one["name"], one["columns"], one["rows"], _pieces(one["pieces"])) for one in found["tables"]],
            sequences=found["sequences"],
            contents=Contents(contents["count"], contents["bytes"], contents["missing"], _pieces(contents["pieces"])),
            secret_key=None if secret_key is None else Piece(**secret_key),
        )

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)


def _pieces(found: Sequence[Mapping[str, Any]]) -> Sequence[Piece]:
    return [Piece(one["id"], one["size"]) for one in found]


@dataclass(frozen=True, slots=True)
class Taken:
    """A backup that was just made."""

    manifest: Manifest
    bytes_stored: int
    """Bytes that were added to the repository; everything else was stored already."""
    seconds: float
    damaged: Sequence[str] = ()
    """Paths of pieces that were damaged in the repository. Those that the server still has the content of were stored
    again."""


@dataclass(frozen=True, slots=True)
class Keep:
    """Which backups are kept after a new one; the newest always is. With no limits at all: every one."""

    last: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0

    @property
    def everything(self) -> bool:
        return not (self.last or self.daily or self.weekly or self.monthly)


@dataclass(frozen=True, slots=True)
class Damage:
    """A file of the repository that is missing or damaged, and what depends on it."""

    path: str
    problem: str
    of: str
