"""The identity of a tool call that must take effect once, however often it is made."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class EffectKey:
    """The run and its tool call."""

    org_id: UUID
    project_id: UUID
    run_id: UUID
    call_id: UUID
