"""Names a call of a tool that must take effect once, however often it is made."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class EffectKey:
    """Which call of which run."""

    org_id: UUID
    project_id: UUID
    run_id: UUID
    call_id: UUID
