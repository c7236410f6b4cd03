"""Callbacks: created with a run, listed, replayed; and the signing secrets of apps."""

import os
from collections.abc import Sequence
from urllib.parse import urlsplit
from uuid import UUID

from stoa.callbacks import rules, store
from stoa.callbacks.ports import Vault
from stoa.callbacks.store import SQL
from stoa.callbacks.types import Callback, CallbackStatus, NewCallback, SigningSecret
from stoa.db import Database, Tx, audit
from stoa.kernel.errors import BadRequest, Conflict, NotFound
from stoa.kernel.ids import Ids
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal
from stoa.outbound import known_private


class Callbacks:
    def __init__(self, database: Database, vault: Vault, ids: Ids, *, allow_private: bool) -> None:
        self._database = database
        self._vault = vault
        self._ids = ids
        self._allow_private = allow_private

    # --- of runs ----------------------------------------------------------------------------------------------------
    def check(self, callbacks: Sequence[NewCallback]) -> None:
        """Raises BadRequest naming `callbacks[0].url`. A name is resolved when it is called, and judged then."""
        for index, one in enumerate(callbacks):
            path = f"callbacks[{index}].url"
            host = urlsplit(rules.checked_url(path, one.url, allow_private=self._allow_private)).hostname or ""
            if not self._allow_private and known_private(host):
                raise BadRequest.field(path, "leads to a private address, which this server's operator has not allowed")

    async def enter(
        self, tx: Tx, org_id: UUID, project_id: UUID, app_id: UUID, run_id: UUID, callbacks: Sequence[NewCallback]
    ) -> None:
        """Inserts callbacks in the transaction that starts the run."""
        for position, one in enumerate(callbacks):
            callback_id = self._ids.new()
            sealed = self._vault.seal(callback_id, one.token) if one.token is not None else None
            await tx.execute(
                SQL.insert_callback,
                org_id,
                project_id,
                callback_id,
                run_id,
                app_id,
                position,
                one.url,
                sealed,
                one.metadata,
            )

    async def remove(self, tx: Tx, org_id: UUID, conversation_id: UUID) -> tuple[int, int]:
        """Deletes the callbacks of a conversation's runs, before the runs. Returns (rows, bytes)."""
        row = await tx.fetchrow(SQL.remove, org_id, conversation_id)
        assert row is not None, "an aggregate gives a row"
        return row["rows"], row["bytes"]

    async def of_run(self, principal: Principal, run_id: UUID, app_id: UUID | None = None) -> Sequence[Callback]:
        """Raises NotFound if the principal cannot see the run, or it does not belong to `app_id`."""
        async with self._database.tenant(principal) as tx:
            await _check_run(tx, principal.org_id, run_id, app_id)
            return await store.of_run(tx, principal.org_id, run_id)

    async def of_app(
        self, principal: Principal, app_id: UUID, statuses: Sequence[CallbackStatus] | None, page: PageRequest
    ) -> Page[Callback]:
        """Callbacks of all runs of an app, newest first. Raises NotFound if the principal cannot see the app."""
        async with self._database.tenant(principal) as tx:
            if await tx.fetchval(SQL.app_is_visible, principal.org_id, app_id) is None:
                raise NotFound(f"There is no app {app_id}.")
            return await store.of_app(tx, principal.org_id, app_id, statuses, page)

    async def replay(self, principal: Principal, run_id: UUID, callback_id: UUID, app_id: UUID | None = None) -> None:
        """Sends it once more, with the same id. Raises NotFound, and Conflict while its run is active."""
        async with self._database.tenant(principal) as tx:
            await _check_run(tx, principal.org_id, run_id, app_id)
            if await tx.fetchval(SQL.replay, principal.org_id, run_id, callback_id) is None:
                status = await tx.fetchval(SQL.callback_status, principal.org_id, run_id, callback_id)
                if status is None:
                    raise NotFound(f"There is no callback {callback_id} of this run.")
                if status == CallbackStatus.WAITING:
                    raise Conflict("This callback is sent when its run ends, and the run goes on.")
                raise Conflict("This callback is being sent right now; look at its attempts in a moment.")
            await audit.record(tx, principal, "callback.replay", callback_id)
            tx.notify("stoa_callbacks")

    # --- of apps ----------------------------------------------------------------------------------------------------
    async def signing_secret(self, principal: Principal, app_id: UUID) -> SigningSecret:
        """The secret with which receivers verify the app's callbacks. The first call creates it. Raises NotFound."""
        async with self._database.tenant(principal) as tx:
            return await self._secret(tx, principal.org_id, app_id)

    async def rotate(self, principal: Principal, app_id: UUID) -> SigningSecret:
        """Creates a new secret. For one day callbacks are signed with the previous secret too."""
        async with self._database.tenant(principal) as tx:
            project_id = await _locked_app(tx, principal.org_id, app_id)
            await tx.execute(SQL.replace_secret, principal.org_id, app_id, float(rules.OVERLAP_SECONDS))
            await self._insert_secret(tx, principal.org_id, project_id, app_id)
            await audit.record(tx, principal, "app.rotate_signing_secret", app_id)
            return await self._secret(tx, principal.org_id, app_id)

    async def secrets(self, tx: Tx, org_id: UUID, app_id: UUID) -> Sequence[str]:
        """All secrets that are used for signing now. Raises NotFound if the app was deleted."""
        await self._secret(tx, org_id, app_id)
        rows = await tx.fetch(SQL.secrets, org_id, app_id)
        return [self._vault.open(row["id"], row["secret"]) for row in rows]

    async def _secret(self, tx: Tx, org_id: UUID, app_id: UUID) -> SigningSecret:
        rows = await tx.fetch(SQL.secrets, org_id, app_id)
        if not rows or rows[0]["expires_at"] is not None:
            project_id = await _locked_app(tx, org_id, app_id)  # If two calls find no secret, the second waits here.
            rows = await tx.fetch(SQL.secrets, org_id, app_id)
            if not rows or rows[0]["expires_at"] is not None:
                await self._insert_secret(tx, org_id, project_id, app_id)
                rows = await tx.fetch(SQL.secrets, org_id, app_id)
        before = rows[1]["expires_at"] if len(rows) > 1 else None
        return SigningSecret(self._vault.open(rows[0]["id"], rows[0]["secret"]), rows[0]["created_at"], before)

    async def _insert_secret(self, tx: Tx, org_id: UUID, project_id: UUID, app_id: UUID) -> None:
        secret_id = self._ids.new()
        sealed = self._vault.seal(secret_id, rules.new_secret(os.urandom(rules.SECRET_BYTES)))
        await tx.execute(SQL.insert_secret, org_id, project_id, secret_id, app_id, sealed)


async def _locked_app(tx: Tx, org_id: UUID, app_id: UUID) -> UUID:
    project_id: UUID | None = await tx.fetchval(SQL.app, org_id, app_id)
    if project_id is None:
        raise NotFound(f"There is no app {app_id}.")
    return project_id


async def _check_run(tx: Tx, org_id: UUID, run_id: UUID, app_id: UUID | None) -> None:
    if await tx.fetchval(SQL.visible_run, org_id, run_id, app_id) is None:
        raise NotFound(f"There is no run {run_id}.")
