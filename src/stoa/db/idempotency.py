"""The first response to an Idempotency-Key, stored in the transaction of its work (contract section 2).

`claim` inserts the key; a second request with the same key waits for the first one's transaction inside PostgreSQL,
then finds its response. So a hundred identical concurrent requests create one object, on any number of nodes.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from stoa.db.engine import Tx
from stoa.db.sql import load
from stoa.kernel.errors import Conflict
from stoa.kernel.principal import Principal

_SQL: Final = load("stoa.db", "idempotency.sql")


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A request's Idempotency-Key and what it is bound to."""

    key: str
    route: str
    body_sha256: bytes

    def bound(self, content_sha256: bytes) -> "IdempotencyKey":
        """Bound to an upload too, whose hash is known once it was stored."""
        return IdempotencyKey(self.key, self.route, hashlib.sha256(self.body_sha256 + content_sha256).digest())


async def claim(tx: Tx, principal: Principal, once: IdempotencyKey) -> Any | None:
    """The first response, or None: then the caller does the work and must `record` it in the same transaction.

    Raises Conflict when the key was used with another body or on another route.
    """
    won = await tx.fetchval(
        _SQL.claim, principal.org_id, principal.project_id, principal.scope, once.key, once.route, once.body_sha256
    )
    if won:
        return None
    row = await tx.fetchrow(_SQL.first, principal.org_id, principal.scope, once.key)
    if row is None:  # Its subject was deleted between the two statements, which frees the key.
        return await claim(tx, principal, once)
    if row["route"] != once.route or row["body_sha256"] != once.body_sha256:
        raise Conflict("This Idempotency-Key was used with another request; send a new key for a new request.")
    return row["answer"]


async def peek(tx: Tx, principal: Principal, once: IdempotencyKey) -> Any | None:
    """The first response if there is one, without taking the key; used before work outside a transaction."""
    row = await tx.fetchrow(_SQL.first, principal.org_id, principal.scope, once.key)
    return row["answer"] if row and row["route"] == once.route and row["body_sha256"] == once.body_sha256 else None


async def record(tx: Tx, principal: Principal, once: IdempotencyKey, answer: Any, subject_id: UUID) -> None:
    """`answer` is the response to repetitions; the deletion of `subject_id` deletes the record."""
    await tx.execute(_SQL.record, principal.org_id, principal.scope, once.key, answer, subject_id)


async def replace(
    tx: Tx, principal: Principal, once: IdempotencyKey, before: Any, answer: Any, subject_id: UUID
) -> bool:
    """Replaces the response `before` by another one (compare and set); False if it has changed. For work that takes
    longer than a transaction may."""
    values = (principal.org_id, principal.scope, once.key, before, answer, subject_id)
    return bool(await tx.fetchval(_SQL.replace, *values))


async def sweep(tx: Tx) -> None:
    """Deletes expired responses of all tenants. Needs a transaction of the internal role."""
    await tx.execute(_SQL.sweep)
