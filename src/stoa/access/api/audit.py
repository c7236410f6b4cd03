"""The audit: lists, the head of the chain, exports."""

from collections.abc import AsyncGenerator
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Query
from pydantic import AwareDatetime
from starlette.responses import Response, StreamingResponse

from stoa.access import audit_wire
from stoa.access.auditing import Audit
from stoa.access.types import AuditFilter
from stoa.http import Data, DataList, Gate, Routes, page_of, refusals
from stoa.kernel.pages import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX
from stoa.kernel.principal import Principal

_EXPORTS = {"jsonl": "application/jsonl", "csv": "text/csv; charset=utf-8"}
_SEQUENCE_MAX = 2**62


def routes(audit: Audit, gate: Gate) -> Routes:
    router = Routes(tags=["audit"])
    reading = gate("audit:read")

    @router.get("/v1/audit", responses=refusals())
    async def list_audit(
        principal: Annotated[Principal, reading],
        action: Annotated[str | None, Query(max_length=100, description="As access_key.create.")] = None,
        subject_id: UUID | None = None,
        actor_id: Annotated[UUID | None, Query(description="A key or a user.")] = None,
        since: AwareDatetime | None = None,
        until: AwareDatetime | None = None,
        page_size: Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX, description="1 to 500.")] = PAGE_SIZE_DEFAULT,
        cursor: Annotated[
            str | None, Query(pattern=r"^[0-9]{1,18}$", description="The next_cursor of the page before.")
        ] = None,
    ) -> DataList[audit_wire.AuditLineWire]:
        """Lists who changed what over the API, newest first."""
        wanted = AuditFilter(action, subject_id, actor_id, since, until)
        found = await audit.list(principal, wanted, page_size, int(cursor) if cursor else None)
        return page_of(found, audit_wire.line)

    @router.get("/v1/audit/head", responses=refusals())
    async def get_audit_head(principal: Annotated[Principal, reading]) -> Data[audit_wire.AuditHeadWire]:
        """Returns the last line of the organization's chain and its hash. Keep it outside of this server, to compare a
        later export with it."""
        return Data(data=audit_wire.head(await audit.head(principal)))

    @router.get(
        "/v1/audit/export",
        response_class=Response,
        responses={
            200: {
                "description": "A line per change, in the order of the chain.",
                "content": {kind.partition(";")[0]: {} for kind in _EXPORTS.values()},
            },
            **refusals(),
        },
    )
    async def export_audit(
        principal: Annotated[Principal, reading],
        format: Annotated[  # noqa: A002 — the name in the query
            Literal["jsonl", "csv"], Query(description="`stoa audit verify` reads jsonl.")
        ] = "jsonl",
        after: Annotated[int, Query(ge=0, le=_SEQUENCE_MAX, description="The sequence before the first line.")] = 0,
    ) -> Response:
        """Exports the organization's chain, to be stored elsewhere and verified offline."""
        await audit.begin_export(principal)
        return StreamingResponse(_exported(audit, principal, format, after), media_type=_EXPORTS[format])

    return router


async def _exported(audit: Audit, principal: Principal, kind: str, after: int) -> AsyncGenerator[bytes]:
    heading = True
    async for lines in audit.export(principal, after):
        yield audit_wire.as_jsonl(lines) if kind == "jsonl" else audit_wire.as_csv(lines, heading=heading)
        heading = False
    if heading and kind == "csv":
        yield audit_wire.as_csv((), heading=True)
