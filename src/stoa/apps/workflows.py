"""Workflows as their owners use them: drawn, saved, released. One transaction per method."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson

from stoa.apps import flows, store
from stoa.apps.ports import Definitions, Projects
from stoa.apps.store import SQL
from stoa.apps.types import Drawing, Version, Workflow
from stoa.db import Database, audit, idempotency
from stoa.db.idempotency import IdempotencyKey
from stoa.kernel.errors import NotFound
from stoa.kernel.ids import Ids
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal


class Workflows:
    def __init__(self, database: Database, projects: Projects, definitions: Definitions, ids: Ids) -> None:
        self._database = database
        self._projects = projects
        self._definitions = definitions
        self._ids = ids

    async def create(
        self,
        principal: Principal,
        project_id: UUID | None,
        name: str,
        description: str | None,
        drawing: Drawing,
        once: IdempotencyKey | None,
    ) -> Workflow:
        home = await self._projects.chosen(principal, project_id)
        async with self._database.tenant(principal) as tx:
            if once and (first := await idempotency.claim(tx, principal, once)):
                return await store.workflow(tx, principal.org_id, UUID(first["id"]))
            workflow_id = self._ids.new()
            await tx.execute(
                SQL.insert_workflow,
                principal.org_id,
                home,
                workflow_id,
                name,
                description,
                drawing.flow,
                drawing.flow_ui,
                principal.key_id,
            )
            await audit.record(tx, principal, "workflow.create", workflow_id)
            if once:
                await idempotency.record(tx, principal, once, {"id": str(workflow_id)}, workflow_id)
            return await store.workflow(tx, principal.org_id, workflow_id)

    async def list(self, principal: Principal, page: PageRequest, project_id: UUID | None) -> Page[Workflow]:
        async with self._database.tenant(principal) as tx:
            found, total = await store.list_workflows(tx, principal.org_id, project_id, page)
        return Page(found, page.page, page.page_size, total)

    async def get(self, principal: Principal, workflow_id: UUID) -> Workflow:
        async with self._database.tenant(principal) as tx:
            return await store.workflow(tx, principal.org_id, workflow_id)

    async def update(
        self, principal: Principal, workflow_id: UUID, fields: frozenset[str], name: str | None, description: str | None
    ) -> Workflow:
        """Name and description, where `fields` names them; the flow is saved by `save`."""
        async with self._database.tenant(principal) as tx:
            arguments = ("name" in fields, name, "description" in fields, description, principal.key_id)
            if await tx.fetchval(SQL.update_workflow, principal.org_id, workflow_id, *arguments) is None:
                raise store.no_workflow(workflow_id)
            await audit.record(tx, principal, "workflow.update", workflow_id)
            return await store.workflow(tx, principal.org_id, workflow_id)

    async def save(self, principal: Principal, workflow_id: UUID, drawing: Drawing) -> Workflow:
        """Stores the flow as it is: what is being drawn need not run yet."""
        async with self._database.tenant(principal) as tx:
            saved = (principal.org_id, workflow_id, drawing.flow, drawing.flow_ui, principal.key_id)
            if await tx.fetchval(SQL.save_flow, *saved) is None:
                raise store.no_workflow(workflow_id)
            await audit.record(tx, principal, "workflow.save", workflow_id)
            return await store.workflow(tx, principal.org_id, workflow_id)

    async def release(
        self, principal: Principal, workflow_id: UUID, name: str, drawing: Drawing, once: IdempotencyKey | None
    ) -> Version:
        """A new version, which never changes; its flow becomes the workflow's. Raises BadRequest naming each bad node."""
        await self.get(principal, workflow_id)
        agent = await self._checked(principal, orjson.loads(drawing.flow))
        async with self._database.tenant(principal) as tx:
            if once and (first := await idempotency.claim(tx, principal, once)):
                return await self._version(tx, principal, workflow_id, UUID(first["id"]))
            saved = (principal.org_id, workflow_id, drawing.flow, drawing.flow_ui, principal.key_id)
            row = await tx.fetchrow(SQL.next_version, *saved)
            if row is None:
                raise store.no_workflow(workflow_id)
            version_id = self._ids.new()
            await tx.execute(
                SQL.insert_version,
                principal.org_id,
                row["project_id"],
                version_id,
                workflow_id,
                row["versions"],
                name,
                drawing.flow,
                drawing.flow_ui,
                agent,
                principal.key_id,
            )
            await audit.record(tx, principal, "workflow.release", version_id)
            if once:
                await idempotency.record(tx, principal, once, {"id": str(version_id)}, workflow_id)
            return await self._version(tx, principal, workflow_id, version_id)

    async def _checked(self, principal: Principal, flow: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The checked definition of a shorthand's agent; None for a graph."""
        found = flows.read(flow)
        if isinstance(found, flows.Graph):
            return None
        return await self._definitions.checked_agent(principal, found.agent)

    async def versions(self, principal: Principal, workflow_id: UUID, page: PageRequest) -> Page[Version]:
        async with self._database.tenant(principal) as tx:
            await store.workflow(tx, principal.org_id, workflow_id)
            found, total = await store.list_versions(tx, principal.org_id, workflow_id, page)
        return Page(found, page.page, page.page_size, total)

    async def version(self, principal: Principal, workflow_id: UUID, version_id: UUID) -> Version:
        async with self._database.tenant(principal) as tx:
            return await self._version(tx, principal, workflow_id, version_id)

    @staticmethod
    async def _version(tx: Any, principal: Principal, workflow_id: UUID, version_id: UUID) -> Version:
        found = await store.version(tx, principal.org_id, workflow_id, version_id)
        if found is None:
            raise NotFound(f"There is no version {version_id} of the workflow {workflow_id}.")
        return found
