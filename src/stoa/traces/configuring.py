"""A project's trace settings: how long traces are kept, and where its runs are exported to."""

from collections.abc import Callable
from uuid import UUID

import orjson

from stoa.db import Database, audit
from stoa.kernel.principal import Principal
from stoa.traces import rules, store
from stoa.traces.ports import Projects, Vault
from stoa.traces.store import SQL
from stoa.traces.types import Change, TraceSettings


class Settings:
    def __init__(
        self,
        database: Database,
        projects: Projects,
        vault: Vault,
        changed: Callable[[], None],
        *,
        allow_private: bool,
    ) -> None:
        """`changed` is called after each change, because an export may be due now."""
        self._database = database
        self._projects = projects
        self._vault = vault
        self._changed = changed
        self._allow_private = allow_private

    async def get(self, principal: Principal, project_id: UUID | None) -> TraceSettings:
        """Raises BadRequest."""
        chosen = await self._projects.chosen(principal, project_id)
        async with self._database.tenant(principal) as tx:
            row = await tx.fetchrow(SQL.settings, principal.org_id, chosen)
        return (
            store.settings(row)
            if row is not None
            else TraceSettings(chosen, None, kept_forever=False, export=None, state=None)
        )

    async def change(self, principal: Principal, project_id: UUID | None, wanted: Change) -> TraceSettings:
        """Headers that are left out stay as they are stored, unless the endpoint changes: they were meant for the
        endpoint that they were given for. Raises BadRequest."""
        chosen = await self._projects.chosen(principal, project_id)
        export, sealed, replaced = wanted.export, None, True
        if export is not None:
            rules.checked_endpoint(export.url, allow_private=self._allow_private)
            if export.headers is not None:
                text = orjson.dumps(dict(rules.checked_headers(export.headers))).decode()
                sealed = self._vault.seal(chosen, text)
        async with self._database.tenant(principal) as tx:
            row = await tx.fetchrow(SQL.settings, principal.org_id, chosen)
            if export is not None and export.headers is None and row is not None:
                replaced = not rules.same_origin(row["export_url"], export.url)
            row = await tx.fetchrow(
                SQL.save_settings, principal.org_id, chosen, sealed, replaced, wanted.retention_days,
                wanted.kept_forever, export.url if export else None, export.content if export else False,
                export.paused if export else False,
            )  # fmt: skip
            assert row is not None
            await audit.record(tx, principal, "trace_settings.change", chosen)
        self._changed()
        return store.settings(row)
