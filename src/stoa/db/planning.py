"""The plan of a start: the missing migrations, their locks, and the estimated time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from stoa.db.connecting import UnreachableError, connect
from stoa.db.migrate import SchemaError, migrations, missing_from
from stoa.db.sql import load
from stoa.db.statements import LONG, LockEffect, Locking, lockings

SQL: Final = load("stoa.db", "planning.sql")
_BYTES_A_SECOND: Final[Mapping[LockEffect, float]] = {
    LockEffect.BESIDE: 25e6,  # two scans, and what others write meanwhile
    LockEffect.READS: 50e6,
    LockEffect.REWRITES: 20e6,
    LockEffect.ROWS: 10e6,
}
"""On an ordinary disk. An estimate that is right to a factor of a few; what matters is seconds or hours."""


@dataclass(frozen=True, slots=True)
class Size:
    bytes: int
    rows: int


@dataclass(frozen=True, slots=True)
class Statement:
    locking: Locking
    size: Size | None
    """The size of its table; None without a table, or if it does not exist yet."""
    seconds: float | None
    """The estimated time if it grows with the table; None if it is short."""

    @property
    def blocks_others(self) -> bool:
        return self.locking.hold in LONG and (self.seconds is None or self.seconds > 0.2)


@dataclass(frozen=True, slots=True)
class Step:
    """A migration that is missing."""

    name: str
    outside: bool
    """Its statements run one by one, without blocking readers and writers, and not in one transaction."""
    statements: Sequence[Statement]


@dataclass(frozen=True, slots=True)
class Plan:
    schema: int
    """The newest migration that the database has seen; 0 where it is empty."""
    newest: int
    steps: Sequence[Step]
    oldest_transaction: str | None
    """Transactions that are open for longer than ten seconds: a migration waits for them, in short attempts."""


async def plan(dsn: str) -> Plan:
    """Changes nothing. Raises SchemaError."""
    try:
        connection = await connect(dsn, command_seconds_max=60)
    except UnreachableError as error:
        raise SchemaError(str(error)) from error
    try:
        known, missing = migrations(), await missing_from(connection)
        sizes = {row["name"]: Size(row["bytes"], row["rows"]) for row in await connection.fetch(SQL.sizes)}
        seen = {migration.number for migration in known} - {migration.number for migration in missing}
        steps = [
            Step(one.name, one.outside, [_sized(statement, sizes) for statement in lockings(one.sql)])
            for one in missing
        ]
        oldest = await connection.fetchval(SQL.oldest_transaction)
        return Plan(max(seen, default=0), known[-1].number, steps if seen else [], oldest)
    finally:
        await connection.close()


def _sized(locking: Locking, sizes: Mapping[str, Size]) -> Statement:
    size = sizes.get(locking.table) if locking.table is not None else None
    rate = _BYTES_A_SECOND.get(locking.hold)
    return Statement(locking, size, None if rate is None or size is None else size.bytes / rate)
