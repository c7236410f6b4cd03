"""Imports: the client sends a manifest, then the parts in any order, then one transaction writes all of them.

Until it is applied an import consists of its stored parts only, so a project never exists in part. A client that lost
its connection sends the missing parts; if a server dies while applying, PostgreSQL rolls the transaction back.
"""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import orjson

from stoa.db import Database, Tx, audit
from stoa.db.exported import Exported
from stoa.db.internal import internal_statement
from stoa.kernel.clock import Clock
from stoa.kernel.errors import BadRequest, Conflict, Forbidden, Unavailable
from stoa.kernel.ids import Ids
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal
from stoa.kernel.supervise import Supervisor
from stoa.transfer import applying, rules, store
from stoa.transfer.store import SQL
from stoa.transfer.types import Import, ImportStatus, Manifest, Part

SWEEP_SECONDS = 3600.0


class _DryRun(Exception):
    """Raised to roll the transaction back. Carries the report."""

    def __init__(self, report: Mapping[str, Any]) -> None:
        super().__init__()
        self.report = report


class Imports:
    def __init__(self, database: Database, ids: Ids, clock: Clock, exported: Sequence[Exported]) -> None:
        self._database = database
        self._ids = ids
        self._clock = clock
        self._supervisor = Supervisor()
        self._exported = exported

    async def start(self) -> None:
        self._supervisor.keep_every(SWEEP_SECONDS, self._drop_expired, "transfer.imports")

    async def stop(self) -> None:
        await self._supervisor.stop()

    async def begin(self, principal: Principal, value: Mapping[str, Any]) -> tuple[Import, bool]:
        """The import of a manifest, and whether it is new. The same manifest gives the same import, even after that was
        applied. Raises BadRequest, Forbidden, and Conflict if the project exists on this server."""
        _check(principal)
        manifest = await asyncio.to_thread(rules.read_manifest, value)
        digest = hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).digest()
        now = self._clock.now()
        async with self._database.tenant(principal) as tx:
            tables = await store.tables(tx, self._exported)
            rules.check_tables(manifest, {one.name: one.known for one in tables})
            if (done := await tx.fetchval(SQL.applied_before, principal.org_id, digest)) is not None:
                return await store.import_(tx, principal.org_id, done), False
            await self._check_project(tx, principal, manifest)
            if await tx.fetchval(SQL.waiting_imports, principal.org_id) >= rules.WAITING_MAX:
                if (found := await tx.fetchval(SQL.import_of_manifest, principal.org_id, digest)) is None:
                    raise Conflict(
                        f"{rules.WAITING_MAX} imports of this organization wait to be applied; drop one of them."
                    )
                return await store.import_(tx, principal.org_id, found), False
            made = await tx.execute(
                SQL.insert_import,
                principal.org_id,
                manifest.project.id,
                self._ids.new(),
                dict(value),
                digest,
                principal.key_id,
                now,
                now + rules.KEPT,
            )
            found = await tx.fetchval(SQL.import_of_manifest, principal.org_id, digest)
            new = made.endswith(" 1")
            if new:
                await audit.record(tx, principal, "import.create", found)
            return await store.import_(tx, principal.org_id, found), new

    async def list(self, principal: Principal, page: PageRequest) -> Page[Import]:
        _check(principal)
        async with self._database.tenant(principal) as tx:
            found, total = await store.list_imports(tx, principal.org_id, page)
        return Page.counted(found, page, total)

    async def get(self, principal: Principal, import_id: UUID) -> Import:
        _check(principal)
        async with self._database.tenant(principal) as tx:
            return await store.import_(tx, principal.org_id, import_id)

    async def part(self, principal: Principal, import_id: UUID, number: str) -> Part:
        """The manifest's entry for a part. Raises NotFound, BadRequest or Conflict."""
        _check(principal)
        known = number.isascii() and number.isdecimal() and len(number) < 9
        async with self._database.tenant(principal) as tx:
            row = await tx.fetchrow(SQL.part_of_manifest, principal.org_id, import_id, int(number) - 1 if known else -1)
        if row is None:
            raise store.no_import(import_id)
        if row["status"] != ImportStatus.RECEIVING:
            raise Conflict(f"The import {import_id} is applied; it takes no more parts.")
        if not known or int(number) < 1 or row["part"] is None:
            raise BadRequest.field("number", f"is none of the {row['parts']} parts of this import")
        return rules.read_part("part", row["part"])

    async def put_part(self, principal: Principal, import_id: UUID, part: Part, content: bytes) -> None:
        """Stores a part; storing it again does nothing. Raises BadRequest if its hash is not the manifest's."""
        sha256 = await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest())
        if len(content) != part.size or sha256 != part.sha256:
            raise BadRequest(
                f"{part.name} has {len(content)} bytes with the SHA-256 {sha256}; the manifest says {part.size} bytes"
                f" with {part.sha256}. Was it cut off or changed on its way? Send it again."
            )
        await asyncio.to_thread(applying.unpacked, part, content)
        async with self._database.tenant(principal) as tx:
            if await tx.fetchval(SQL.lock_import, principal.org_id, import_id) != ImportStatus.RECEIVING:
                raise Conflict(f"The import {import_id} was applied or dropped meanwhile.")
            await tx.execute(SQL.insert_part, principal.org_id, import_id, part.number, content)

    async def drop(self, principal: Principal, import_id: UUID) -> None:
        _check(principal)
        async with self._database.tenant(principal) as tx:
            if await tx.fetchval(SQL.drop_import, principal.org_id, import_id) is None:
                found = await store.import_(tx, principal.org_id, import_id)
                raise Conflict(f"The import {import_id} is {found.status}; the project is {found.project_id}.")
            await audit.record(tx, principal, "import.delete", import_id)

    async def apply(
        self, principal: Principal, import_id: UUID, models: Mapping[str, str], *, dry_run: bool
    ) -> Mapping[str, Any]:
        """Writes the project in one transaction, which `dry_run` rolls back. Returns a report of what is created.
        `models` maps slugs of the exporting server's models to slugs of this server's. Calling it again returns the
        same report. Raises BadRequest, Conflict, and Unavailable while another import is being applied; in these cases
        nothing was written."""
        found = await self.get(principal, import_id)
        if found.status is ImportStatus.APPLIED:
            assert found.report is not None
            return found.report
        manifest = await asyncio.to_thread(rules.read_manifest, found.manifest)
        if lacking := sorted({part.number for part in manifest.parts} - set(found.received)):
            raise Conflict(
                f"{len(lacking)} parts are missing, the first is {lacking[0]}; send them, and apply it then."
            )
        contents = applying.Contents(principal.org_id, manifest.project.id, keep=not dry_run)
        within = replace(principal, project_id=manifest.project.id)
        try:
            async with self._database.tenant(within, every_owner=True) as tx:
                report = await self._write(tx, principal, found, manifest, contents, models)
                if dry_run:
                    raise _DryRun(report)
                await tx.execute(SQL.applied, principal.org_id, import_id, dict(report), self._clock.now())
                await tx.execute(SQL.drop_parts, principal.org_id, import_id)
                await audit.record(tx, within, "project.import", manifest.project.id)
        except _DryRun as tried:
            return tried.report
        except BaseException:
            await contents.forget()
            raise
        finally:
            contents.close()
        return report

    async def _write(
        self,
        tx: Tx,
        principal: Principal,
        found: Import,
        manifest: Manifest,
        contents: applying.Contents,
        models: Mapping[str, str],
    ) -> Mapping[str, Any]:
        if not await tx.fetchval(SQL.one_at_a_time):
            raise Unavailable(
                "An import is being applied on this server; try again when it is done.", retry_after_seconds=5
            )
        if await tx.fetchval(SQL.lock_import, principal.org_id, found.id) != ImportStatus.RECEIVING:
            raise Conflict(f"The import {found.id} was applied or dropped meanwhile.")
        await tx.execute(SQL.prepare)
        await tx.execute(SQL.numbers)
        await self._check_project(tx, principal, manifest)
        tables = await store.tables(tx, self._exported)
        by_name = {one.name: one for one in tables}
        rules.check_tables(manifest, {one.name: one.known for one in tables})
        standing = await _models(tx, manifest, models)
        project = manifest.project
        values = (project.id, project.name, project.description, project.visibility)
        await tx.execute(SQL.insert_project, principal.org_id, *values)
        writer = applying.Writer(
            tx, principal.org_id, by_name, manifest.columns, _names(principal, project.id), standing
        )
        for part in manifest.parts:
            content = await tx.fetchval(SQL.part, principal.org_id, found.id, part.number)
            raw = await asyncio.to_thread(applying.unpacked, part, content)
            if part.contents:
                await applying.write_contents(contents, part, by_name[part.table], raw)
            else:
                await writer.write(part, raw)
        contents.whole()
        known = manifest.missing_contents
        missing = await applying.check_contents(tx, principal.org_id, project.id, tables, contents.seen, known)
        return {
            "project": {"id": str(project.id), "name": project.name},
            "created": {name: records for name, records in manifest.records.items() if records},
            "contents": len(contents.seen),
            "missing_contents": missing,
            "to_fill_in": list(manifest.to_fill_in),
        }

    async def _check_project(self, tx: Tx, principal: Principal, manifest: Manifest) -> None:
        """Raises Conflict if the project exists on this server: an import keeps ids, so it is possible only once."""
        project = manifest.project
        here = await tx.fetchrow(SQL.project, principal.org_id, project.id) is not None
        if here or await tx.fetchrow(SQL.elsewhere, "projects", principal.org_id, [project.id]) is not None:
            where = "in this organization" if here else "on this server, in another organization"
            raise Conflict(
                f"The project {project.id} ({project.name}) is here already, {where}. An import keeps all ids, so a"
                " project can be on a server once."
            )

    async def _drop_expired(self) -> None:
        async with internal_statement(self._database) as tx:
            await tx.execute(SQL.drop_expired, self._clock.now())


