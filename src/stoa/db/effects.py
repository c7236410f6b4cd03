"""Calls of built-in tools that take effect exactly once.

The call's changes and its result are written in one transaction. After a crash a run repeats a call with an unknown
outcome: the call finds its result here and changes nothing. Two nodes cannot write the same call: the second
transaction fails on the primary key and is rolled back.
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
