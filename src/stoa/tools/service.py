"""The tools of projects: defined by their owners, opened for runs."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from time import perf_counter
from typing import Final, Protocol
from uuid import UUID, uuid4, uuid5

import asyncpg
import orjson
import structlog

from stoa.db import Database, Row, Tx, audit, idempotency
from stoa.db.idempotency import IdempotencyKey
from stoa.db.internal import internal_statement
from stoa.kernel.errors import BadRequest, Conflict, NotFound
from stoa.kernel.ids import Ids
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal
from stoa.kernel.schema_checker import SchemaChecker
from stoa.tools import rules, store
from stoa.tools.offers import Offers
from stoa.tools.planning import Planner
from stoa.tools.store import SQL
from stoa.tools.types import (
    Call,
    Called,
    Definition,
    Imported,
    ImportRequest,
    Listing,
    NewTool,
    Planned,
    Tool,
    ToolKind,
    Unlisted,
)

FRESH_SECONDS: Final = 300.0
"""How long the offers of an MCP server are fresh.

Older offers are still used, and refreshed in parallel with the run.
"""
_log = structlog.get_logger("stoa.tools")


class Vault(Protocol):
    """Encrypts secrets that are stored in rows. `open` raises ValueError for a secret that was stored under another
    key."""

    def seal(self, row_id: UUID, plain: str) -> bytes: ...

    def open(self, row_id: UUID, sealed: bytes) -> str: ...


class Projects(Protocol):
    async def home(self, principal: Principal) -> UUID: ...


class Maker(Protocol):
    """Builds the tools of a definition; none if this server cannot."""

    def __call__(self, definition: Definition, secrets: Mapping[str, str]) -> Sequence[Tool]: ...

    def callables(self) -> Sequence[str]:
        """The Python tools that are installed here."""
        ...

    def servers(self, project_id: UUID) -> Sequence[str]:
        """The MCP servers that the operator has declared for this project."""
        ...

    async def list_offers(self, definition: Definition, secrets: Mapping[str, str]) -> Listing:
        """Asks an MCP server. Raises Unlisted."""
        ...

    def outdated(self, definition_id: UUID) -> bool:
        """Whether an MCP server has said, since the last request, that its tools have changed."""
        ...

    async def fetch(self, url: str, ca_bundle: str | None = None) -> str:
        """Fetches a document. Raises Unlisted."""
        ...


class Tools:
    """Long-lived; `stop` ends its background tasks."""

    def __init__(
        self, database: Database, vault: Vault, projects: Projects, make: Maker, ids: Ids, schemas: SchemaChecker
    ) -> None:
        self._database = database
        self._vault = vault
        self._projects = projects
        self._make = make
        self._ids = ids
        self._schemas = schemas
        self._planner = Planner()
        self._offers = Offers(database, lambda definition, row: make.list_offers(definition, self._open(row)))

    async def stop(self) -> None:
        await self._offers.stop()

    # --- owners -----------------------------------------------------------------------------------------------------
    async def create(self, principal: Principal, new: NewTool, once: IdempotencyKey | None) -> Definition:
        project_id, tool_id = await self._projects.home(principal), self._ids.new()
        await self._check(new, frozenset(new.secrets or ()), project_id)
        try:
            async with self._database.tenant(principal) as tx:
                if once and (first := await idempotency.claim(tx, principal, once)):
                    return store.value(await tx.fetchrow(SQL.tool, principal.org_id, UUID(first["id"])), tool_id)
                row = await store.insert(tx, principal, project_id, tool_id, new, self._seal(tool_id, new.secrets))
                await audit.record(tx, principal, "tool.create", tool_id)
                if once:
                    await idempotency.record(tx, principal, once, {"id": str(tool_id)}, tool_id)
        except asyncpg.UniqueViolationError as error:
            raise store.taken(new.name) from error
        return await self._offers.ask_briefly(principal.org_id, store.value(row, tool_id), row)

    async def list(self, principal: Principal, page: PageRequest) -> Page[Definition]:
        async with self._database.tenant(principal) as tx:
            rows = await tx.fetch(
                SQL.list_tools.format(order=page.order_by("name")), principal.org_id, page.page_size, page.offset
            )
            total = await tx.fetchval(SQL.count_tools, principal.org_id)
        return Page.counted([store.value(row, row["id"]) for row in rows], page, total)

    async def get(self, principal: Principal, tool_id: UUID) -> Definition:
        return store.value(await self._row(principal, tool_id), tool_id)

    async def update(self, principal: Principal, tool_id: UUID, change: Callable[[Definition], NewTool]) -> Definition:
        """Changes the definition by `change`; omitted secrets stay."""
        name = ""
        try:
            async with self._database.tenant(principal) as tx:
                before = store.value(await tx.fetchrow(SQL.tool_to_change, principal.org_id, tool_id), tool_id)
                new = change(before)
                name = new.name
                moved = rules.check_origin(before, new)
                await self._check(
                    new, frozenset(before.secret_names if new.secrets is None else new.secrets), before.project_id
                )
                row = await store.update(tx, principal, tool_id, new, self._seal(tool_id, new.secrets))
                await audit.record(tx, principal, "tool.update", tool_id)
                if moved:
                    await audit.record(tx, principal, "tool.move", tool_id)
        except asyncpg.UniqueViolationError as error:
            raise store.taken(name) from error
        return await self._offers.ask_briefly(principal.org_id, store.value(row, tool_id), row)

    async def refresh(self, principal: Principal, tool_id: UUID) -> Definition:
        """Asks an MCP server anew what it offers."""
        row = await self._row(principal, tool_id)
        definition = store.value(row, tool_id)
        if definition.type is not ToolKind.MCP:
            raise BadRequest.field(
                "tool_id", f"is a tool of type {definition.type}; only an MCP server can be asked what it offers"
            )
        return await self._offers.ask(principal.org_id, definition, row)

    async def delete(self, principal: Principal, tool_id: UUID) -> None:
        """Agents that name it continue without it."""
        async with self._database.tenant(principal) as tx:
            if await tx.fetchval(SQL.delete_tool, principal.org_id, tool_id) is None:
                raise NotFound(f"There is no tool {tool_id}.")
            await audit.record(tx, principal, "tool.delete", tool_id)

    async def try_out(
        self, principal: Principal, tool_id: UUID, tool: str | None, arguments: Mapping[str, object]
    ) -> Called:
        """One real call outside of any run; only the fact of the call is stored."""
        async with self._database.tenant(principal) as tx:
            row = await tx.fetchrow(SQL.tool, principal.org_id, tool_id)
            definition = store.value(row, tool_id)
            await audit.record(tx, principal, "tool.test", tool_id)
        if definition.type is ToolKind.MCP and definition.offers is None:
            definition = await self._offers.ask(principal.org_id, definition, row)
        assert row is not None
        made = self._make(definition, self._open(row))
        chosen = made[0] if len(made) == 1 and tool is None else _named(made, definition.name, tool)
        if chosen is None:
            names = ", ".join(one.name for one in made) or "none"
            raise BadRequest.field(
                "tool",
                f"must be one of what this tool offers here: {names}"
                + (f" ({definition.problem})" if definition.problem else ""),
            )
        begun = perf_counter()
        result = await chosen.call(arguments, Call(principal.org_id, definition.project_id, UUID(int=0), str(uuid4())))
        return Called(result, perf_counter() - begun)

    async def unknown(self, principal: Principal, names: Sequence[str]) -> Sequence[str]:
        """The names that are no tool, and of no MCP server, of the principal."""
        async with self._database.tenant(principal) as tx:
            rows = await tx.fetch(SQL.names, principal.org_id, names, [rules.server_of(name) for name in names])
        known = {row["name"] for row in rows}
        servers = {row["name"] for row in rows if row["type"] == ToolKind.MCP}
        return [name for name in names if name not in known and rules.server_of(name) not in servers]

    # --- many at once -----------------------------------------------------------------------------------------------
    async def plan(self, request: ImportRequest) -> Imported:
        """The tools that a document's operations would become. Raises BadRequest."""
        text = request.document
        if request.url is not None:
            try:
                text = await self._make.fetch(request.url, request.ca_bundle)
            except Unlisted as error:
                raise BadRequest.field("url", str(error)) from error
        assert text is not None
        return await self._checked(await self._planner.plan(text, request), request)

    async def _checked(self, planned: Imported, request: ImportRequest) -> Imported:
        """Skips the tools that are invalid; the others are unaffected."""
        made: list[Planned] = []
        skipped = list(planned.skipped)
        for one in planned.tools:
            await asyncio.sleep(0)  # Yields to other requests, because a document may have thousands of operations.
            try:
                await self._check(one.new, frozenset(request.secrets), UUID(int=0))
            except BadRequest as error:
                skipped.append((one.operation, rules.of_operation(error)))
            else:
                made.append(one)
        return Imported(made, skipped)

    async def import_(self, principal: Principal, request: ImportRequest, once: IdempotencyKey | None) -> Imported:
        """Makes them, all or none.

        An Idempotency-Key's repetition answers with the tools that the first one made, as they are now.
        """
        planned = await self.plan(request)
        if not planned.tools:
            raise BadRequest("None of the document's operations can be a tool.", details=dict(planned.skipped))
        project_id = await self._projects.home(principal)
        name = ""
        try:
            async with self._database.tenant(principal) as tx:
                if once and (first := await idempotency.claim(tx, principal, once)):
                    return await self._made_before(tx, principal, planned, first)
                made: list[Planned] = []
                for one in planned.tools:
                    name = one.new.name
                    made.append(
                        replace(
                            one, id=await self._place(tx, principal, project_id, one.new, replacing=request.replace)
                        )
                    )
                if once:
                    ids = {one.new.name: str(one.id) for one in made}
                    await idempotency.record(tx, principal, once, ids, made[0].id or UUID(int=0))
        except asyncpg.UniqueViolationError as error:
            raise Conflict(
                f"There is a tool named {name} already; "
                "send replace, a prefix, or only the operations that are wanted.",
                details={"prefix": f"{name} is taken"},
            ) from error
        return replace(planned, tools=made)

    async def _place(self, tx: Tx, principal: Principal, project_id: UUID, new: NewTool, *, replacing: bool) -> UUID:
        if replacing and (row := await tx.fetchrow(SQL.tool_of_name, principal.org_id, project_id, new.name)):
            tool_id: UUID = row["id"]
            moved = rules.check_origin(store.value(row, tool_id), new)
            await store.update(tx, principal, tool_id, new, self._seal(tool_id, new.secrets))
            await audit.record(tx, principal, "tool.update", tool_id)
            if moved:
                await audit.record(tx, principal, "tool.move", tool_id)
            return tool_id
        tool_id = self._ids.new()
        await store.insert(tx, principal, project_id, tool_id, new, self._seal(tool_id, new.secrets))
        await audit.record(tx, principal, "tool.create", tool_id)
        return tool_id

    async def _made_before(self, tx: Tx, principal: Principal, planned: Imported, ids: Mapping[str, str]) -> Imported:
        rows = {
            str(row["id"]): row
            for row in await tx.fetch(SQL.tools_of_ids, principal.org_id, [UUID(one) for one in ids.values()])
        }
        made = [replace(one, id=UUID(ids[one.new.name])) for one in planned.tools if ids.get(one.new.name) in rows]
        return replace(planned, tools=made)

    # --- runs -------------------------------------------------------------------------------------------------------
    @asynccontextmanager
    async def open(
        self,
        org_id: UUID,
        project_id: UUID,
        names: Sequence[str],
        lent: Mapping[str, Mapping[str, str]] | None = None,
        withheld: Collection[str] = (),
    ) -> AsyncGenerator[Sequence[Tool]]:
        """The tools of these names.

        A deleted or unavailable one is left out: the model gets an error when it calls it. `lent` are an end user's own
        secrets by the name of the tool's definition; `withheld` tools are left out too.
        """
        if not names:
            yield ()
            return
        async with internal_statement(self._database) as tx:
            rows = await tx.fetch(
                SQL.of_project,
                org_id,
                project_id,
                list(names),
                [rules.server_of(name) for name in names],
                FRESH_SECONDS,
            )
        opening = [
            self._opened(org_id, row, (lent or {}).get(row["name"])) for row in rows if row["name"] not in withheld
        ]
        yield [tool for tools in await asyncio.gather(*opening) for tool in tools]

    async def _opened(self, org_id: UUID, row: Row, lent: Mapping[str, str] | None) -> Sequence[Tool]:
        definition = store.value(row, row["id"])
        try:
            if definition.type is ToolKind.MCP:
                if definition.offers is None or self._make.outdated(definition.id):
                    definition = await self._offers.ask(org_id, definition, row)
                elif row["stale"]:
                    self._offers.ask_in_background(org_id, definition, row)
            if lent is None:
                return self._make(definition, self._open(row))
            # A session with an MCP server is cached by the definition's id: one user's must not serve another.
            own = uuid5(definition.id, hashlib.sha256(orjson.dumps(lent, option=orjson.OPT_SORT_KEYS)).hexdigest())
            return self._make(replace(definition, id=own), {**self._open(row), **lent})
        except ValueError as error:
            _log.warning("a tool cannot be used", tool_id=str(definition.id), reason=str(error))
            return ()

    # --- checks and secrets -----------------------------------------------------------------------------------------
    async def _row(self, principal: Principal, tool_id: UUID) -> Row | None:
        async with self._database.tenant(principal) as tx:
            return await tx.fetchrow(SQL.tool, principal.org_id, tool_id)

    async def _check(self, new: NewTool, secrets: frozenset[str], project_id: UUID) -> None:
        if new.type is ToolKind.HTTP:
            rules.check_http(new.config, secrets)
            if problem := await self._schemas.schema_problem(new.config["parameters"]):
                raise BadRequest.field("config.parameters", problem)
        elif new.type is ToolKind.MCP:
            rules.check_mcp(new.name, new.config, secrets)
            server = new.config.get("server")
            if server is not None and server not in (known := self._make.servers(project_id)):
                declared = ", ".join(sorted(known)) or "none"
                raise BadRequest.field(
                    "config.server",
                    f"is no MCP server that this server's operator has declared in stoa.toml (declared: {declared})",
                )
        elif new.config["entry_point"] not in (known := self._make.callables()):
            installed = ", ".join(sorted(known)) or "none"
            raise BadRequest.field(
                "config.entry_point",
                f"is no Python tool that is installed on this server (entry points stoa.tools: {installed})",
            )

    def _seal(self, tool_id: UUID, secrets: Mapping[str, str] | None) -> bytes | None:
        return self._vault.seal(tool_id, orjson.dumps(secrets).decode()) if secrets is not None else None

    def _open(self, row: Row) -> Mapping[str, str]:
        return orjson.loads(self._vault.open(row["id"], row["secrets"])) if row["secrets"] else {}


def _named(made: Sequence[Tool], server: str, name: str | None) -> Tool | None:
    wanted = (name, rules.offered_name(server, name)) if name is not None else ()
    return next((one for one in made if one.name in wanted), None)
