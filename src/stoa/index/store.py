"""The index between rows and values. Every function is handed the transaction it works in."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from stoa.db import Row, Tx, load
from stoa.index.postings import Block
from stoa.index.types import BaseKey

SQL: Final = load("stoa.index")
SHARED: Final = "ONLY knowledge_vectors"
_BATCH: Final = 4_000


def vectors_table(row: Row) -> str:
    """Where an index's vectors are: a large one has a table of its own."""
    return own_table(row["index_id"]) if row["own_table"] else SHARED


def own_table(index_id: int) -> str:
    return f"knowledge_vectors_{index_id}"


async def insert_blocks(tx: Tx, key: BaseKey, index_id: int, blocks: Sequence[Block]) -> None:
    for start in range(0, len(blocks), _BATCH):
        batch = blocks[start : start + _BATCH]
        await tx.execute(
            SQL.insert_postings,
            key.org_id,
            key.project_id,
            index_id,
            [one.term for one in batch],
            [one.first_ordinal for one in batch],
            [one.last_ordinal for one in batch],
            [one.records for one in batch],
        )


async def blocks_of(
    tx: Tx, org_id: UUID, index_id: int, terms: Sequence[str], first_ordinal: int, last_ordinal: int
) -> list[Block]:
    """The blocks of these terms that may hold one of the ordinals."""
    found: list[Block] = []
    for start in range(0, len(terms), _BATCH):
        rows = await tx.fetch(
            SQL.blocks_of, org_id, index_id, terms[start : start + _BATCH], first_ordinal, last_ordinal
        )
        found += [Block(row["term"], row["first_ordinal"], row["last_ordinal"], row["records"]) for row in rows]
    return found


async def delete_blocks(tx: Tx, org_id: UUID, index_id: int, blocks: Sequence[Block]) -> None:
    for start in range(0, len(blocks), _BATCH):
        batch = blocks[start : start + _BATCH]
        await tx.execute(
            SQL.delete_blocks, org_id, index_id, [one.term for one in batch], [one.first_ordinal for one in batch]
        )


async def set_records(tx: Tx, org_id: UUID, index_id: int, blocks: Sequence[Block]) -> None:
    """For blocks that are there, with fewer records than before."""
    for start in range(0, len(blocks), _BATCH):
        batch = blocks[start : start + _BATCH]
        await tx.execute(
            SQL.set_records,
            org_id,
            index_id,
            [one.term for one in batch],
            [one.first_ordinal for one in batch],
            [one.records for one in batch],
        )
