"""The audit as its readers see it, and the sealing of its lines into a chain.

A line is written in the transaction of its change. It enters the chain about a second later: sealing locks the head of
the organization's chain, and holding this lock until commit would make all changes of an organization wait for one
another. So writers never wait; only in the second before it is sealed can somebody with write access to the database
change a line without a trace (docs/decisions/0032).
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

from stoa.access.types import AuditFilter, AuditLine, ChainHead
from stoa.db import Database, Row, Tx, load
from stoa.db.internal import internal, internal_statement
from stoa.kernel import audit_chain
from stoa.kernel.errors import Forbidden, Unavailable
from stoa.kernel.pages import COUNT_MAX, Page
from stoa.kernel.principal import Principal
from stoa.kernel.supervise import Supervisor, spread

SQL: Final = load("stoa.access", "audit.sql")
SEAL_SECONDS: Final = 1.0
SEALED_MAX: Final = 200
"""Lines that one transaction seals: their hashes take a millisecond."""
EXPORTED_MAX: Final = 500
"""Lines that an export reads at once."""


class Audit:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._supervisor = Supervisor()

    # --- reading ----------------------------------------------------------------------------------------------------
    async def list(
        self, principal: Principal, wanted: AuditFilter, page_size: int, before: int | None
    ) -> Page[AuditLine]:
        """Newest first. `before` is the last id of the previous page."""
        filters = (wanted.action, wanted.subject_id, wanted.actor_id, wanted.since, wanted.until)
        async with self._database.tenant(principal) as tx:
            rows = await tx.fetch(SQL.list_lines, principal.org_id, before, *filters, page_size)
            total = await tx.fetchval(SQL.count_lines, principal.org_id, *filters, COUNT_MAX + 1)
        cursor = str(rows[-1]["id"]) if len(rows) == page_size else None
        return Page([line_of(row) for row in rows], 1, page_size, total, total > COUNT_MAX, cursor)

    async def head(self, principal: Principal) -> ChainHead:
        """Of the whole organization: the last line of the chain, and its hash."""
        _check_organization(principal)
        await self.seal(principal.org_id)
        async with self._database.tenant(principal) as tx:
            row = await tx.fetchrow(SQL.head, principal.org_id)
        return ChainHead(row["sequence"], row["hash"]) if row else ChainHead(0, audit_chain.GENESIS)

    async def export(self, principal: Principal, after: int) -> AsyncGenerator[Sequence[AuditLine]]:
        """The organization's chain after the line `after`, in chunks; no connection is held between them."""
        previous = audit_chain.GENESIS
        while True:
            async with self._database.tenant(principal) as tx:
                rows = await tx.fetch(SQL.chained_lines, principal.org_id, after, EXPORTED_MAX)
            if rows and rows[0]["sequence"] == after:
                previous, rows = rows[0]["hash"], rows[1:]
            if not rows:
                return
            hashes = [previous, *(row["hash"] for row in rows)]
            after = rows[-1]["sequence"]
            yield [line_of(row, before) for row, before in zip(rows, hashes, strict=False)]

    async def begin_export(self, principal: Principal) -> None:
        """Raises refusals, and seals the lines that are not yet in the chain."""
        _check_organization(principal)
        await self.seal(principal.org_id)

    # --- sealing ----------------------------------------------------------------------------------------------------
    async def start(self) -> None:
        self._supervisor.keep(self._seal_forever, "audit.seal")

    async def stop(self) -> None:
        await self._supervisor.stop()

    async def _seal_forever(self) -> None:
        while True:
            with suppress(Unavailable):
                async with internal_statement(self._database) as tx:
                    waiting = [row["org_id"] for row in await tx.fetch(SQL.unsealed_orgs)]
                for org_id in waiting:
                    await self.seal(org_id)
            await asyncio.sleep(spread(SEAL_SECONDS))

    async def seal(self, org_id: UUID) -> None:
        """Puts every committed line of the organization into its chain."""
        while True:
            async with internal(self._database) as tx:
                if await self._seal(tx, org_id) < SEALED_MAX:
                    return

    async def _seal(self, tx: Tx, org_id: UUID) -> int:
        await tx.execute(SQL.add_head, org_id)
        head = await tx.fetchrow(SQL.lock_head, org_id)
        assert head is not None, "it was just made"
        rows = await tx.fetch(SQL.unsealed, org_id, SEALED_MAX)
        if not rows:
            return 0
        sequence, before = head["sequence"], head["hash"]
        ids: list[int] = []
        sequences: list[int] = []
        hashes: list[bytes] = []
        for row in rows:
            sequence += 1
            before = audit_chain.digest(before, entry(line_of(row), sequence))
            ids.append(row["id"])
            sequences.append(sequence)
            hashes.append(before)
        await tx.execute(SQL.seal, org_id, ids, sequences, hashes)
        await tx.execute(SQL.move_head, org_id, sequence, before)
        return len(rows)


def entry(line: AuditLine, sequence: int) -> Mapping[str, Any]:
    """The hashed value. Times have microseconds, as in the database."""
    ids = {
        "org_id": line.org_id,
        "project_id": line.project_id,
        "key_id": line.key_id,
        "user_id": line.user_id,
        "subject_id": line.subject_id,
    }
    texts = {
        "action": line.action,
        "request_id": line.request_id,
        "method": line.method,
        "path": line.path,
        "address": line.address,
        "client": line.client,
        "changes": line.changes,
    }
    named = {name: str(value) for name, value in ids.items() if value is not None}
    given = {name: value for name, value in texts.items() if value is not None}
    return {"sequence": sequence, "at": line.at.isoformat(timespec="microseconds"), **named, **given}


def line_of(row: Row, previous: bytes | None = None) -> AuditLine:
    return AuditLine(
        row["id"],
        row["org_id"],
        row["project_id"],
        row["at"],
        row["key_id"],
        row["user_id"],
        row["action"],
        row["subject_id"],
        row["request_id"],
        row["method"],
        row["path"],
        row["address"],
        row["client"],
        row["changes"],
        row["sequence"],
        row["hash"],
        previous,
    )


def _check_organization(principal: Principal) -> None:
    if not principal.organization_wide:
        raise Forbidden("The chain is the whole organization's; use an organization-wide credential to read it.")
