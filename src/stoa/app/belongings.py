"""What agents have beside their tools: memories, notes on the run's user, skills. Their slices, and their tools."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from stoa import access, memory, runs, skills, tools
from stoa.app.adapters import Known
from stoa.http.component import Component, Kit
from stoa.kernel.errors import NotFound
from stoa.kernel.principal import Principal
from stoa.memory import component as memory_component
from stoa.skills import component as skills_component


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


@dataclass(frozen=True, slots=True)
class Lent:
    """What runs and definitions of agents are lent; `parts` are the slices."""

    parts: Sequence[Component]
    recalling: memory.Recalling
    own_tools: OwnTools
    known: Sequence[Known]


@asynccontextmanager
async def open_belongings(kit: Kit, owner: access.Access) -> AsyncGenerator[Lent]:
    async with AsyncExitStack() as stack:
        remembered = await stack.enter_async_context(memory_component.open_component(kit, owner))
        taught = await stack.enter_async_context(skills_component.open_component(kit, owner))
        yield Lent(
            [remembered, taught],
            remembered.recalling,
            OwnTools(remembered.stores, taught.skills),
            [remembered.memories.known, taught.skills.known],
        )
