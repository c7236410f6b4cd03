"""The doctor's checks of knowledge bases: items are settled, the index has exactly these items, their contents
exist."""

from collections.abc import Sequence
from functools import partial
from typing import Final
from uuid import UUID

from stoa.bases.ports import Index
from stoa.bases.service import CHANNEL
from stoa.bases.store import SQL as BASES
from stoa.db import Database, Tx, load
from stoa.db.blob_checks import blob_checks
from stoa.db.blobs import BlobStore
from stoa.db.checks import Check, stated
from stoa.db.internal import internal
from stoa.index import BaseKey
from stoa.kernel.findings import Finding

SQL: Final = load("stoa.bases", "checks.sql")


def checks(database: Database, index: Index, blobs: BlobStore) -> Sequence[Check]:
    return [
        Check(
            "knowledge.overdue",
            "Every item is claimed soon, and is processed, failed or claimed again by its deadline.",
            stated(SQL.overdue),
            "A running server claims it. The repair releases it, so that any node claims it.",
            partial(_process_again, database),
        ),
        Check(
            "knowledge.unserved",
            "Every processed item is in the index, with all its chunks.",
            stated(SQL.unserved),
            "The repair has it processed again.",
            partial(_process_again, database),
        ),
        Check(
            "knowledge.orphans",
            "Every entry of an index belongs to an item of its base: nothing that was deleted can be found.",
            stated(SQL.orphans),
            "The repair removes it, with its chunks, vectors and words.",
            partial(_remove, database, index),
        ),
        Check(
            "knowledge.stray_indexes",
            "Every index is searched by its base, or being built for it.",
            stated(SQL.stray_indexes),
            "The repair drops it.",
            partial(_drop, database, index),
        ),
        Check(
            "knowledge.miscounted",
            "An index counts its chunks and words right, and has a vector for each chunk.",
            stated(SQL.miscounted),
            "Re-index the base (POST /v1/knowledgebases/{id}/reindex): it goes on answering meanwhile.",
        ),
        Check(
            "knowledge.unbilled",
            "Every page that a model read is on the bill, with its tokens.",
            stated(SQL.unbilled),
            "The repair enters what is missing, without a price; a line that says something else is left as it is.",
            partial(_enter_on_bill, database),
        ),
        *blob_checks("knowledge_files", "item", database, blobs, SQL.contents, BASES.content_in_use),
    ]


async def _process_again(database: Database, finding: Finding) -> bool:
    async with internal(database) as tx:
        done = await tx.fetchval(SQL.process_again, finding.org_id, UUID(finding.subject)) is not None
        tx.notify(CHANNEL)
        return done


async def _enter_on_bill(database: Database, finding: Finding) -> bool:
    item_id, sha256, page, model = finding.subject.split("/", 3)
    async with internal(database) as tx:
        return await tx.fetchval(SQL.bill_late, finding.org_id, UUID(item_id), sha256, int(page), model) is not None


async def _remove(database: Database, index: Index, finding: Finding) -> bool:
    base_id, generation, item_id = finding.subject.split("/")
    async with internal(database) as tx:
        key = await _key(tx, finding.org_id, base_id, generation)
        if key is None or await tx.fetchrow(BASES.item, finding.org_id, UUID(item_id)) is not None:
            return False
        await index.remove(tx, key, [UUID(item_id)])
        return True


async def _drop(database: Database, index: Index, finding: Finding) -> bool:
    async with internal(database) as tx:
        key = await _key(tx, finding.org_id, *finding.subject.split("/"))
        if key is None:
            return False
        await index.drop(tx, key)
        return True


async def _key(tx: Tx, org_id: UUID, base_id: str, generation: str) -> BaseKey | None:
    """The index that a finding names, with its base locked, if the finding still holds."""
    await tx.fetchrow(BASES.lock_base, org_id, UUID(base_id))
    project_id = await tx.fetchval(SQL.index_key, org_id, UUID(base_id), int(generation))
    return BaseKey(org_id, project_id, UUID(base_id), int(generation)) if project_id is not None else None
