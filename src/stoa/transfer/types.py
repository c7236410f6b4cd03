"""What an export is made of, and how far an import is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Known:
    """What this release takes of a table."""

    columns: frozenset[str]
    contents: bool


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of an export: rows of one table, or pieces of the contents that they name, as gzipped lines of JSON."""

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
    """What an export says of itself."""

    project: ProjectRecord
    exported_at: str
    stoa: str
    columns: Mapping[str, Sequence[str]]
    """Table → the columns that its rows have."""
    records: Mapping[str, int]
    """Table → how many rows."""
    parts: Sequence[Part]
    models: Mapping[UUID, str]
    """Models of the server that the project names: id → slug."""
    to_fill_in: Sequence[str]
    missing_contents: frozenset[str]
    """Contents that rows name and that could not be read, by SHA-256."""


class ImportStatus(StrEnum):
    RECEIVING = "receiving"
    APPLIED = "applied"


@dataclass(frozen=True, slots=True)
class Import:
    """`received` are the numbers of its parts that are here."""

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
