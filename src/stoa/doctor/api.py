"""`GET /v1/doctor`: the broken promises of the caller's organization, counted."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query

from stoa.db.checks import Scope
from stoa.doctor import wire
from stoa.doctor.service import Doctor
from stoa.http import Data, Gate, Routes, refusals
from stoa.kernel.errors import BadRequest, Forbidden
from stoa.kernel.principal import Principal


def routes(doctor: Doctor, gate: Gate) -> Routes:
    router = Routes(tags=["operations"])

    @router.get("/v1/doctor", responses=refusals(429))
    async def examine(
        principal: Annotated[Principal, gate("doctor:read")],
        since: Annotated[
            datetime | None, Query(description="Only what was made at or after this time; without it, everything.")
        ] = None,
    ) -> Data[wire.ReportWire]:
        """Counts broken promises of the key's organization: zeros, unless something is wrong. Wants an
        organization-wide key.

        The checks have four seconds together; one that does not end in time says so. On a large database
        narrow it with `since`, or ask `stoa doctor` on the server's machine, which can also repair.
        """
        if not principal.organization_wide:
            raise Forbidden("A project-scoped key cannot ask the doctor; use an organization-wide one.")
        if since is not None and not 1970 <= since.year <= 9000:
            raise BadRequest.field("since", "must be a time between the years 1970 and 9000")
        moment = since.replace(tzinfo=UTC) if since is not None and since.tzinfo is None else since
        return Data(data=wire.report(await doctor.ask(principal, Scope(since=moment))))

    return router
