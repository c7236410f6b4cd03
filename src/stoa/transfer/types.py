"""The parts of an export, and the progress of an import."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Known:
    """What this release accepts for a table."""

    columns: frozenset[str]
    contents: bool


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an export, as gzipped lines of JSON: rows of one table, or pieces of the contents that they name."""

    number: int
    table: str
    contents: bool
    records: int
    bytes: int
    """Before compression."""
    size: int
    sha256: str
    """Of the compressed bytes."""

    @property
    def name(self) -> str:
        return f"parts/{self.number:06}-{self.table}{'-contents' if self.contents else ''}.jsonl.gz"


@dataclass(frozen=True, slots=True)
class ProjectRecord:
    id: UUID
    name: str
    description: str | None
    visibility: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The description of an export."""

    project: ProjectRecord
    exported_at: str
    stoa: str
    columns: Mapping[str, Sequence[str]]
    """Table → its columns."""
    records: Mapping[str, int]
    """Table → number of rows."""
    parts: Sequence[Part]
    models: Mapping[UUID, str]
    """The server's own models that the project uses: id → slug."""
    to_fill_in: Sequence[str]
    missing_contents: frozenset[str]
    """SHA-256 of file contents that rows name and that could not be read."""


class ImportStatus(StrEnum):
    RECEIVING = "receiving"
    APPLIED = "applied"


@dataclass(frozen=True, slots=True)
class Import:
    """`received` are the numbers of the parts that were received."""

    id: UUID
    project_id: UUID
    status: ImportStatus
    manifest: Mapping[str, Any]
    received: Sequence[int]
    report: Mapping[str, Any] | None
    created_by: UUID
    created_at: datetime
    expires_at: datetime
    applied_at: datetime | None
