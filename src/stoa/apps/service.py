"""Apps: creation, deployment, access, archiving, deletion. One transaction per method."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import orjson

from stoa.apps import rules, store
from stoa.apps.differences import changes
from stoa.apps.entities import Entities, entities
from stoa.apps.ports import Projects
from stoa.apps.resolving import Resolver
from stoa.apps.store import SQL
from stoa.apps.types import App, AppChanges, AppFilter, Deployment, Models, NewApp, Rollback, Version
from stoa.db import Database, Tx, audit, idempotency
from stoa.db.idempotency import IdempotencyKey
from stoa.kernel.errors import BadRequest
from stoa.kernel.ids import Ids
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal


class Apps:
    def __init__(self, database: Database, projects: Projects, resolver: Resolver, ids: Ids) -> None:
        self._database = database
        self._projects = projects
        self._resolver = resolver
        self._ids = ids

    async def create(self, principal: Principal, new: NewApp, once: IdempotencyKey | None) -> App:
        """An app with its first deployment. Raises BadRequest naming what cannot be deployed."""
        if once and (first := await self._first(principal, once)):
            return await self.get(principal, UUID(first["id"]))
        home = await self._projects.chosen(principal, new.project_id)
        released = await self._released(principal, new.workflow_id, new.workflow_version_id)
        if released.project_id != home:
            raise BadRequest.field("workflow_id", "is a workflow of another project")
        models = await self._models(principal, released)
        async with self._database.tenant(principal) as tx:
            if once and (first := await idempotency.claim(tx, principal, once)):
                return await store.app(tx, principal.org_id, UUID(first["id"]))
            app_id, deployment_id = self._ids.new(), self._ids.new()
            await tx.execute(
                SQL.insert_app,
                principal.org_id,
                home,
                app_id,
                new.name,
                new.description,
                new.access_type.value,
                new.deployment_config or {},
                new.runtime_id,
                deployment_id,
                principal.key_id,
            )
            await store.insert_deployment(tx, principal, app_id, deployment_id, released, models)
            await audit.record(tx, principal, "app.create", app_id)
            if once:
                await idempotency.record(tx, principal, once, {"id": str(app_id)}, app_id)
            return await store.app(tx, principal.org_id, app_id)

    async def deploy(
        self,
        principal: Principal,
        app_id: UUID,
        workflow_id: UUID,
        version_id: UUID | None,
        once: IdempotencyKey | None,
    ) -> App:
        """A new deployment of an app that keeps its id and hostname. Runs under way keep what they began with."""
        app = await self.get(principal, app_id)
        if once and await self._first(principal, once):
            return app
        released = await self._released(principal, workflow_id, version_id)
        models = await self._models(principal, released)
        await self._deploy(principal, app_id, released, models, once)
        return await self.get(principal, app_id)

    async def _deploy(
        self,
        principal: Principal,
        app_id: UUID,
        released: Version,
        models: Models,
        once: IdempotencyKey | None,
        **remembered: str,
    ) -> UUID:
        """The id of the new deployment, or of the one that the same Idempotency-Key has made; `remembered` is kept
        beside it for repetitions."""
        async with self._database.tenant(principal) as tx:
            if once and (first := await idempotency.claim(tx, principal, once)):
                return UUID(first["id"])
            row = await tx.fetchrow(SQL.lock_app, principal.org_id, app_id)
            if row is None:
                raise store.no_app(app_id)
            if row["archived_at"] is not None:
                raise rules.app_archived(app_id)
            if row["project_id"] != released.project_id:
                raise BadRequest.field("workflow_id", "is a workflow of another project")
            deployment_id = self._ids.new()
            await store.insert_deployment(tx, principal, app_id, deployment_id, released, models)
            await tx.execute(SQL.deploy, principal.org_id, app_id, deployment_id, principal.key_id)
            await audit.record(tx, principal, "app.deploy", app_id)
            if once:
                answer = {"id": str(deployment_id), **remembered}
                await idempotency.record(tx, principal, once, answer, app_id)
            return deployment_id

    async def _first(self, principal: Principal, once: IdempotencyKey) -> Any | None:
        """What the same Idempotency-Key got. Asked before anything is checked: what the first request named may be gone
        since then."""
        async with self._database.tenant(principal) as tx:
            return await idempotency.peek(tx, principal, once)

    async def rollback(
        self,
        principal: Principal,
        app_id: UUID,
        deployment_id: UUID | None,
        *,
        dry_run: bool,
        once: IdempotencyKey | None = None,
    ) -> Rollback:
        """Deploys the version of an earlier deployment again; `dry_run` only returns what that would restore.

        Raises NotFound, BadRequest if there is no earlier deployment, and the errors of `deploy`.
        """
        async with self._database.tenant(principal) as tx:
            app = await store.app(tx, principal.org_id, app_id)
            first = await idempotency.peek(tx, principal, once) if once else None
            from_id = UUID(first["from"]) if first else app.latest_deployment_id
            to_id = UUID(first["to"]) if first else deployment_id
            now = await store.deployment_before(tx, principal.org_id, app_id, from_id)
            then = await store.deployment_before(tx, principal.org_id, app_id, to_id)
            if then is None and to_id is not None:
                raise BadRequest.field("deployment_id", "is no deployment of this app")
            if then is None or now is None:
                raise BadRequest("There is nothing to go back to: this app has run one version only.")
            before, after = [
                await store.version(tx, principal.org_id, one.deployed.workflow_id, one.deployed.version_id)
                for one in (now, then)
            ]
        assert after is not None, "a deployment keeps its version"
        flows_of = [orjson.loads(one.drawing.flow) if one and one.drawing else {} for one in (before, after)]
        plan = Rollback(now, then, changes(*flows_of))
        if first:
            return replace(plan, deployment_id=UUID(first["id"]))
        try:
            models = await self._models(principal, after)
        except BadRequest as error:
            if not dry_run:
                raise
            return replace(plan, problem=error.message)
        if dry_run:
            return plan
        ids = {"from": str(now.id), "to": str(then.id)}
        return replace(plan, deployment_id=await self._deploy(principal, app_id, after, models, once, **ids))

    async def _released(self, principal: Principal, workflow_id: UUID, version_id: UUID | None) -> Version:
        """The version to deploy, the latest unless one is named. Raises BadRequest."""
        async with self._database.tenant(principal) as tx:
            if await tx.fetchrow(SQL.workflow, principal.org_id, workflow_id) is None:
                raise BadRequest.field("workflow_id", "is no workflow that this key may use")
            found = await store.version(tx, principal.org_id, workflow_id, version_id)
        if found is not None:
            return found
        if version_id is not None:
            raise BadRequest.field("workflow_version_id", "is no version of this workflow")
        reason = f"has no released version yet; POST /v1/workflows/{workflow_id}/release makes one"
        raise BadRequest.field("workflow_id", reason)

    async def _models(self, principal: Principal, released: Version) -> Models:
        """The version's models in the present catalogue. Raises BadRequest naming the node."""
        assert released.drawing is not None, "a version that is to be deployed is read whole"
        return await self._resolver.models(principal, orjson.loads(released.drawing.flow))

    async def get(self, principal: Principal, app_id: UUID) -> App:
        async with self._database.tenant(principal) as tx:
            return await store.app(tx, principal.org_id, app_id)

    async def entities(self, principal: Principal, app_id: UUID) -> Entities:
        """The names of the app's parts in a stream. Raises NotFound."""
        async with self._database.tenant(principal) as tx:
            app = await store.app(tx, principal.org_id, app_id)
            deployed = app.deployed
            version = await store.version(tx, principal.org_id, deployed.workflow_id, deployed.version_id)
        assert version is not None, "a deployment keeps its version"
        assert version.drawing is not None, "a version that is read alone is read whole"
        return entities(app.id, app.name, orjson.loads(version.drawing.flow))

    async def project_of(self, principal: Principal, app_id: UUID) -> UUID:
        """Raises NotFound."""
        return (await self.get(principal, app_id)).project_id

    async def home(self, principal: Principal, app_id: UUID) -> UUID:
        """The project of an app that takes messages. Raises BadRequest naming `app_id` where there is none."""
        async with self._database.tenant(principal) as tx:
            row = await tx.fetchrow(SQL.lock_app, principal.org_id, app_id)
        if row is None or row["archived_at"] is not None:
            raise BadRequest.field("app_id", "is not an app of this organization" if row is None else "is archived")
        project_id: UUID = row["project_id"]
        return project_id

    async def list(self, principal: Principal, page: PageRequest, wanted: AppFilter) -> Page[App]:
        async with self._database.tenant(principal) as tx:
            found, total = await store.list_apps(tx, principal.org_id, page, wanted)
        return Page.counted(found, page, total)

    async def deployments(self, principal: Principal, app_id: UUID, page: PageRequest) -> Page[Deployment]:
        async with self._database.tenant(principal) as tx:
            await store.app(tx, principal.org_id, app_id)
            found, total = await store.list_deployments(tx, principal.org_id, app_id, page)
        return Page.counted(found, page, total)

    async def update(self, principal: Principal, app_id: UUID, changes: AppChanges) -> App:
        async with self._database.tenant(principal) as tx:
            updated = await tx.fetchval(
                SQL.update_app,
                principal.org_id,
                app_id,
                "name" in changes.fields,
                changes.name,
                "description" in changes.fields,
                changes.description,
                changes.access_type.value if changes.access_type else None,
                principal.key_id,
            )
            return await self._changed(tx, principal, app_id, updated, "app.update")

    async def archive(self, principal: Principal, app_id: UUID, *, archived: bool) -> App:
        """An archived app takes no runs; its conversations stay readable."""
        async with self._database.tenant(principal) as tx:
            done = await tx.fetchval(SQL.archive_app, principal.org_id, app_id, archived, principal.key_id)
            return await self._changed(tx, principal, app_id, done, "app.archive" if archived else "app.restore")

    async def _changed(self, tx: Tx, principal: Principal, app_id: UUID, found: Any, action: str) -> App:
        if found is None:
            raise store.no_app(app_id)
        await audit.record(tx, principal, action, app_id)
        return await store.app(tx, principal.org_id, app_id)

    async def delete(self, principal: Principal, app_id: UUID) -> None:
        """Deletes the app with its deployments. Its conversations stay, and accept no more messages."""
        async with self._database.tenant(principal) as tx:
            if await tx.fetchval(SQL.delete_app, principal.org_id, app_id) is None:
                raise store.no_app(app_id)
            await audit.record(tx, principal, "app.delete", app_id)
