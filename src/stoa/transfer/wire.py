"""The JSON shapes of imports."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, cast
from uuid import UUID

from pydantic import AfterValidator, Field, model_validator

from stoa.http import Body, Timestamp, Wire
from stoa.http.wire import not_blank, storable
from stoa.transfer import rules
from stoa.transfer.types import Import, ImportStatus

MISSING_SHOWN_MAX = 1_000


class ManifestProject(Body):
    id: UUID
    name: Annotated[str, Field(min_length=1, max_length=1_000), AfterValidator(storable)]
    description: Annotated[str, Field(max_length=100_000), AfterValidator(storable)] | None = None
    visibility: Literal["internal", "private"]


class ManifestBody(Body):
    """manifest.json of an export, as it is. A newer format is refused before anything else is looked at."""

    example: ClassVar[Mapping[str, Any]] = {
        "format": rules.FORMAT,
        "version": rules.VERSION,
        "stoa": "1.0.0",
        "exported_at": "2026-06-10T09:11:02.123Z",
        "project": {"id": "01890a5d-ac96-774b-bcce-b302099a8057", "name": "Support", "visibility": "internal"},
        "tables": {},
        "models": [],
        "to_fill_in": [],
        "missing_contents": [],
        "parts": [],
    }

    format: str
    version: int
    stoa: Annotated[str, Field(max_length=64), AfterValidator(storable), AfterValidator(not_blank)]
    exported_at: Annotated[str, Field(max_length=64), AfterValidator(storable), AfterValidator(not_blank)]
    project: ManifestProject
    tables: dict[str, dict[str, Any]]
    models: list[dict[str, Any]]
    to_fill_in: list[str]
    missing_contents: list[str]
    parts: list[dict[str, Any]]

    @model_validator(mode="before")
    @classmethod
    def _version_first(cls, value: Any) -> Any:
        if isinstance(value, dict):
            rules.check_format(cast("dict[str, Any]", value))
        return value  # pyright: ignore[reportUnknownVariableType]


class ApplyImport(Body):
    """`models` says which model of this server stands for one of the other, slug by slug; one of the same slug stands
    for itself. With `dry_run` everything is written and rolled back."""

    example: ClassVar[Mapping[str, Any]] = {"dry_run": True}

    dry_run: bool = False
    models: Annotated[dict[str, str], Field(max_length=1_000, default_factory=dict[str, str])]


class ImportedProjectWire(Wire):
    id: UUID
    name: str


class ImportReportWire(Wire):
    """`created` counts records by table. `to_fill_in` names what an export never holds: secrets, and what has to be
    switched on again. `missing_contents` counts contents that the export could not read."""

    project: ImportedProjectWire
    created: Mapping[str, int]
    contents: int
    missing_contents: int
    to_fill_in: Sequence[str]


class PartsWire(Wire):
    """`missing` are the first thousand numbers of the parts that are not here yet."""

    total: int
    received: int
    missing: Sequence[int]


class ListedProjectImportWire(Wire):
    id: UUID
    status: ImportStatus
    project: ImportedProjectWire
    exported_at: str
    created_by: UUID
    created_at: Timestamp
    expires_at: Timestamp
    applied_at: Timestamp | None
    report: ImportReportWire | None


class ProjectImportWire(ListedProjectImportWire):
    parts: PartsWire


def report(value: Mapping[str, Any]) -> ImportReportWire:
    return ImportReportWire.model_validate(value)


def listed(value: Import) -> ListedProjectImportWire:
    return ListedProjectImportWire(**_fields(value))


def import_(value: Import) -> ProjectImportWire:
    total = len(value.manifest["parts"])
    if value.report is not None:  # It was applied, and its parts are deleted.
        return ProjectImportWire(parts=PartsWire(total=total, received=total, missing=[]), **_fields(value))
    here = set(value.received)
    missing = [number for number in range(1, total + 1) if number not in here]
    parts = PartsWire(total=total, received=len(here), missing=missing[:MISSING_SHOWN_MAX])
    return ProjectImportWire(parts=parts, **_fields(value))


def _fields(value: Import) -> dict[str, Any]:
    project = ImportedProjectWire(id=value.project_id, name=value.manifest["project"]["name"])
    return {
        "id": value.id,
        "status": value.status,
        "project": project,
        "exported_at": value.manifest["exported_at"],
        "created_by": value.created_by,
        "created_at": value.created_at,
        "expires_at": value.expires_at,
        "applied_at": value.applied_at,
        "report": report(value.report) if value.report is not None else None,
    }
