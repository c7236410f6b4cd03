"""The tables of journals in an export of a project: every event, byte for byte."""

from collections.abc import Sequence
from typing import Final

from stoa.db.exported import OWNER, Exported

EXPORTED: Final[Sequence[Exported]] = (
    Exported(table="journals", on_import={"owner_id": OWNER}),
    Exported(table="events"),
)
