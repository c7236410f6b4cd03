"""The bill: a line for each model call, and the spending of keys with a limit. Written in the caller's transaction,
together with the result of the call."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal
from uuid import UUID

from stoa.db import Tx, load
from stoa.gateway.types import Usage
from stoa.kernel.principal import SpendingLimit

SQL: Final = load("stoa.gateway", "ledger.sql")
SPENDING_PARTS: Final = 8
"""Rows for a day's spending of one key, so that concurrent ends seldom wait for one another's row lock."""
_WHEN: Final[Mapping[str, str]] = {"day": "today", "month": "this month", "total": "altogether"}


@dataclass(frozen=True, slots=True)
class Line:
    """A model call outside of runs (those of runs are entered by `bill_run`, migration 0021). `cost_usd` None: no price
    is known. `kind` is the purpose of the call: for example a page that was read by OCR; `key_id` is the key that is
    billed."""

    org_id: UUID
    project_id: UUID
    kind: Literal["ocr"]
    usage: Usage
    cost_usd: float | None
    model: str
    key_id: UUID | None
    knowledgebase_id: UUID | None


async def add_spending(tx: Tx, org_id: UUID, project_id: UUID, key_id: UUID | None, part: int, usd: float) -> None:
    """Adds to what a limited key has spent today. `part` is any number that distributes concurrent calls over the
    rows."""
    await tx.execute(SQL.spend, org_id, project_id, key_id, part % SPENDING_PARTS, _dollars(usd))


async def spent_usd(tx: Tx, org_id: UUID, key_id: UUID | None, period: str) -> float:
    """US dollars in the current day or month, or in total."""
    return float(await tx.fetchval(SQL.spent, org_id, key_id, period))


async def key_refused(tx: Tx, org_id: UUID, key_id: UUID | None, *, priced: bool) -> tuple[str, str] | None:
    """Why this key may not call a model now: a code and a sentence; None where it may, has no limit, or is gone."""
    limit = await _limit_of(tx, org_id, key_id)
    return (
        spending_refused(limit, await spent_usd(tx, org_id, key_id, limit.period), priced=priced)
        if limit is not None
        else None
    )


async def bill_key(tx: Tx, line: Line, part: int) -> int:
    """Enters the line, and adds its cost to the spending of its key where that has a limit. Returns the line's
    number."""
    if line.cost_usd and await _limit_of(tx, line.org_id, line.key_id) is not None:
        await add_spending(tx, line.org_id, line.project_id, line.key_id, part, line.cost_usd)
    usage = line.usage
    return int(
        await tx.fetchval(
            SQL.enter,
            line.org_id,
            line.project_id,
            line.kind,
            line.knowledgebase_id,
            line.key_id,
            line.model,
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.cached_tokens,
            usage.reasoning_tokens,
            usage.estimated,
            _dollars(line.cost_usd),
        )
    )


async def _limit_of(tx: Tx, org_id: UUID, key_id: UUID | None) -> SpendingLimit | None:
    row = await tx.fetchrow(SQL.limit_of, org_id, key_id)
    return SpendingLimit(row["usd"], row["spending_period"]) if row is not None else None


def spending_refused(limit: SpendingLimit, spent: float, *, priced: bool) -> tuple[str, str] | None:
    """Why a key with this limit may not call a model now: a code and a sentence; None where it may."""
    if not priced:
        return (
            "price_unknown",
            (
                "This access key has a spending limit, and no price is known for the model;"
                " the operator can set one under [[prices]]."
            ),
        )
    if spent >= limit.usd:
        when = _WHEN[limit.period]
        return (
            "spending_limit_reached",
            f"This access key has spent {spent:.4f} US dollars {when}; its spending_limit is {limit.usd:g}.",
        )
    return None


def _dollars(usd: float | None) -> Decimal | None:
    return None if usd is None else Decimal(f"{usd:.9f}")
