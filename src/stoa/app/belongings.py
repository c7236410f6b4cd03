"""The tools for what belongs to an agent: its notes on the run's user, its skills, what it publishes."""

from collections.abc import Sequence
from uuid import UUID

from stoa import memory, runs, skills, tools
from stoa.kernel.errors import NotFound
from stoa.kernel.principal import Principal


class OwnTools:
    def __init__(self, stores: memory.MemoryStores, held: skills.Skills) -> None:
        self._stores = stores
        self._skills = held

    async def __call__(self, run: runs.Run, belongings: runs.Belongings) -> Sequence[tools.Tool]:
        """With the scope of the run's project. Whoever uses a public app without a key has no notes: nobody vouches for
        the user's name."""
        principal = Principal(run.org_id, run.project_id, run.created_by or run.id)
        made: list[tools.Tool] = []
        if belongings.notes is not None and run.end_user is not None:
            made.append(runs.NotesTool(self._stores, belongings.notes, principal, run.end_user))
        if found := await self._found(principal, belongings.skills):
            made.append(runs.SkillsTool(self._skills, principal, found))
        return made

    async def _found(
        self, principal: Principal, uses: Sequence[runs.SkillUse]
    ) -> Sequence[tuple[skills.Skill, skills.SkillVersion]]:
        """Skills that are gone are left out: their agents do without them."""
        found: list[tuple[skills.Skill, skills.SkillVersion]] = []
        for use in uses:
            named = None if use.version == "latest" else UUID(use.version)
            try:
                found.append(await self._skills.version(principal, use.skill_id, named))
            except NotFound:
                continue
        return found
