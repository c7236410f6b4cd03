"""Exports and imports of projects on the api host (docs/decisions/0102)."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Final
from uuid import UUID

from fastapi import Depends, Path, Query, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from stoa.http import Acknowledgement, Data, DataList, Gate, Paging, Routes, page_of, refusals
from stoa.http.bodies import BodyLimit, allow
from stoa.http.routing import limited
from stoa.kernel.errors import BadRequest, TooLarge
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal
from stoa.transfer import rules, wire
from stoa.transfer.exports import Exports
from stoa.transfer.ports import Organizations
from stoa.transfer.service import Imports

PERMISSION: Final = "projects:transfer"
_TAR: Final = "application/x-tar"
_BYTES: Final = {"schema": {"type": "string", "format": "binary"}}
Number = Annotated[str, Path(description="As the manifest numbers the parts, from 1.", max_length=40)]
OrgId = Annotated[UUID | None, Query(description="Of a user's organizations; without it the credential's own.")]


class TarStream(StreamingResponse):
    """Closes what it reads from as soon as the client is gone: an export can be resumed at once."""

    def __init__(self, pieces: AsyncGenerator[bytes], headers: dict[str, str]) -> None:
        super().__init__(pieces, media_type=_TAR, headers=headers)
        self._pieces = pieces

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self._pieces):
            await super().stream_response(send)


def routes(exports: Exports, imports: Imports, organizations: Organizations, gate: Gate) -> Routes:
    router = Routes(tags=["transfer"])
    exporting = gate("projects:transfer")

    @router.get(
        "/v1/projects/{project_id}/export",
        response_class=Response,
        responses={
            200: {
                "description": "The project as a tar archive of checksummed parts.",
                "content": {_TAR: _BYTES, "application/octet-stream": _BYTES},  # Generators know only the second.
            },
            **refusals(404, 409),
        },
    )
    async def export_project(
        project_id: UUID,
        principal: Annotated[Principal, exporting],
        export_id: Annotated[
            UUID | None, Query(description="Goes on with an export: `Stoa-Export-Id` of its first answer.")
        ] = None,
        after: Annotated[
            int, Query(ge=0, le=rules.PARTS_MAX, description="The number of the last part that is there.")
        ] = 0,
    ) -> Response:
        """Everything that the project holds, but for secrets, as it was at one moment. Wants an owner, an admin or an
        organization-wide key."""
        there = await organizations.of_project(principal, project_id, PERMISSION)
        if export_id is None:
            export = await exports.begin(there, project_id)
            pieces = exports.stream(export, None)
        else:
            export = exports.resume(there, project_id, export_id, after)
            pieces = exports.stream(export, after)
        name = f"stoa-project-{project_id}.tar"
        headers = {"Stoa-Export-Id": str(export.id), "Content-Disposition": f'attachment; filename="{name}"'}
        return TarStream(pieces, headers)

    _import_routes(router, imports, organizations, gate)
    return router


def _import_routes(router: Routes, imports: Imports, organizations: Organizations, gate: Gate) -> None:
    importing = gate("projects:transfer")

    @router.get("/v1/imports", responses=refusals(404))
    async def list_imports(
        principal: Annotated[Principal, importing],
        page: Annotated[PageRequest, Depends(Paging())],
        org_id: OrgId = None,
    ) -> DataList[wire.ListedProjectImportWire]:
        """Imports that wait for their parts, and those that were applied, the newest first."""
        there = await organizations.within(principal, org_id, PERMISSION)
        return page_of(await imports.list(there, page), wire.listed)

    @router.post("/v1/imports", status_code=201, responses=refusals(404, 409, 413))
    @limited(BodyLimit(rules.MANIFEST_BYTES_MAX, rules.MANIFEST_VALUES_MAX))
    async def create_import(
        body: wire.ManifestBody,
        principal: Annotated[Principal, importing],
        org_id: OrgId = None,
    ) -> Data[wire.ProjectImportWire]:
        """Begins an import, or gives the one that the same manifest has begun: send the parts that it says are
        missing, and apply it."""
        there = await organizations.within(principal, org_id, PERMISSION)
        made, _ = await imports.begin(there, body.model_dump(mode="json"))
        return Data(data=wire.import_(made))

    @router.get("/v1/imports/{import_id}", responses=refusals(404))
    async def get_import(
        import_id: UUID, principal: Annotated[Principal, importing], org_id: OrgId = None
    ) -> Data[wire.ProjectImportWire]:
        there = await organizations.within(principal, org_id, PERMISSION)
        return Data(data=wire.import_(await imports.get(there, import_id)))

    _applying(router, imports, organizations, gate)


def _applying(router: Routes, imports: Imports, organizations: Organizations, gate: Gate) -> None:
    importing = gate("projects:transfer")

    @router.put(
        "/v1/imports/{import_id}/parts/{number}",
        responses=refusals(404, 409, 413),
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/octet-stream": _BYTES},
            }
        },
    )
    async def put_import_part(
        import_id: UUID,
        number: Number,
        request: Request,
        principal: Annotated[Principal, importing],
        org_id: OrgId = None,
    ) -> Acknowledgement:
        """One part, as it is in the export. It must have the size and the SHA-256 that the manifest says."""
        there = await organizations.within(principal, org_id, PERMISSION)
        part = await imports.part(there, import_id, number)
        allow(request.scope, BodyLimit(part.size))
        await imports.put_part(there, import_id, part, await _body(request, part.size))
        return Acknowledgement(message="ok")

    @router.post("/v1/imports/{import_id}/apply", responses=refusals(404, 409))
    async def apply_import(
        import_id: UUID,
        body: wire.ApplyImport,
        principal: Annotated[Principal, importing],
        org_id: OrgId = None,
    ) -> Data[wire.ImportReportWire]:
        """Makes the project in one transaction: all of it, or nothing."""
        there = await organizations.within(principal, org_id, PERMISSION)
        made = await imports.apply(there, import_id, body.models, dry_run=body.dry_run)
        return Data(data=wire.report(made))

    @router.delete("/v1/imports/{import_id}", responses=refusals(404, 409))
    async def delete_import(
        import_id: UUID, principal: Annotated[Principal, importing], org_id: OrgId = None
    ) -> Acknowledgement:
        """Drops an import that was not applied, with its parts."""
        there = await organizations.within(principal, org_id, PERMISSION)
        await imports.drop(there, import_id)
        return Acknowledgement(message="deleted")


async def _body(request: Request, size: int) -> bytes:
    """As it was sent. Raises BadRequest and TooLarge."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > size:
            raise TooLarge(f"This part has {size} bytes; more was sent.")
    if not body:
        raise BadRequest.field("body", "is required: the bytes of the part")
    return bytes(body)
