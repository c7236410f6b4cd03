"""Connections: providers that a tenant adds. Their credentials are encrypted at rest and never readable back."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

import asyncpg

from stoa.db import Database, Row, Tx, audit, idempotency
from stoa.db.idempotency import IdempotencyKey
from stoa.gateway.catalogue import SQL
from stoa.gateway.offers import Offer, ProviderError
from stoa.gateway.registry import root
from stoa.gateway.secrets import Vault
from stoa.gateway.types import Endpoint
from stoa.kernel.errors import BadRequest, Conflict, NotFound
from stoa.kernel.ids import Ids
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal
from stoa.outbound import origin_of


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection without its credential."""

    id: UUID
    org_id: UUID
    project_id: UUID
    name: str
    type: str
    base_url: str | None
    has_api_key: bool
    ca_bundle: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class NewConnection:
    """`models` are named by the caller; None: the provider lists them."""

    name: str
    endpoint: Endpoint
    models: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class ChangedConnection:
    """An `api_key` of None keeps the old one. Named `models` are added to the existing ones."""

    base_url: str | None
    api_key: str | None
    ca_bundle: str | None
    models: Sequence[str] | None = None


class Projects(Protocol):
    async def home(self, principal: Principal) -> UUID: ...


AskOffers = Callable[[Endpoint, Sequence[str] | None], Awaitable[Sequence[Offer]]]
"""Checks address and key, and returns the provider's models, or the named ones. Raises ProviderError."""


