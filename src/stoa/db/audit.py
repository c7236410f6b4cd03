"""Who did what: one line per mutation, in the mutation's own transaction (docs/decisions/0032).

A slice states the action and its subject. The request's origin comes from `stoa.kernel.origin`, and the values before
and after from triggers of the tables, so no slice has to write these.
"""

from typing import Final
from uuid import UUID

from stoa.db.engine import Tx
from stoa.kernel.origin import ORIGIN
from stoa.kernel.principal import Principal

_RECORD: Final = "SELECT record_audit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"


async def record(tx: Tx, principal: Principal, action: str, subject_id: UUID) -> None:
    """`action` is noun.verb: conversation.delete, access_key.create. Called after the change itself."""
    origin = ORIGIN.get()
    where = (origin.request_id, origin.method, origin.path, origin.address, origin.client) if origin else (None,) * 5
    who = (principal.org_id, principal.project_id, principal.key_id, principal.user_id)
    await tx.execute(_RECORD, *who, action, subject_id, *where)
