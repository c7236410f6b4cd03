"""The first answer to an Idempotency-Key, kept in the transaction that made it (contract section 2).

`claim` inserts the key; a second request with the same key waits for the first one's transaction inside PostgreSQL,
then finds its answer. So a hundred identical requests at once make one thing, on however many nodes.
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
    """The first answer, or None: then the caller goes on and must `record` in the same transaction.

    Raises Conflict when the key was used with another body or on another route.
    """
    won = await tx.fetchval(
        _SQL.claim, principal.org_id, principal.project_id, principal.scope, once.key, once.route, once.body_sha256
    )
    if won:
        return None
    row = await tx.fetchrow(_SQL.first, principal.org_id, principal.scope, once.key)
    if row is None:  # Its subject was deleted between the two statements: the key is free again.
        return await claim(tx, principal, once)
    if row["route"] != once.route or row["body_sha256"] != once.body_sha256:
        raise Conflict("This Idempotency-Key was used with another request; send a new key for a new request.")
    return row["answer"]


async def peek(tx: Tx, principal: Principal, once: IdempotencyKey) -> Any | None:
    """The first answer if there is one already, without taking the key: before work outside a transaction."""
    row = await tx.fetchrow(_SQL.first, principal.org_id, principal.scope, once.key)
    return row["answer"] if row and row["route"] == once.route and row["body_sha256"] == once.body_sha256 else None


async def record(tx: Tx, principal: Principal, once: IdempotencyKey, answer: Any, subject_id: UUID) -> None:
    """`answer` is what a repetition gets; `subject_id` is whose deletion takes the record along."""
    await tx.execute(_SQL.record, principal.org_id, principal.scope, once.key, answer, subject_id)


async def replace(
    tx: Tx, principal: Principal, once: IdempotencyKey, before: Any, answer: Any, subject_id: UUID
) -> bool:
    """Puts another answer where `before` stands; False where somebody else was faster. For work that takes longer than
    a transaction may."""
    values = (principal.org_id, principal.scope, once.key, before, answer, subject_id)
    return bool(await tx.fetchval(_SQL.replace, *values))


async def sweep(tx: Tx) -> None:
    """Forgets the answers of all tenants that are older than they are kept. Wants a transaction of the
    internal role."""
    await tx.execute(_SQL.sweep)
