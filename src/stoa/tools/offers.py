"""The tools that MCP servers offer: requested, and stored with the definitions."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog

from stoa.db import Database, Row
from stoa.db.internal import internal_statement
from stoa.kernel.supervise import Supervisor
from stoa.tools import store
from stoa.tools.store import SQL
from stoa.tools.types import Definition, Listing, ToolKind, Unlisted

ANSWER_SECONDS_MAX: Final = 4.0
"""How long a request that creates or changes a tool waits for its server."""
NO_ANSWER_YET: Final = "the server has not answered yet; it is still being asked, look again in a moment"
_log = structlog.get_logger("stoa.tools")


class Offers:
    """Long-lived; `stop` ends its background tasks. `listing` asks a server, with the secrets of the definition's
    row; it raises Unlisted or ValueError."""

    def __init__(self, database: Database, listing: Callable[[Definition, Row], Awaitable[Listing]]) -> None:
        self._database = database
        self._listing = listing
        self._supervisor = Supervisor()
        self._asking: dict[tuple[UUID, datetime], asyncio.Task[None]] = {}
        """By definition and version."""

    async def stop(self) -> None:
        await self._supervisor.stop()

    async def ask(self, org_id: UUID, definition: Definition, row: Row | None) -> Definition:
        """An MCP server's definition with its present tools, or with the reason why they are unknown; any other
        definition unchanged."""
        if definition.type is not ToolKind.MCP or row is None:
            return definition
        try:
            listing = await self._listing(definition, row)
        except (Unlisted, ValueError) as error:
            _log.info("an MCP server could not be asked", tool_id=str(definition.id), reason=str(error))
            statement, values = SQL.store_problem, [str(error)]
        else:
            statement, values = SQL.store_offers, [store.offers_json(listing.offers), listing.problem]
        async with internal_statement(self._database) as tx:
            stored = await tx.fetchrow(statement, org_id, definition.id, definition.updated_at, *values)
        return store.value(stored, definition.id) if stored is not None else definition

    async def ask_briefly(self, org_id: UUID, definition: Definition, row: Row | None) -> Definition:
        """Like `ask`, but waits for a slow server in the background."""
        if definition.type is not ToolKind.MCP or row is None:
            return definition
        asking = self.ask_in_background(org_id, definition, row)
        await asyncio.wait([asking], timeout=ANSWER_SECONDS_MAX)
        if not asking.done():
            return replace(definition, problem=NO_ANSWER_YET)
        async with internal_statement(self._database) as tx:
            return store.value(await tx.fetchrow(SQL.tool, org_id, definition.id), definition.id)

    def ask_in_background(self, org_id: UUID, definition: Definition, row: Row) -> asyncio.Task[None]:
        """In the background; one request at a time for each version of a definition."""
        key = definition.id, definition.updated_at
        if key in self._asking:
            return self._asking[key]

        async def ask() -> None:
            try:
                await self.ask(org_id, definition, row)
            finally:
                self._asking.pop(key, None)

        self._asking[key] = asking = self._supervisor.once(ask(), f"ask {definition.name}")
        return asking
