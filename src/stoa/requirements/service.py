"""Requirements: owners declare them, end users fulfil them. One transaction per method."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
import structlog

from stoa.db import Database, Tx, audit, idempotency
from stoa.db.idempotency import IdempotencyKey
from stoa.db.internal import internal
from stoa.kernel.clock import Clock
from stoa.kernel.errors import BadRequest, Conflict, NotFound, Unauthorized
from stoa.kernel.ids import Ids
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import CredentialKind, Principal
from stoa.requirements import rules, store
from stoa.requirements.ports import Exchange, ExchangeFailed, Vault
from stoa.requirements.store import SQL
from stoa.requirements.types import (
    Client,
    Connecting,
    NewRequirement,
    Redirect,
    Requirement,
    RequirementState,
    RequirementType,
)

_log = structlog.get_logger("stoa.requirements")


class Requirements:
    def __init__(
        self, database: Database, vault: Vault, exchange: Exchange, ids: Ids, clock: Clock, *, allow_private: bool
    ) -> None:
        self._database = database
        self._vault = vault
        self._exchange = exchange
        self._ids = ids
        self._clock = clock
        self._allow_private = allow_private

    # --- owners -----------------------------------------------------------------------------------------------------
    async def create(
        self, principal: Principal, workflow_id: UUID, new: NewRequirement, once: IdempotencyKey | None = None
    ) -> Requirement:
        rules.check_new(new)
        self._check_urls(new.spec)
        requirement_id = self._ids.new()
        sealed = self._vault.seal(requirement_id, new.client_secret) if new.client_secret is not None else None
        async with self._database.tenant(principal) as tx:
            await _check_workflow(tx, principal.org_id, workflow_id)
            if once and (first := await idempotency.claim(tx, principal, once)):
                return await store.requirement(tx, principal.org_id, workflow_id, UUID(first["id"]))
            row = await tx.fetchrow(
                SQL.insert_requirement,
                principal.org_id,
                requirement_id,
                workflow_id,
                new.name,
                new.type.value,
                new.title,
                new.description,
                new.spec,
                sealed,
                new.optional,
                principal.key_id,
            )
            if row is None:
                raise Conflict(f"This workflow has a requirement named {new.name}.", details={"name": "is taken"})
            await audit.record(tx, principal, "requirement.create", requirement_id)
            if once:
                await idempotency.record(tx, principal, once, {"id": str(requirement_id)}, requirement_id)
            return store.value(row)

    def _check_urls(self, spec: Mapping[str, Any]) -> None:
        for name in ("authorize_url", "token_url"):
            if str(spec.get(name, "")).startswith("http:") and not self._allow_private:
                raise BadRequest.field(f"spec.{name}", "must be an https URL")

    async def list(self, principal: Principal, workflow_id: UUID, page: PageRequest) -> Page[Requirement]:
        async with self._database.tenant(principal) as tx:
            await _check_workflow(tx, principal.org_id, workflow_id)
            where = (principal.org_id, workflow_id)
            rows = await tx.fetch(SQL.list_requirements, *where, page.page_size, page.offset)
            total = await tx.fetchval(SQL.count_requirements, *where)
        return Page.counted([store.value(row) for row in rows], page, total)

    async def get(self, principal: Principal, workflow_id: UUID, requirement_id: UUID) -> Requirement:
        async with self._database.tenant(principal) as tx:
            return await store.requirement(tx, principal.org_id, workflow_id, requirement_id)

    async def update(
        self,
        principal: Principal,
        workflow_id: UUID,
        requirement_id: UUID,
        title: str,
        description: str | None,
        *,
        optional: bool,
    ) -> Requirement:
        """Changes the title, the description, and whether the requirement is optional."""
        async with self._database.tenant(principal) as tx:
            changed = (principal.org_id, workflow_id, requirement_id, title, description, optional)
            row = await tx.fetchrow(SQL.update_requirement, *changed)
            if row is None:
                raise store.no_requirement(requirement_id)
            await audit.record(tx, principal, "requirement.update", requirement_id)
            return store.value(row)

    async def delete(self, principal: Principal, workflow_id: UUID, requirement_id: UUID) -> None:
        """Deletes the requirement and what users have connected for it."""
        async with self._database.tenant(principal) as tx:
            gone = await tx.fetchval(SQL.delete_requirement, principal.org_id, workflow_id, requirement_id)
            if gone is None:
                raise store.no_requirement(requirement_id)
            await audit.record(tx, principal, "requirement.delete", requirement_id)

    # --- apps -------------------------------------------------------------------------------------------------------
    async def held(self, principal: Principal, app_id: UUID, user_id: str | None = None) -> Sequence[RequirementState]:
        """The app's requirements, with what this user has connected."""
        async with self._database.tenant(principal) as tx:
            return await store.held(tx, principal.org_id, app_id, user_id)

    async def check_offered(self, principal: Principal, app_id: UUID, requirement_ids: Sequence[UUID]) -> None:
        """Raises BadRequest for a requirement that the app does not have."""
        known = {one.requirement.id for one in await self.held(principal, app_id)}
        for index, one in enumerate(requirement_ids):
            if one not in known:
                raise BadRequest.field(f"requirement_ids[{index}]", "is no requirement of this app")

    async def disconnect(self, principal: Principal, app_id: UUID, requirement_id: UUID, user_id: str) -> None:
        """Raises NotFound if this user has connected nothing for it."""
        async with self._database.tenant(principal) as tx:
            gone = await tx.fetchval(SQL.disconnect, principal.org_id, app_id, requirement_id, user_id)
            if gone is None:
                raise NotFound(f"The user {user_id} has connected nothing for the requirement {requirement_id}.")
            await audit.record(tx, principal, "requirement.disconnect", requirement_id)

    # --- end users --------------------------------------------------------------------------------------------------
    async def offered(self, whom: Connecting) -> Sequence[RequirementState]:
        """What the token's user may connect. Raises Unauthorized if the app was deleted or archived."""
        async with self._database.tenant(_principal(whom)) as tx:
            return await self._offered(tx, whom)

    async def _offered(self, tx: Tx, whom: Connecting) -> Sequence[RequirementState]:
        if await tx.fetchval(SQL.app, whom.org_id, whom.app_id) is None:
            raise Unauthorized("This connect token is of an app that is not there any more.")
        held = await store.held(tx, whom.org_id, whom.app_id, whom.user_id)
        return [one for one in held if not whom.requirement_ids or one.requirement.id in whom.requirement_ids]

    async def _one(self, tx: Tx, whom: Connecting, requirement_id: UUID) -> Requirement:
        for held in await self._offered(tx, whom):
            if held.requirement.id == requirement_id:
                return held.requirement
        raise store.no_requirement(requirement_id)

    async def give(self, whom: Connecting, requirement_id: UUID, kind: str, config: Mapping[str, Any]) -> None:
        """Stores the fields that the user has typed. Raises BadRequest naming a missing or unknown field."""
        async with self._database.tenant(_principal(whom)) as tx:
            requirement = await self._one(tx, whom, requirement_id)
            given = rules.checked_config(requirement, kind, config)
            await self._connect(tx, whom, requirement_id, given, None)

    async def _connect(
        self, tx: Tx, whom: Connecting, requirement_id: UUID, fields: Mapping[str, str], seconds: float | None
    ) -> None:
        connection_id = self._ids.new()
        sealed = self._vault.seal(connection_id, orjson.dumps(fields).decode())
        ends = self._clock.now() + timedelta(seconds=seconds) if seconds is not None else None
        whose = (whom.org_id, whom.project_id, connection_id, whom.app_id, requirement_id, whom.user_id)
        await tx.execute(SQL.connect, *whose, sealed, ends)
        await audit.record(tx, _principal(whom), "requirement.connect", requirement_id)

    async def authorize(self, whom: Connecting, requirement_id: UUID, redirect_uri: str) -> Redirect:
        """The URL to redirect the user's browser to. It must return to `complete` within ten minutes."""
        state, verifier, cookie = (secrets.token_urlsafe(32) for _ in range(3))
        attempt_id = self._ids.new()
        async with self._database.tenant(_principal(whom)) as tx:
            requirement = await self._one(tx, whom, requirement_id)
            if requirement.type is RequirementType.PIPEDREAM_ACCOUNT or not requirement.oauth2:
                raise BadRequest.field("requirement_id", "is not authorized by OAuth2; send credentials")
            await tx.execute(SQL.forget_attempts, whom.org_id, whom.app_id)
            await tx.execute(
                SQL.insert_attempt,
                whom.org_id,
                whom.project_id,
                attempt_id,
                whom.app_id,
                requirement_id,
                whom.user_id,
                rules.digest(state),
                rules.digest(cookie),
                self._vault.seal(attempt_id, verifier),
                redirect_uri,
                self._clock.now() + timedelta(seconds=rules.ATTEMPT_SECONDS),
            )
        return Redirect(rules.authorize_url(requirement, redirect_uri, state, verifier), cookie)

    async def complete(self, state: str, code: str, cookie: str) -> None:
        """Exchanges the code with which the browser returned. Raises BadRequest if it is another browser, or if the
        service refuses the code."""
        async with internal(self._database) as tx:
            row = await tx.fetchrow(SQL.take_attempt, rules.digest(state))
        if row is None or row["expires_at"] < self._clock.now():
            raise BadRequest("This authorization has expired, or was used already; begin again from the link.")
        if not secrets.compare_digest(row["browser"], rules.digest(cookie)):
            raise BadRequest("This authorization was begun in another browser; begin again from the link.")
        whom = Connecting(row["org_id"], row["project_id"], row["app_id"], row["user_id"])
        async with self._database.tenant(_principal(whom)) as tx:
            requirement = await store.requirement(tx, whom.org_id, row["workflow_id"], row["requirement_id"])
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": row["redirect_uri"],
            "code_verifier": self._vault.open(row["attempt_id"], row["verifier"]),
        }
        try:
            answer = await self._exchange(requirement.spec["token_url"], form, self.client(requirement))
        except ExchangeFailed as error:
            _log.warning("authorization failed", requirement_id=str(requirement.id), reason=error.message)
            raise BadRequest(error.message) from error
        fields, seconds = tokens_of(answer)
        async with self._database.tenant(_principal(whom)) as tx:
            await self._one(tx, whom, requirement.id)  # The app may have been deleted meanwhile.
            await self._connect(tx, whom, requirement.id, fields, seconds)

    def client(self, requirement: Requirement) -> Client:
        """The client id and secret of this server at the requirement's OAuth2 service."""
        secret = self._vault.open(requirement.id, requirement.secret) if requirement.secret is not None else None
        return Client(str(requirement.spec["client_id"]), secret, in_form=requirement.spec.get("client_auth") == "post")


def tokens_of(answer: Mapping[str, Any]) -> tuple[Mapping[str, str], float | None]:
    """The fields to store of a token endpoint's response, and in how many seconds the access token expires."""
    fields = {name: answer[name] for name in ("access_token", "refresh_token") if isinstance(answer.get(name), str)}
    seconds = answer.get("expires_in")
    return fields, float(seconds) if isinstance(seconds, int | float) and 0 < seconds < 10**9 else None


async def _check_workflow(tx: Tx, org_id: UUID, workflow_id: UUID) -> None:
    if await tx.fetchval(SQL.workflow, org_id, workflow_id) is None:
        raise NotFound(f"There is no workflow {workflow_id}.")


def _principal(whom: Connecting) -> Principal:
    """A principal of the app's project, without permissions for any route."""
    return Principal(whom.org_id, whom.project_id, whom.app_id, frozenset(), credential=CredentialKind.CONNECT_TOKEN)