async def _models(tx: Tx, manifest: Manifest, wanted: Mapping[str, str]) -> Mapping[UUID, UUID]:
    """This server's model for each model of the exporting server. Raises BadRequest if one has none."""
    slugs = [wanted.get(slug, slug) for slug in manifest.models.values()]
    here = {row["slug"]: row["id"] for row in await tx.fetch(SQL.models_here, list(manifest.models), slugs)}
    ids = set(here.values())
    standing: dict[UUID, UUID] = {}
    lacking: list[str] = []
    for model_id, slug in manifest.models.items():
        found = here.get(wanted.get(slug, slug)) or (model_id if model_id in ids and slug not in wanted else None)
        if found is None:
            lacking.append(wanted.get(slug, slug))
        else:
            standing[model_id] = found
    if lacking:
        raise BadRequest.field(
            "models",
            f"of the project are not on this server: {', '.join(sorted(set(lacking)))[:1000]}. Make them available"
            ' here, or say what stands for each: {"models": {"theirs": "ours"}}',
        )
    return standing


def _names(principal: Principal, project_id: UUID) -> Mapping[str, str]:
    """SQL expressions for the ids of the importing side. They contain only ids that this server has generated."""
    actor = principal.user_id or principal.key_id
    return {
        "org": f"'{principal.org_id}'::uuid",
        "project": f"'{project_id}'::uuid",
        "actor": f"'{actor}'::uuid",
        "actor_is_user": "true" if principal.user_id is not None else "false",
        "owner": f"'{principal.user_id}'::uuid" if principal.user_id is not None else "NULL::uuid",
    }


def _check(principal: Principal) -> None:
    """Raises Forbidden."""
    if not principal.organization_wide:
        raise Forbidden("A project-scoped key exports and imports no projects, and of users only owners and admins do.")
