"""The tools for what belongs to an agent: its notes on the run's user, its skills, what it publishes."""

from collections.abc import Sequence

from stoa import memory, runs, tools
from stoa.kernel.principal import Principal


class OwnTools:
    def __init__(self, stores: memory.MemoryStores) -> None:
        self._stores = stores

    def __call__(self, run: runs.Run, belongings: runs.Belongings) -> Sequence[tools.Tool]:
        """With the scope of the run's project. Whoever uses a public app without a key has no notes: nobody vouches for
        the user's name."""
        principal = Principal(run.org_id, run.project_id, run.created_by or run.id)
        made: list[tools.Tool] = []
        if belongings.notes is not None and run.end_user is not None:
            made.append(runs.NotesTool(self._stores, belongings.notes, principal, run.end_user))
        return made
