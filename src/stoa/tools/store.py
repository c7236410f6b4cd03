"""Rows of tools to values and back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final
from uuid import UUID

from stoa.db import Row, Tx, load
from stoa.kernel.errors import Conflict, NotFound
from stoa.kernel.principal import Principal
from stoa.tools.types import Definition, NewTool, Offer, ToolKind

SQL: Final = load("stoa.tools")


async def insert(
    tx: Tx, principal: Principal, project_id: UUID, tool_id: UUID, new: NewTool, sealed: bytes | None
) -> Row | None:
    return await tx.fetchrow(SQL.insert_tool, principal.org_id, project_id, tool_id, *_columns(new, sealed))


async def update(tx: Tx, principal: Principal, tool_id: UUID, new: NewTool, sealed: bytes | None) -> Row | None:
    return await tx.fetchrow(SQL.update_tool, principal.org_id, tool_id, *_columns(new, sealed))


def _columns(new: NewTool, sealed: bytes | None) -> tuple[object, ...]:
    return (
        new.name,
        new.type.value,
        new.description,
        new.config,
        sealed,
        sorted(new.secrets or ()),
        new.idempotent,
        new.approval,
        list(new.editable_params),
        new.timeout_seconds,
        new.output_bytes_max,
    )


def taken(name: str) -> Conflict:
    return Conflict(f"There is a tool named {name} already.", details={"name": "is taken"})


def value(row: Row | None, tool_id: UUID) -> Definition:
    """Raises NotFound where there is no row."""
    if row is None:
        raise NotFound(f"There is no tool {tool_id}.")
    return Definition(
        row["id"],
        row["project_id"],
        row["name"],
        ToolKind(row["type"]),
        row["description"],
        row["config"],
        row["secret_names"],
        row["idempotent"],
        row["approval"],
        row["editable_params"],
        row["timeout_seconds"],
        row["output_bytes_max"],
        row["created_at"],
        row["updated_at"],
        offers_of(row["offers"]),
        row["listed_at"],
        row["problem"],
    )


def offers_of(stored: Sequence[Mapping[str, Any]] | None) -> Sequence[Offer] | None:
    return [Offer(**one) for one in stored] if stored is not None else None


def offers_json(offers: Sequence[Offer]) -> list[dict[str, Any]]:
    return [asdict(offer) for offer in offers]