class Connections:
    def __init__(self, database: Database, vault: Vault, projects: Projects, ask: AskOffers, ids: Ids) -> None:
        self._database = database
        self._vault = vault
        self._projects = projects
        self._ask = ask
        self._ids = ids

    async def create(self, principal: Principal, new: NewConnection, once: IdempotencyKey | None) -> Connection:
        """Requests the provider's models first, so that a connection that cannot work is not created. The models join
        the catalogue at once."""
        if once:
            async with self._database.tenant(principal) as tx:
                if first := await idempotency.peek(tx, principal, once):
                    return await self.get(principal, UUID(first["id"]))
        endpoint = new.endpoint
        offers = await self._offers(endpoint, new.models)
        project_id = await self._projects.home(principal)
        connection_id = self._ids.new()
        sealed = self._vault.seal(connection_id, endpoint.api_key) if endpoint.api_key else None
        try:
            async with self._database.tenant(principal) as tx:
                if once and (first := await idempotency.claim(tx, principal, once)):
                    row = await tx.fetchrow(SQL.connection, principal.org_id, UUID(first["id"]))
                    return _value(row, UUID(first["id"]))
                row = await tx.fetchrow(
                    SQL.insert_connection,
                    principal.org_id,
                    project_id,
                    connection_id,
                    new.name,
                    endpoint.type,
                    endpoint.base_url,
                    sealed,
                    endpoint.ca_bundle,
                )
                await self._join(tx, _value(row, connection_id), offers)
                await audit.record(tx, principal, "connection.create", connection_id)
                if once:
                    await idempotency.record(tx, principal, once, {"id": str(connection_id)}, connection_id)
        except asyncpg.UniqueViolationError as error:
            raise Conflict(f"There is a connection named {new.name} already.", details={"name": "is taken"}) from error
        return _value(row, connection_id)

    async def list(
        self, principal: Principal, page: PageRequest, project_id: UUID | None, types: Sequence[str] | None
    ) -> Page[Connection]:
        """The connections of a project, of the given `types` only if any are given."""
        filters = (principal.org_id, project_id, types)
        statement = SQL.list_connections.format(order=page.order_by("created_at DESC"))
        async with self._database.tenant(principal) as tx:
            rows = await tx.fetch(statement, *filters, page.page_size, page.offset)
            total = await tx.fetchval(SQL.count_connections, *filters)
        return Page.counted([_value(row, row["id"]) for row in rows], page, total)

    async def get(self, principal: Principal, connection_id: UUID) -> Connection:
        async with self._database.tenant(principal) as tx:
            return _value(await tx.fetchrow(SQL.connection, principal.org_id, connection_id), connection_id)

    async def name_of(self, principal: Principal, connection_id: UUID) -> str:
        """Raises NotFound."""
        return (await self.get(principal, connection_id)).name

    async def update(
        self,
        principal: Principal,
        connection_id: UUID,
        new: ChangedConnection,
    ) -> Connection:
        """Changes the address, credential or CA bundle. Without an `api_key` the old one stays, unless the origin of
        the address changes."""
        base_url, api_key, ca_bundle = new.base_url, new.api_key, new.ca_bundle
        async with self._database.tenant(principal) as tx:
            before = await tx.fetchrow(SQL.connection, principal.org_id, connection_id)
        value = _value(before, connection_id)
        assert before is not None
        _check_origin(value, base_url, api_key)
        known = self._vault.open(connection_id, before["secret"]) if before["secret"] else None
        offers = await self._offers(Endpoint(value.type, base_url, api_key or known, ca_bundle), new.models)
        sealed = self._vault.seal(connection_id, api_key) if api_key else None
        async with self._database.tenant(principal) as tx:
            # A concurrent change may have stored a secret of another origin.
            held = _value(await tx.fetchrow(SQL.connection_to_change, principal.org_id, connection_id), connection_id)
            moved = _check_origin(held, base_url, api_key)
            row = await tx.fetchrow(SQL.update_connection, principal.org_id, connection_id, base_url, sealed, ca_bundle)
            if new.models is not None:
                await self._join(tx, held, offers)
            await audit.record(tx, principal, "connection.update", connection_id)
            if moved:
                await audit.record(tx, principal, "connection.move", connection_id)
        return _value(row, connection_id)

    async def delete(self, principal: Principal, connection_id: UUID) -> None:
        """Its models stay known to the conversations that used them, but cannot be used any more."""
        async with self._database.tenant(principal) as tx:
            if await tx.fetchval(SQL.delete_connection, principal.org_id, connection_id) is None:
                raise _missing(connection_id)
            await audit.record(tx, principal, "connection.delete", connection_id)

    async def _join(self, tx: Tx, connection: Connection, offers: Sequence[Offer]) -> None:
        """Adds models to the catalogue; existing ones stay unchanged."""
        for offer in offers:
            await tx.execute(
                SQL.insert_of_connection,
                self._ids.new(),
                connection.org_id,
                connection.project_id,
                connection.id,
                f"{connection.name}/{offer.wire_name}",
                offer.name,
                connection.name,
                offer.wire_name,
                asdict(offer.abilities),
            )

    async def _offers(self, endpoint: Endpoint, named: Sequence[str] | None) -> Sequence[Offer]:
        try:
            return await self._ask(endpoint, named)
        except ProviderError as error:
            raise BadRequest.field(f"config.{error.field}", f"does not work: {error}") from error


def _check_origin(connection: Connection, base_url: str | None, api_key: str | None) -> bool:
    """Whether the connection gets another origin (scheme, host, port).

    Raises BadRequest if a stored key would be sent to a new origin.
    """
    before, after = (origin_of(root(connection.type, url)) for url in (connection.base_url, base_url))
    if before == after:
        return False
    if connection.has_api_key and api_key is None:
        raise BadRequest.field(
            "config.api_key",
            f"must be sent again: the stored key was given for {before}, and config.base_url now leads to {after}",
        )
    return True


def _value(row: Row | None, connection_id: UUID) -> Connection:
    if row is None:
        raise _missing(connection_id)
    return Connection(
        row["id"],
        row["org_id"],
        row["project_id"],
        row["name"],
        row["type"],
        row["base_url"],
        row["secret"] is not None,
        row["ca_bundle"],
        row["created_at"],
        row["updated_at"],
    )


def _missing(connection_id: UUID) -> NotFound:
    return NotFound(f"There is no connection {connection_id}.")
