"""Skills, as the API and agents use them. One transaction per method."""

import asyncio
from collections.abc import Collection, Sequence
from typing import Final
from uuid import UUID

import asyncpg

from stoa.db import Database, Tx, audit, idempotency
from stoa.db.idempotency import IdempotencyKey
from stoa.db.receipts import Receipts, Removed
from stoa.kernel.errors import Conflict
from stoa.kernel.ids import Ids
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal
from stoa.skills import archives, rules, store
from stoa.skills.ports import Projects
from stoa.skills.store import SQL
from stoa.skills.types import NewVersion, Skill, SkillVersion

KINDS: Final = ("skill",)
"""Kinds of deletion receipts."""


class Skills:
    def __init__(self, database: Database, projects: Projects, receipts: Receipts, ids: Ids) -> None:
        self._database = database
        self._projects = projects
        self._receipts = receipts
        self._ids = ids

    # --- skills -----------------------------------------------------------------------------------------------------
    async def create(
        self, principal: Principal, name: str, new: NewVersion, project_id: UUID | None, once: IdempotencyKey | None
    ) -> Skill:
        """Creates the skill and its first version. Raises Conflict if the project has a skill of that name."""
        home = await self._projects.chosen(principal, project_id)
        try:
            async with self._database.tenant(principal) as tx:
                if once and (first := await idempotency.claim(tx, principal, once)):
                    return await store.skill(tx, principal.org_id, UUID(first["id"]))
                if await tx.fetchval(SQL.count_skills, principal.org_id, home) >= rules.SKILLS_MAX:
                    raise Conflict(f"This project has {rules.SKILLS_MAX} skills, the most it may have; delete some.")
                skill_id = self._ids.new()
                values = (skill_id, name, new.description, principal.key_id)
                await tx.execute(SQL.insert_skill, principal.org_id, home, *values)
                await store.insert_version(tx, principal, skill_id, self._ids.new(), new)
                await audit.record(tx, principal, "skill.create", skill_id)
                if once:
                    await idempotency.record(tx, principal, once, {"id": str(skill_id)}, skill_id)
                return await store.skill(tx, principal.org_id, skill_id)
        except asyncpg.UniqueViolationError as error:
            raise _taken(name) from error

    async def list(self, principal: Principal, project_id: UUID | None, page: PageRequest) -> Page[Skill]:
        async with self._database.tenant(principal) as tx:
            found, total = await store.list_skills(tx, principal.org_id, project_id, page)
        return Page(found, page.page, page.page_size, total)

    async def get(self, principal: Principal, skill_id: UUID) -> Skill:
        async with self._database.tenant(principal) as tx:
            return await store.skill(tx, principal.org_id, skill_id)

    async def known(self, principal: Principal, references: Sequence[tuple[str, UUID]]) -> Collection[tuple[str, UUID]]:
        """The (kind, id) pairs that are skills which the principal can see."""
        ids = [its_id for kind, its_id in references if kind == "skill"]
        if not ids:
            return ()
        async with self._database.tenant(principal) as tx:
            return {("skill", row["id"]) for row in await tx.fetch(SQL.known_skills, principal.org_id, ids)}

    async def update(self, principal: Principal, skill_id: UUID, name: str | None, description: str | None) -> Skill:
        """None keeps a field. Versions do not change."""
        try:
            async with self._database.tenant(principal) as tx:
                before = await self._locked(tx, principal.org_id, skill_id)
                changed = (name or before.name, before.description if description is None else description)
                await tx.execute(SQL.update_skill, principal.org_id, skill_id, *changed)
                await audit.record(tx, principal, "skill.update", skill_id)
                return await store.skill(tx, principal.org_id, skill_id)
        except asyncpg.UniqueViolationError as error:
            raise _taken(str(name)) from error

    async def delete(self, principal: Principal, skill_id: UUID) -> UUID:
        """Deletes the skill and its versions. Returns the receipt's id."""
        async with self._database.tenant(principal) as tx:
            versions = await tx.fetchrow(SQL.delete_skill_versions, principal.org_id, skill_id)
            assert versions is not None, "an aggregate gives a row"
            gone = await tx.fetchrow(SQL.delete_skill, principal.org_id, skill_id)
            if gone is None:
                raise store.no_skill(skill_id)
            stores = {"skills": (1, gone["bytes"]), "skill_versions": (versions["rows"], versions["bytes"])}
            receipt = await self._receipts.write(tx, principal, Removed("skill", skill_id, gone["project_id"], stores))
        await self._receipts.finish(principal.org_id, receipt)
        return receipt

    # --- versions ---------------------------------------------------------------------------------------------------
    async def add_version(
        self, principal: Principal, skill_id: UUID, new: NewVersion, once: IdempotencyKey | None
    ) -> SkillVersion:
        """Adds the newest version. The skill takes over its description."""
        async with self._database.tenant(principal) as tx:
            if once and (first := await idempotency.claim(tx, principal, once)):
                return await store.version(tx, principal.org_id, skill_id, UUID(first["id"]))
            before = await self._locked(tx, principal.org_id, skill_id)
            if await tx.fetchval(SQL.count_versions, principal.org_id, skill_id) >= rules.VERSIONS_MAX:
                raise Conflict(f"This skill has {rules.VERSIONS_MAX} versions, the most it may have.")
            version_id = self._ids.new()
            await store.insert_version(tx, principal, skill_id, version_id, new)
            await tx.execute(SQL.update_skill, principal.org_id, skill_id, before.name, new.description)
            await audit.record(tx, principal, "skill.version", skill_id)
            if once:
                await idempotency.record(tx, principal, once, {"id": str(version_id)}, skill_id)
            return await store.version(tx, principal.org_id, skill_id, version_id)

    async def versions(self, principal: Principal, skill_id: UUID, page: PageRequest) -> Page[SkillVersion]:
        async with self._database.tenant(principal) as tx:
            await store.skill(tx, principal.org_id, skill_id)
            query = SQL.list_versions.format(order=page.order_by("version DESC"))
            rows = await tx.fetch(query, principal.org_id, skill_id, page.page_size, page.offset)
            total = await tx.fetchval(SQL.count_versions, principal.org_id, skill_id)
        return Page([store.version_of(row) for row in rows], page.page, page.page_size, total)

    async def version(
        self, principal: Principal, skill_id: UUID, named: UUID | int | None
    ) -> tuple[Skill, SkillVersion]:
        async with self._database.tenant(principal) as tx:
            found = await store.skill(tx, principal.org_id, skill_id)
            return found, await store.version(tx, principal.org_id, skill_id, named)

    async def archive(self, principal: Principal, skill_id: UUID, named: UUID | int | None) -> tuple[Skill, bytes]:
        """The version as a ZIP, with exactly the bytes that were uploaded."""
        found, version = await self.version(principal, skill_id, named)
        content = await self._content(principal, version.id)
        if content is None:
            content = await asyncio.to_thread(archives.written, found.name, version.description, version.instructions)
        return found, content

    async def file(self, principal: Principal, version_id: UUID, path: str) -> str | None:
        """The text of a file of a version, or None if there is no such file. Raises ArchiveError if it is not text."""
        content = await self._content(principal, version_id)
        return await asyncio.to_thread(archives.file, content, path) if content is not None else None

    async def _content(self, principal: Principal, version_id: UUID) -> bytes | None:
        async with self._database.tenant(principal) as tx:
            return await tx.fetchval(SQL.skill_archive, principal.org_id, version_id)

    async def _locked(self, tx: Tx, org_id: UUID, skill_id: UUID) -> Skill:
        if await tx.fetchrow(SQL.lock_skill, org_id, skill_id) is None:
            raise store.no_skill(skill_id)
        return await store.skill(tx, org_id, skill_id)


def _taken(name: str) -> Conflict:
    return Conflict(
        f"This project has a skill {name!r} already; add a version to it (POST /v1/skills/{{id}}/versions),"
        " or take another name.",
        details={"name": "is taken"},
    )
