"""Workflows: editing, saving, releasing. One transaction per method."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson

from stoa.apps import store
from stoa.apps.differences import Difference, differences
from stoa.apps.ports import Graphs, Projects
from stoa.apps.resolving import Resolver, shorthand
from stoa.apps.store import SQL
from stoa.apps.types import Drawing, Runnable, Verdict, Version, Workflow
from stoa.db import Database, audit, idempotency
from stoa.db.idempotency import IdempotencyKey
from stoa.kernel.errors import BadRequest, NotFound
from stoa.kernel.ids import Ids
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal


class Workflows:
    def __init__(self, database: Database, projects: Projects, resolver: Resolver, graphs: Graphs, ids: Ids) -> None:
        self._database = database
        self._projects = projects
        self._resolver = resolver
        self._graphs = graphs
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
        return Page.counted(found, page, total)

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
        """Stores the flow unchecked, because a draft may be incomplete."""
        async with self._database.tenant(principal) as tx:
            saved = (principal.org_id, workflow_id, drawing.flow, drawing.flow_ui, principal.key_id)
            if await tx.fetchval(SQL.save_flow, *saved) is None:
                raise store.no_workflow(workflow_id)
            await audit.record(tx, principal, "workflow.save", workflow_id)
            return await store.workflow(tx, principal.org_id, workflow_id)

    async def release(
        self, principal: Principal, workflow_id: UUID, name: str, drawing: Drawing, once: IdempotencyKey | None
    ) -> Version:
        """A new version, which never changes; its flow becomes the workflow's. Raises BadRequest with each bad node."""
        await self.get(principal, workflow_id)
        agent = await self._resolver.agent(principal, orjson.loads(drawing.flow))
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

    async def verdict(self, principal: Principal, workflow_id: UUID, flow: Mapping[str, Any] | None) -> Verdict:
        """Whether a flow (default: the saved one) would run in the project as it is now. Stores nothing."""
        found = await self.get(principal, workflow_id)
        assert found.drawing is not None, "a workflow that is read alone is read whole"
        judged = orjson.loads(found.drawing.flow) if flow is None else flow
        warnings: Sequence[tuple[str, str]] = ()
        try:
            if shorthand(judged) is None:
                warnings = (await self._graphs.read(judged)).warnings
            await self._resolver.models(principal, judged)
        except BadRequest as refusal:
            return Verdict(refusal.details or {"flow": refusal.message}, warnings)
        return Verdict({}, warnings)

    async def runnable(self, principal: Principal, project_id: UUID | None, flow: Mapping[str, Any]) -> Runnable:
        """A flow for a test run, with its models. Raises BadRequest naming each bad node."""
        home = await self._projects.chosen(principal, project_id)
        agent = await self._resolver.agent(principal, flow)
        return Runnable(home, flow, agent, await self._resolver.models(principal, flow))

    async def differences(
        self, principal: Principal, workflow_id: UUID, version_id: UUID, other_id: UUID | None
    ) -> Sequence[Difference]:
        """From another version (default: the previous one) to this one."""
        async with self._database.tenant(principal) as tx:
            after = await self._version(tx, principal, workflow_id, version_id)
            before = (
                await store.version_before(tx, principal.org_id, workflow_id, after.version)
                if other_id is None
                else await self._version(tx, principal, workflow_id, other_id)
            )
        flows = [orjson.loads(one.drawing.flow) if one and one.drawing else {} for one in (before, after)]
        return await asyncio.to_thread(differences, flows[0], flows[1])

    async def versions(self, principal: Principal, workflow_id: UUID, page: PageRequest) -> Page[Version]:
        async with self._database.tenant(principal) as tx:
            await store.workflow(tx, principal.org_id, workflow_id)
            found, total = await store.list_versions(tx, principal.org_id, workflow_id, page)
        return Page.counted(found, page, total)

    async def version(self, principal: Principal, workflow_id: UUID, version_id: UUID) -> Version:
        async with self._database.tenant(principal) as tx:
            return await self._version(tx, principal, workflow_id, version_id)

    @staticmethod
    async def _version(tx: Any, principal: Principal, workflow_id: UUID, version_id: UUID) -> Version:
        found = await store.version(tx, principal.org_id, workflow_id, version_id)
        if found is None:
            raise NotFound(f"There is no version {version_id} of the workflow {workflow_id}.")
        return found
