"""The days that the doctor need not check again, and who may know where the data is."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

from stoa.db import Tx, load
from stoa.doctor.rules import BEGINNING
from stoa.doctor.types import Day

SQL: Final = load("stoa.doctor")


async def is_operators(tx: Tx, org_id: UUID) -> bool:
    return bool(await tx.fetchval(SQL.is_first_organization, org_id))


async def verified_days(tx: Tx) -> Mapping[str, Mapping[datetime, datetime]]:
    """By check: the end of each verified day by its start."""
    found: dict[str, dict[datetime, datetime]] = {}
    for row in await tx.fetch(SQL.verified_days):
        found.setdefault(row["name"], {})[row["starts_at"]] = row["ends_at"]
    return found


async def settle(tx: Tx, check: str, day: Day, *, whole: bool) -> None:
    """Remembers a day without findings, and forgets one that has findings."""
    if whole:
        await tx.execute(SQL.remember, check, day.start or BEGINNING, day.end)
    else:
        await tx.execute(SQL.forget, check, day.start or BEGINNING)
