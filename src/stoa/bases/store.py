"""Bases and items, between rows and values. Every function is handed the transaction it works in."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final
from uuid import UUID

from stoa.bases.types import Building, Chunking, EmbedderSpec, Item, ItemStatus, KnowledgeBase, NewBase, Retriever
from stoa.db import Row, Tx, load
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal

SQL: Final = load("stoa.bases")


# --- bases ----------------------------------------------------------------------------------------------------------
async def insert_base(tx: Tx, principal: Principal, project_id: UUID, base_id: UUID, new: NewBase) -> None:
    await tx.execute(
        SQL.insert_base,
        principal.org_id,
        project_id,
        base_id,
        new.name,
        new.description,
        embedder_json(new.embedder),
        chunking_json(new.chunking),
        asdict(new.retriever),
        new.language,
        principal.key_id,
        new.ocr,
        dict(new.ingestion) or None,
    )


async def base(tx: Tx, org_id: UUID, base_id: UUID) -> KnowledgeBase | None:
    row = await tx.fetchrow(SQL.base, org_id, base_id)
    return _base(row) if row else None


async def list_bases(
    tx: Tx, org_id: UUID, page: PageRequest, project_id: UUID | None
) -> tuple[Sequence[KnowledgeBase], int]:
    rows = await tx.fetch(
        SQL.list_bases.format(order=page.order_by("created_at DESC")), org_id, project_id, page.page_size, page.offset
    )
    return [_base(row) for row in rows], await tx.fetchval(SQL.count_bases, org_id, project_id)


async def update_base(tx: Tx, org_id: UUID, base_id: UUID, new: NewBase) -> None:
    await tx.execute(
        SQL.update_base,
        org_id,
        base_id,
        new.name,
        new.description,
        embedder_json(new.embedder),
        chunking_json(new.chunking),
        asdict(new.retriever),
        new.language,
        new.ocr,
        dict(new.ingestion) or None,
    )


# --- items ----------------------------------------------------------------------------------------------------------
async def item(tx: Tx, org_id: UUID, item_id: UUID) -> Item | None:
    row = await tx.fetchrow(SQL.item, org_id, item_id)
    return item_of(row) if row else None


async def list_items(
    tx: Tx,
    org_id: UUID,
    base_id: UUID,
    page: PageRequest,
    statuses: Sequence[ItemStatus] | None,
    source_id: UUID | None,
) -> tuple[Sequence[Item], int]:
    filters = (org_id, base_id, [status.value for status in statuses] if statuses else None, source_id)
    rows = await tx.fetch(
        SQL.list_items.format(items_order=page.order_by("uploaded_at DESC")), *filters, page.page_size, page.offset
    )
    return [item_of(row) for row in rows], await tx.fetchval(SQL.count_items, *filters)


# --- rows to values -------------------------------------------------------------------------------------------------
def embedder_json(spec: EmbedderSpec) -> dict[str, Any]:
    return {**asdict(spec), "connection_id": str(spec.connection_id) if spec.connection_id else None}


def embedder_of(stored: Mapping[str, Any]) -> EmbedderSpec:
    connection_id = stored.get("connection_id")
    return EmbedderSpec(
        stored["provider"],
        stored["model"],
        stored["dimensions"],
        UUID(connection_id) if connection_id else None,
        stored["identity"],
        stored.get("automatic", False),
    )


def chunking_json(chunking: Chunking) -> dict[str, Any]:
    """Without what is not set: an older server knows nothing of it."""
    return {name: value for name, value in asdict(chunking).items() if value is not None}


def building_json(building: Building) -> dict[str, Any]:
    return {
        "generation": building.generation,
        "embedder": embedder_json(building.embedder),
        "chunking": chunking_json(building.chunking),
        "language": building.language,
    }


def building_of(stored: Mapping[str, Any] | None) -> Building | None:
    if stored is None:
        return None
    return Building(
        stored["generation"], embedder_of(stored["embedder"]), Chunking(**stored["chunking"]), stored["language"]
    )


def _base(row: Row) -> KnowledgeBase:
    return KnowledgeBase(
        row["id"],
        row["org_id"],
        row["project_id"],
        row["name"],
        row["description"],
        embedder_of(row["embedder"]),
        Chunking(**row["chunking"]),
        Retriever(**row["retriever"]),
        row["language"],
        row["ocr"],
        row["ingestion"] or {},
        row["generation"],
        building_of(row["building"]),
        row["items"],
        row["chunks"],
        row["served"],
        row["built"],
        row["missed"],
        row["created_at"],
        row["updated_at"],
    )


def item_of(row: Row) -> Item:
    return Item(
        row["id"],
        row["org_id"],
        row["project_id"],
        row["knowledgebase_id"],
        row["name"],
        row["size"],
        row["mime_type"],
        row["sha256"],
        row["served_sha256"],
        row["served_name"],
        row["served_mime_type"],
        row["metadata"],
        ItemStatus(row["status"]),
        row["version"],
        row["attempt"],
        row["node_id"],
        row["pages_done"],
        row["pages"],
        row["chunks_done"],
        row["chunks_total"],
        row["built"],
        row["warnings"],
        row["error"],
        row["source_id"],
        row["origin"],
        row["paid_by"] or row["created_by"],
        row["uploaded_at"],
        row["processed_at"],
    )
