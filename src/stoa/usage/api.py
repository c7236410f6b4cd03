"""`GET /v1/usage`: tokens and dollars, grouped and filtered."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Depends, Query
from pydantic import AwareDatetime

from stoa.http import DataList, Gate, Paging, Routes, page_of, refusals
from stoa.kernel.clock import Clock
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal
from stoa.usage import rules, wire
from stoa.usage.service import UsageReports
from stoa.usage.types import Filter


def routes(reports: UsageReports, gate: Gate, clock: Clock) -> Routes:
    router = Routes(tags=["usage"])

    @router.get("/v1/usage", responses=refusals())
    async def get_usage(
        principal: Annotated[Principal, gate("usage:read")],
        page: Annotated[PageRequest, Depends(Paging(rules.SORTABLE))],
        group_by: Annotated[
            str | None,
            Query(max_length=200, description=f"Comma-separated: {', '.join(rules.GROUPS)}. Without it, one sum."),
        ] = None,
        start: Annotated[
            AwareDatetime | None,
            Query(alias="from", description="The first moment that counts; 30 days before `to` if left out."),
        ] = None,
        end: Annotated[
            AwareDatetime | None,
            Query(alias="to", description="The first moment that does not count; now if left out."),
        ] = None,
        project_id: UUID | None = None,
        key_id: UUID | None = None,
        conversation_id: UUID | None = None,
        run_id: UUID | None = None,
        model: Annotated[str | None, Query(max_length=300)] = None,
        user_id: Annotated[str | None, Query(max_length=255)] = None,
        kind: Annotated[
            Literal["run", "ocr", "gateway", "cache"] | None,
            Query(description="Runs, pages read for knowledge bases, calls of the gateway, its cache's answers."),
        ] = None,
        knowledgebase_id: UUID | None = None,
    ) -> DataList[wire.UsageWire]:
        """What calls of models used and cost, subagents' included, within the caller's scope. Days are in UTC.

        What a deleted conversation or knowledge base cost stays in the sums; what it was for is gone.
        """
        begin, until = rules.days(start, end, clock.now())
        which = Filter(
            begin, until, project_id, key_id, conversation_id, run_id, model, user_id, kind, knowledgebase_id
        )
        return page_of(await reports.report(principal, which, rules.groups(group_by), page), wire.usage)

    return router
