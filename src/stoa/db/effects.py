"""Calls of built-in tools, each of which takes effect once.

What the call changes and its result are written in one transaction. After a crash a run makes a call again of which it
does not know the outcome: the call finds its result here and changes nothing. Two nodes cannot write the same call: the
second one's transaction fails on the primary key, and what it changed is rolled back.
"""

from typing import Any, Final

from stoa.db.engine import Tx
from stoa.db.sql import load
from stoa.kernel.effects import EffectKey

_SQL: Final = load("stoa.db", "effects.sql")


async def found(tx: Tx, key: EffectKey) -> Any | None:
    """The result of the call, if it has taken effect."""
    return await tx.fetchval(_SQL.found, key.org_id, key.run_id, key.call_id)


async def record(tx: Tx, key: EffectKey, result: Any) -> None:
    await tx.execute(_SQL.record, key.org_id, key.project_id, key.run_id, key.call_id, result)
