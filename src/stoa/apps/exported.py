"""What an export of a project holds of workflows and apps."""

from collections.abc import Sequence
from typing import Final

from stoa.db.exported import Exported

EXPORTED: Final[Sequence[Exported]] = (
    Exported(table="workflows"),
    Exported(table="workflow_versions"),
    Exported(table="apps"),
    Exported(table="app_deployments"),
)
