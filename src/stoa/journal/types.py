"""The values of a journal."""

from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

from stoa.events import TERMINAL, frame

TERMINAL_TYPES: Final[frozenset[int]] = frozenset(int(kind) for kind in TERMINAL)


@dataclass(frozen=True, slots=True)
class JournalKey:
    """Which journal: one per run."""

    org_id: UUID
    run_id: UUID


class Record(NamedTuple):
    """A committed event. `payload` is exactly the bytes of its `data:` line."""

    sequence: int
    type: int
    payload: bytes

    @property
    def terminal(self) -> bool:
        return self.type in TERMINAL_TYPES

    def frame(self) -> bytes:
        return frame(self.sequence, self.type, self.payload)


@dataclass(frozen=True, slots=True)
class Head:
    """A journal's epoch, last sequence and seal."""

    epoch: int
    last_sequence: int
    sealed: bool


class Fenced(Exception):
    """This writer's epoch is over, or the journal is sealed: none of its pending events is stored."""
