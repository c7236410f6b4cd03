"""The tables of skills that a project's export contains."""

from collections.abc import Sequence
from typing import Final

from stoa.db.exported import Exported

EXPORTED: Final[Sequence[Exported]] = (Exported(table="skills"), Exported(table="skill_versions"))
