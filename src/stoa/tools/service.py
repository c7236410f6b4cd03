"""The tools of projects: defined by their owners, opened for runs."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol
from uuid import UUID

import asyncpg
import orjson
import structlog

from stoa.db import Database, Row, audit, idempotency, load
from stoa.db.idempotency import Once
from stoa.db.internal import internal_statement
from stoa.kernel.errors import BadRequest, Conflict, NotFound
from stoa.kernel.ids import Ids
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal
from stoa.tools import rules
from stoa.tools.types import Definition, NewTool, Tool, ToolKind

SQL: Final = load("stoa.tools")
_log = structlog.get_logger("stoa.tools")


class Vault(Protocol):
    """Encrypts what stands in a row. `open` raises ValueError for what was stored under another key."""

    def seal(self, row_id: UUID, plain: str) -> bytes: ...

    def open(self, row_id: UUID, sealed: bytes) -> str: ...


class Projects(Protocol):
    async def home(self, principal: Principal) -> UUID: ...


class Maker(Protocol):
    """Makes the tool of a definition; None where this server cannot."""

    def __call__(self, definition: Definition, secrets: Mapping[str, str]) -> Tool | None: ...

    def callables(self) -> Sequence[str]:
        """The Python tools that are installed here."""
        ...


class Tools:
    def __init__(self, database: Database, vault: Vault, projects: Projects, make: Maker, ids: Ids) -> None:
        self._database = database
        self._vault = vault
        self._projects = projects
        self._make = make
        self._ids = ids

    # --- owners -----------------------------------------------------------------------------------------------------
    async def create(self, principal: Principal, new: NewTool, once: Once | None) -> Definition:
        self._check(new, frozenset(new.secrets or ()))
        project_id, tool_id = await self._projects.home(principal), self._ids.new()
        try:
            async with self._database.tenant(principal) as tx:
                if once and (first := await idempotency.claim(tx, principal, once)):
                    return _value(await tx.fetchrow(SQL.tool, principal.org_id, UUID(first["id"])), tool_id)
                row = await tx.fetchrow(
                    SQL.insert_tool, principal.org_id, project_id, tool_id, new.name, new.type.value, new.description, new.config,
                    self._seal(tool_id, new.secrets), sorted(new.secrets or ()), new.idempotent, new.approval, list(new.editable_params),
                    new.timeout_seconds, new.output_bytes_max,
                )  # fmt: skip
                await audit.record(tx, principal, "tool.create", tool_id)
                if once:
                    await idempotency.record(tx, principal, once, {"id": str(tool_id)}, tool_id)
        except asyncpg.UniqueViolationError as error:
            raise _taken(new.name) from error
        return _value(row, tool_id)

    async def list(self, principal: Principal, page: PageRequest) -> Page[Definition]:
        async with self._database.tenant(principal) as tx:
            rows = await tx.fetch(SQL.list_tools.format(order=page.order_by("name")), principal.org_id, page.page_size, page.offset)
            total = await tx.fetchval(SQL.count_tools, principal.org_id)
        return Page([_value(row, row["id"]) for row in rows], page.page, page.page_size, total)

    async def get(self, principal: Principal, tool_id: UUID) -> Definition:
        async with self._database.tenant(principal) as tx:
            return _value(await tx.fetchrow(SQL.tool, principal.org_id, tool_id), tool_id)

    async def update(self, principal: Principal, tool_id: UUID, new: NewTool) -> Definition:
        """The whole definition anew; secrets that are left out stay."""
        try:
            async with self._database.tenant(principal) as tx:
                before = _value(await tx.fetchrow(SQL.tool, principal.org_id, tool_id), tool_id)
                self._check(new, frozenset(before.secret_names if new.secrets is None else new.secrets))
                row = await tx.fetchrow(
                    SQL.update_tool, principal.org_id, tool_id, new.name, new.type.value, new.description, new.config,
                    self._seal(tool_id, new.secrets) if new.secrets is not None else None, sorted(new.secrets or ()), new.idempotent, new.approval,
                    list(new.editable_params), new.timeout_seconds, new.output_bytes_max,
                )  # fmt: skip
                await audit.record(tx, principal, "tool.update", tool_id)
        except asyncpg.UniqueViolationError as error:
            raise _taken(new.name) from error
        return _value(row, tool_id)

    async def delete(self, principal: Principal, tool_id: UUID) -> None:
        """Agents that name it go on without it."""
        async with self._database.tenant(principal) as tx:
            if await tx.fetchval(SQL.delete_tool, principal.org_id, tool_id) is None:
                raise _missing(tool_id)
            await audit.record(tx, principal, "tool.delete", tool_id)

    async def unknown(self, principal: Principal, names: Sequence[str]) -> Sequence[str]:
        """Those of the names that are no tool of the principal's."""
        async with self._database.tenant(principal) as tx:
            known = {row["name"] for row in await tx.fetch(SQL.names, principal.org_id, names)}
        return [name for name in names if name not in known]

    # --- runs -------------------------------------------------------------------------------------------------------
    @asynccontextmanager
    async def open(self, org_id: UUID, project_id: UUID, names: Sequence[str]) -> AsyncGenerator[Sequence[Tool]]:
        """The tools of these names. One that is gone, or cannot be had on this server, is left out: the model is told when it calls it."""
        if not names:
            yield ()
            return
        async with internal_statement(self._database) as tx:
            rows = await tx.fetch(SQL.of_project, org_id, project_id, list(names))
        opened: list[Tool] = []
        for row in rows:
            try:
                tool = self._make(_value(row, row["id"]), self._open(row))
            except ValueError as error:
                _log.warning("a tool cannot be used", tool_id=str(row["id"]), reason=str(error))
                continue
            if tool is not None:
                opened.append(tool)
        yield opened

    def _check(self, new: NewTool, secrets: frozenset[str]) -> None:
        if new.type is ToolKind.HTTP:
            rules.check_http(new.config, secrets)
        elif new.config["entry_point"] not in (known := self._make.callables()):
            installed = ", ".join(sorted(known)) or "none"
            raise BadRequest.field("config.entry_point", f"is no Python tool that is installed on this server (entry points stoa.tools: {installed})")

    def _seal(self, tool_id: UUID, secrets: Mapping[str, str] | None) -> bytes | None:
        return self._vault.seal(tool_id, orjson.dumps(secrets).decode()) if secrets is not None else None

    def _open(self, row: Row) -> Mapping[str, str]:
        return orjson.loads(self._vault.open(row["id"], row["secrets"])) if row["secrets"] else {}


def _value(row: Row | None, tool_id: UUID) -> Definition:
    if row is None:
        raise _missing(tool_id)
    return Definition(
        row["id"], row["project_id"], row["name"], ToolKind(row["type"]), row["description"], row["config"], row["secret_names"], row["idempotent"],
        row["approval"], row["editable_params"], row["timeout_seconds"], row["output_bytes_max"], row["created_at"], row["updated_at"],
    )  # fmt: skip


def _missing(tool_id: UUID) -> NotFound:
    return NotFound(f"There is no tool {tool_id}.")


def _taken(name: str) -> Conflict:
    return Conflict(f"There is a tool named {name} already.", details={"name": "is taken"})
