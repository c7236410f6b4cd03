"""The shapes of `GET /v1/doctor`, and of `stoa doctor --json`."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import Field

from stoa.doctor.types import Diagnosis, Report
from stoa.http import Timestamp, Wire

EXAMPLES_MAX: Final = 5


class FindingWire(Wire):
    org_id: str
    subject: str
    detail: str


class DaysWire(Wire):
    """Of a check that is made day by day: `verified` need not be looked at again, `left` were not looked at because the
    time ran out."""

    verified: int
    left: int


class DataWire(Wire):
    """Where the installation keeps its files and its database: a backup has to hold both."""

    files: str
    database: str


class DiagnosisWire(Wire):
    name: str
    promise: str
    status: Literal["complete", "stopped", "failed"]
    count: int
    more: bool
    examples: Sequence[FindingWire]
    remedy: str
    repairable: bool
    seconds: float
    days: DaysWire | None


class ReportWire(Wire):
    healthy: bool
    complete: bool
    broken: int
    checked_at: Timestamp
    since: Timestamp | None
    data: Annotated[DataWire | None, Field(description="For the organization that the server was set up with.")]
    checks: Sequence[DiagnosisWire]


def report(found: Report) -> ReportWire:
    return ReportWire(
        healthy=found.healthy,
        complete=found.complete,
        broken=found.broken,
        checked_at=found.checked_at,
        since=found.since,
        data=DataWire(files=found.data.files, database=found.data.database) if found.data is not None else None,
        checks=[_diagnosis(diagnosis) for diagnosis in found.diagnoses],
    )


def _diagnosis(found: Diagnosis) -> DiagnosisWire:
    examples = [
        FindingWire(org_id=str(finding.org_id), subject=finding.subject, detail=finding.detail)
        for finding in found.findings[:EXAMPLES_MAX]
    ]
    return DiagnosisWire(
        name=found.name,
        promise=found.promise,
        status=found.status,
        count=found.count,
        more=found.more,
        examples=examples,
        remedy=found.remedy,
        repairable=found.repairable,
        seconds=round(found.seconds, 3),
        days=DaysWire(verified=found.days_verified, left=found.days_left)
        if found.days_verified or found.status == "stopped"
        else None,
    )
