"""Gives the tools of a run the credentials of its end user. A run is refused if a required credential is missing. A
tool is left out if its optional credential is missing."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
import structlog

from stoa.db import Database
from stoa.db.internal import internal_statement
from stoa.kernel.clock import Clock
from stoa.kernel.principal import Principal
from stoa.requirements import rules, store
from stoa.requirements.errors import RequirementsUnmet
from stoa.requirements.ports import Exchange, ExchangeFailed, Vault
from stoa.requirements.service import Requirements, tokens_of
from stoa.requirements.store import SQL
from stoa.requirements.types import RequirementState, UserCredentials

_log = structlog.get_logger("stoa.requirements")
_NOTHING = UserCredentials()


class UserCredentialSource:
    def __init__(
        self, database: Database, vault: Vault, exchange: Exchange, requirements: Requirements, clock: Clock
    ) -> None:
        self._database = database
        self._vault = vault
        self._exchange = exchange
        self._requirements = requirements
        self._clock = clock
        self._renewing: dict[UUID, asyncio.Task[Mapping[str, str] | None]] = {}

    async def check(self, principal: Principal, app_id: UUID, user_id: str | None) -> None:
        """To be called before a run starts. Raises RequirementsUnmet."""
        async with self._database.tenant(principal) as tx:
            held = await store.held(tx, principal.org_id, app_id, user_id)
        _check(held, user_id)

    async def lend(self, org_id: UUID, app_id: UUID, user_id: str | None) -> UserCredentials:
        """For a run that a node executes. Raises RequirementsUnmet, because the user may have disconnected since the
        run started."""
        async with internal_statement(self._database) as tx:
            held = await store.held(tx, org_id, app_id, user_id)
        if not held:
            return _NOTHING
        async with internal_statement(self._database) as tx:
            text = await tx.fetchval(SQL.flow, org_id, app_id)
        flow = orjson.loads(text) if text else {}
        opened = [(one, await self._opened(one) if one.met else None) for one in held]
        _check([one if fields is not None else _unmet(one) for one, fields in opened], user_id)
        credentials: dict[str, dict[str, str]] = {}
        withheld: set[str] = set()
        for one, fields in opened:
            for tool in rules.tools_of(one.requirement, flow):
                if fields is None:
                    withheld.add(tool)
                else:
                    credentials.setdefault(tool, {}).update(fields)
        return UserCredentials(credentials, frozenset(withheld))

    async def _opened(self, held: RequirementState) -> Mapping[str, str] | None:
        """The user's fields, or None if they cannot be decrypted or renewed."""
        assert held.connection_id is not None
        assert held.secret is not None
        try:
            fields: dict[str, str] = orjson.loads(self._vault.open(held.connection_id, held.secret))
        except ValueError as error:
            _log.warning("a user's connection cannot be opened", id=str(held.connection_id), reason=str(error))
            return None
        early = timedelta(seconds=rules.REFRESH_EARLY_SECONDS)
        if held.expires_at is not None and held.expires_at - early <= self._clock.now():
            return await self._renewed(held, fields)
        return fields

    async def _renewed(self, held: RequirementState, fields: Mapping[str, str]) -> Mapping[str, str] | None:
        """The fields with a new access token. Runs of this node share one renewal, because a refresh token may be
        usable only once."""
        assert held.connection_id is not None
        key = held.connection_id
        if key not in self._renewing:
            task = self._renewing[key] = asyncio.create_task(self._renew(held, fields), name=f"renew {key}")
            task.add_done_callback(lambda _: self._renewing.pop(key, None))
        return await asyncio.shield(self._renewing[key])

    async def _renew(self, held: RequirementState, fields: Mapping[str, str]) -> Mapping[str, str] | None:
        """Calls the service outside of any transaction. If another node has renewed the token meanwhile, the database
        keeps that node's token."""
        requirement, connection_id = held.requirement, held.connection_id
        assert connection_id is not None
        refresh = fields.get("refresh_token")
        if refresh is None:
            return await self._given_up(held)
        form, client = {"grant_type": "refresh_token", "refresh_token": refresh}, self._requirements.client(requirement)
        try:
            answer: Mapping[str, Any] = await self._exchange(requirement.spec["token_url"], form, client)
        except ExchangeFailed as error:
            _log.warning("a user's token could not be renewed", id=str(connection_id), reason=error.message)
            return await self._given_up(held) if error.refused else None
        got, seconds = tokens_of(answer)
        renewed = {**fields, **got}
        ends = self._clock.now() + timedelta(seconds=seconds) if seconds is not None else None
        sealed = self._vault.seal(connection_id, orjson.dumps(renewed).decode())
        async with internal_statement(self._database) as tx:
            await tx.fetchval(SQL.renew, requirement.org_id, connection_id, sealed, ends, held.secret)
        return renewed

    async def _given_up(self, held: RequirementState) -> Mapping[str, str] | None:
        """Deletes a connection that its service no longer accepts. If it was renewed or replaced meanwhile, returns the
        new fields."""
        org_id, connection_id = held.requirement.org_id, held.connection_id
        assert connection_id is not None
        async with internal_statement(self._database) as tx:
            if await tx.fetchval(SQL.drop_connection, org_id, connection_id, held.secret) is not None:
                return None
        async with internal_statement(self._database) as tx:
            secret = await tx.fetchval(SQL.connection_secret, org_id, connection_id)
        return orjson.loads(self._vault.open(connection_id, secret)) if secret is not None else None


def _unmet(held: RequirementState) -> RequirementState:
    return RequirementState(held.requirement, None, None, None)


def _check(held: Sequence[RequirementState], user_id: str | None) -> None:
    unmet = {
        str(one.requirement.id): one.requirement.title for one in held if not (one.met or one.requirement.optional)
    }
    if unmet:
        raise RequirementsUnmet(user_id, unmet)
