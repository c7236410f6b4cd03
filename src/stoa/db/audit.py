"""Who did what: one row per mutation, in the mutation's own transaction."""

from uuid import UUID

from stoa.db.engine import Tx
from stoa.kernel.principal import Principal

_INSERT = "INSERT INTO audit (org_id, project_id, key_id, action, subject_id, user_id) VALUES ($1, $2, $3, $4, $5, $6)"


async def record(tx: Tx, principal: Principal, action: str, subject_id: UUID) -> None:
    """`action` is noun.verb: conversation.delete, access_key.create."""
    await tx.execute(
        _INSERT, principal.org_id, principal.project_id, principal.key_id, action, subject_id, principal.user_id
    )
