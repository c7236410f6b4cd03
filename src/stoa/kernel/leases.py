"""How long each kind of leased job stays with the node that claimed it, and how a node's capacity is shared by
projects.

A job is a row that is its own queue. A node claims it under a lease, renews the lease while it works, and every write
of the work is fenced: it checks that the row still names this node and this attempt. When the lease runs out, any node
claims the job (`stoa.db.leases`). This module is the one table of lease times; `docs/guide/operate.md` and the handbook
are tested against it.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Lease:
    seconds: float
    """Without a renewal for so long, any node may claim the job."""
    renew_seconds: float
    poll_seconds: float
    """How often a node looks for unclaimed jobs when no notification wakes it."""
    attempts_max: int
    """Claims of one job before it fails: a job that crashes its server must not do so for ever."""


RUN: Final = Lease(seconds=4.0, renew_seconds=1.0, poll_seconds=0.5, attempts_max=3)
"""A node has one lease for all its runs. Other nodes poll every half second, so the runs of a frozen node continue
elsewhere within five seconds."""
ITEM: Final = Lease(seconds=60.0, renew_seconds=10.0, poll_seconds=1.0, attempts_max=6)
SYNC: Final = Lease(seconds=60.0, renew_seconds=5.0, poll_seconds=1.0, attempts_max=4)
CALLBACK: Final = Lease(seconds=60.0, renew_seconds=10.0, poll_seconds=1.0, attempts_max=8)
"""A callback's attempts are those of its receiver too: the eighth that fails is the last."""
FIRING: Final = Lease(seconds=30.0, renew_seconds=10.0, poll_seconds=1.0, attempts_max=6)
"""Of an event of a trigger. Starting its run is one transaction, which takes milliseconds."""

ITEMS_MAX: Final = 24
"""Items of knowledge bases that a node works on at once: while some are embedded, others are read. At most five of them
are large files."""
SYNCS_MAX: Final = 5
CALLBACKS_AT_ONCE_MAX: Final = 20
"""Callbacks that a node sends at once. The slow receivers of one project occupy nine tenths of them (`SHARE`)."""
FIRINGS_MAX: Final = 8
"""Events of triggers whose runs a node begins at once."""

SHARE: Final = 9
"""A project may take another place while it has fewer than `SHARE` times the free places."""


@dataclass(frozen=True, slots=True)
class ClaimLimits:
    """What a claim statement may take: `jobs_max` jobs, and of each project at most its remaining share."""

    jobs_max: int
    projects: Sequence[UUID]
    """Projects with jobs on this node; `rooms` is how many more each may have."""
    rooms: Sequence[int]
    room_of_others: int
    after: UUID
    """The project that was served last: the next claim starts with the following id."""

    def arguments(self) -> tuple[object, ...]:
        return (self.jobs_max, self.projects, self.rooms, self.room_of_others, self.after)


_UNKNOWN: Final = UUID(int=0)


class Places:
    """How many jobs of one kind this node runs at once, how many of them each project may have, and which project is
    next.

    A place is the capacity for one job. A project may take another one while it has fewer than `per_project_max`, and
    fewer than `SHARE` times the free places. So one project alone gets nine tenths of the node, two get 47 % each, and
    a new project nearly always finds a free place (network switches share their buffers by the same dynamic threshold).
    """

    def __init__(self, places_max: int, per_project_max: int | None = None) -> None:
        self.places_max = places_max
        self._per_project_max = per_project_max or places_max
        self._taken: Counter[UUID] = Counter()
        self._total = 0
        self._after = _UNKNOWN

    @property
    def taken(self) -> int:
        return self._total

    @property
    def free(self) -> int:
        return max(0, self.places_max - self._total)

    def take(self, project_id: UUID | None) -> None:
        """None: a project that is not known yet."""
        project_id = project_id or _UNKNOWN
        self._taken[project_id] += 1
        self._total += 1

    def leave(self, project_id: UUID | None) -> None:
        project_id = project_id or _UNKNOWN
        self._total -= 1
        self._taken[project_id] -= 1
        if not self._taken[project_id]:
            del self._taken[project_id]

    def room(self, project_id: UUID | None) -> int:
        """How many more jobs the project may have here. None: a project that is not known yet, so the fullest one
        counts."""
        if project_id is not None:
            return self._room(self._taken[project_id])
        fullest = max((taken for one, taken in self._taken.items() if one != _UNKNOWN), default=0)
        return self._room(fullest + self._taken[_UNKNOWN])

    def wanted(self, jobs_max: int) -> ClaimLimits:
        rooms = [self._room(taken) for taken in self._taken.values()]
        return ClaimLimits(min(jobs_max, self.free), list(self._taken), rooms, self._room(0), self._after)

    def served(self, projects: Collection[UUID]) -> None:
        """The projects whose jobs a claim took: the next claim begins after the last of them."""
        if projects:
            self._after = max(projects, key=lambda one: (one <= self._after, one))

    def _room(self, taken: int) -> int:
        # The n-th further place may be taken while taken + n - 1 < SHARE * (free - (n - 1)).
        shared = ceil((SHARE * self.free - taken) / (SHARE + 1))
        return max(0, min(shared, self._per_project_max - taken, self.free))
