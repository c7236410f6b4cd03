"""What the doctor found."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from stoa.kernel.findings import Finding


@dataclass(frozen=True, slots=True)
class Day:
    """The unit of checking: rows created from `start` on and before `end`; None is no bound. `settled`: its rows no
    longer change."""

    start: datetime | None
    end: datetime | None
    settled: bool


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One check's result. `status` is `stopped` at a timeout and `failed` when the check could not be made; `findings`
    are then those found so far.

    `days_verified` were found healthy before, `days_left` were not checked because of the timeout.
    """

    name: str
    promise: str
    status: Literal["complete", "stopped", "failed"]
    findings: Sequence[Finding]
    more: bool
    """There are more findings than were counted."""
    remedy: str
    repairable: bool
    seconds: float
    days_verified: int
    days_left: int

    @property
    def count(self) -> int:
        return len(self.findings)


@dataclass(frozen=True, slots=True)
class DataLocation:
    """Where the installation keeps the data that a backup must have."""

    files: str
    database: str


@dataclass(frozen=True, slots=True)
class Report:
    checked_at: datetime
    since: datetime | None
    diagnoses: Sequence[Diagnosis]
    data: DataLocation | None
    """None if the caller may not know it."""

    @property
    def broken(self) -> int:
        return sum(diagnosis.count for diagnosis in self.diagnoses)

    @property
    def complete(self) -> bool:
        return all(diagnosis.status == "complete" and not diagnosis.more for diagnosis in self.diagnoses)

    @property
    def healthy(self) -> bool:
        """Every check is complete and without findings."""
        return self.complete and self.broken == 0


@dataclass(frozen=True, slots=True)
class Repaired:
    """The result of a repair; `done` is False where the finding had changed meanwhile or could not be repaired."""

    check: str
    finding: Finding
    done: bool
