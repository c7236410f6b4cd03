"""Artifacts on the api host, and the links that anybody may open (contract section 6)."""

import io
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar
from urllib.parse import quote
from uuid import UUID

from fastapi import Depends, Form, Header, Path, Query, Request, UploadFile
from fastapi import File as FormFile
from pydantic import ValidationError
from starlette.responses import StreamingResponse

from stoa.artifacts import rules, wire
from stoa.artifacts.service import Artifacts
from stoa.artifacts.types import ArtifactFilter, Kind, Version
from stoa.http import (
    Acknowledgement,
    Body,
    Data,
    DataList,
    Gate,
    IdempotencyKeyHeader,
    Paging,
    Routes,
    fingerprint,
    page_of,
    refusals,
    repeated,
)
from stoa.http.authentication import bearer_token
from stoa.http.bodies import MESSAGE_LIMIT, BodyLimit, parse
from stoa.http.errors import explain
from stoa.http.idempotency import IdempotencyKey
from stoa.http.routing import limited
from stoa.http.wire import DeletedWire
from stoa.kernel.errors import BadRequest, NotFound
from stoa.kernel.links import SignedLinks
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal

B = TypeVar("B", bound=Body)
PrincipalOf = Callable[[UUID], Awaitable[Principal]]
Upload = Annotated[UploadFile, FormFile(description="At most 25 MiB; 16 of HTML, 100 of a bundle.")]
Fields = Annotated[str, Form(description="JSON: the fields beside the content.")]
Named = Annotated[str, Path(description="The id of a version, its number, or latest.", max_length=40)]
IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", max_length=100, description="The id of the version that this one is to follow."),
]
UPLOAD = BodyLimit(rules.BYTES_MAX_OF[Kind.BUNDLE])


class Root:
    """How the outside reaches this server."""

    def __init__(self, public_url: str | None) -> None:
        self._public_url = public_url

    def __call__(self, request: Request) -> str:
        return (self._public_url or str(request.base_url)).rstrip("/")


def routes(artifacts: Artifacts, gate: Gate, links: SignedLinks, principal_of: PrincipalOf, root: Root) -> Routes:
    router = Routes(tags=["artifacts"])
    reading, writing = gate("artifacts:read"), gate("artifacts:write")

    @router.get("/v1/artifacts", responses=refusals(404))
    async def list_artifacts(
        request: Request,
        principal: Annotated[Principal, reading],
        page: Annotated[PageRequest, Depends(Paging(rules.SORTABLE))],
        org_id: UUID | None = None,
        project_id: UUID | None = None,
        store_id: UUID | None = None,
        user_id: Annotated[str | None, Query(max_length=255, description="Of this end user.")] = None,
        kind: Kind | None = None,
    ) -> DataList[wire.ArtifactWire]:
        """Artifacts, most recently updated first."""
        if org_id is not None and org_id != principal.org_id:
            raise NotFound(f"There is no organization {org_id}.")
        wanted = ArtifactFilter(store_id, user_id, kind, project_id)
        base = root(request)
        return page_of(await artifacts.list(principal, wanted, page), lambda one: wire.artifact(one, base))

    @router.post("/v1/artifacts", status_code=201, responses=refusals(409, 413))
    @limited(MESSAGE_LIMIT)
    async def create_artifact(
        request: Request,
        body: wire.CreateArtifact,
        principal: Annotated[Principal, writing],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[wire.ArtifactWire]:
        """An artifact that is text of at most 8 MiB; POST /v1/artifacts/upload takes every other."""
        once = repeated(idempotency_key, "artifacts", body)
        made = await artifacts.create(principal, wire.new_artifact(body), io.BytesIO(body.content.encode()), once)
        return Data(data=wire.artifact(made, root(request)))

    @router.post("/v1/artifacts/upload", status_code=201, responses=refusals(409, 413, 415))
    @limited(UPLOAD)
    async def upload_artifact(
        request: Request,
        principal: Annotated[Principal, writing],
        data: Fields,
        file: Upload,
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[wire.ArtifactWire]:
        """An artifact of any kind."""
        fields = _fields(wire.ArtifactFields, data)
        body = fingerprint({"data": data, "name": file.filename, "size": file.size})
        once = IdempotencyKey(idempotency_key, "artifacts/upload", body) if idempotency_key else None
        made = await artifacts.create(principal, wire.new_artifact(fields), file.file, once)
        return Data(data=wire.artifact(made, root(request)))

    @router.get("/v1/artifacts/{artifact_id}", responses=refusals(404))
    async def get_artifact(
        request: Request, artifact_id: UUID, principal: Annotated[Principal, reading]
    ) -> Data[wire.ArtifactWire]:
        return Data(data=wire.artifact(await artifacts.get(principal, artifact_id), root(request)))

    @router.delete("/v1/artifacts/{artifact_id}", responses=refusals(404))
    async def delete_artifact(artifact_id: UUID, principal: Annotated[Principal, writing]) -> DeletedWire:
        """For good, with all versions and its link. The receipt is at /v1/deletions/{deletion_id}."""
        return DeletedWire(message="deleted", deletion_id=await artifacts.delete(principal, artifact_id))

    _versions(router, artifacts, gate)
    _content(router, artifacts, gate, links, principal_of)
    _sharing(router, artifacts, gate, root)
    return router


def _versions(router: Routes, artifacts: Artifacts, gate: Gate) -> None:
    reading, writing = gate("artifacts:read"), gate("artifacts:write")

    @router.get("/v1/artifacts/{artifact_id}/versions", responses=refusals(404))
    async def list_artifact_versions(
        artifact_id: UUID,
        principal: Annotated[Principal, reading],
        page: Annotated[PageRequest, Depends(Paging(rules.VERSIONS_SORTABLE))],
    ) -> DataList[wire.ArtifactVersionWire]:
        """Its versions, newest first; the newest 50 are kept."""
        return page_of(await artifacts.versions(principal, artifact_id, page), wire.version)

    @router.post("/v1/artifacts/{artifact_id}/versions", status_code=201, responses=refusals(404, 409, 412, 413))
    @limited(MESSAGE_LIMIT)
    async def create_artifact_version(
        artifact_id: UUID,
        body: wire.CreateArtifactVersion,
        principal: Annotated[Principal, writing],
        if_match: IfMatch = None,
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[wire.ArtifactVersionWire]:
        """The newest version from now on. What is equal to the newest is no new version."""
        source = io.BytesIO(body.content.encode())
        new, follows = wire.new_version(body), _version_id(if_match)
        once = repeated(idempotency_key, f"artifacts/{artifact_id}/versions", body)
        made = await artifacts.add_version(principal, artifact_id, new, source, follows, once=once)
        return Data(data=wire.version(made))

    @router.post(
        "/v1/artifacts/{artifact_id}/versions/upload", status_code=201, responses=refusals(404, 409, 412, 413, 415)
    )
    @limited(UPLOAD)
    async def upload_artifact_version(
        artifact_id: UUID,
        principal: Annotated[Principal, writing],
        file: Upload,
        data: Fields = "{}",
        if_match: IfMatch = None,
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[wire.ArtifactVersionWire]:
        new, follows = wire.new_version(_fields(wire.VersionFields, data)), _version_id(if_match)
        route = f"artifacts/{artifact_id}/versions/upload"
        once = IdempotencyKey(idempotency_key, route, fingerprint(data)) if idempotency_key else None
        made = await artifacts.add_version(principal, artifact_id, new, file.file, follows, once=once)
        return Data(data=wire.version(made))

    @router.get("/v1/artifacts/{artifact_id}/versions/{version}", responses=refusals(404))
    async def get_artifact_version(
        artifact_id: UUID, version: Named, principal: Annotated[Principal, reading]
    ) -> Data[wire.ArtifactVersionWire]:
        _, found = await artifacts.version(principal, artifact_id, _named(version))
        return Data(data=wire.version(found))


def _content(router: Routes, artifacts: Artifacts, gate: Gate, links: SignedLinks, principal_of: PrincipalOf) -> None:
    async def reader(
        request: Request,
        artifact_id: UUID,
        ticket: Annotated[
            str | None, Query(max_length=200, description="Of a signed link, instead of a header.")
        ] = None,
    ) -> Principal:
        if ticket is not None and bearer_token(request) is None:
            return await principal_of(links.key_of(artifact_id, ticket))
        return await gate.admit(request, bearer_token(request), "artifacts:read")

    @router.get(
        "/v1/artifacts/{artifact_id}/versions/{version}/download",
        response_class=StreamingResponse,
        responses=refusals(404),
    )
    async def download_artifact(
        artifact_id: UUID, version: Named, principal: Annotated[Principal, Depends(reader)]
    ) -> StreamingResponse:
        """The version, byte for byte. Always sent as an attachment, so that no browser runs what a stranger wrote."""
        held, found = await artifacts.version(principal, artifact_id, _named(version))
        return await _attached(artifacts, found, held.file_name)


def _sharing(router: Routes, artifacts: Artifacts, gate: Gate, root: Root) -> None:
    writing = gate("artifacts:write")

    @router.post("/v1/artifacts/{artifact_id}/share", responses=refusals(404))
    async def share_artifact(
        request: Request, artifact_id: UUID, body: wire.ShareArtifact, principal: Annotated[Principal, writing]
    ) -> Data[wire.ArtifactShareWire]:
        """A link that anybody may open. Sharing again changes the terms of the same link."""
        made = await artifacts.share(principal, artifact_id, body.pinned_version_id, body.expires_at)
        return Data(data=wire.share(made, root(request)))

    @router.delete("/v1/artifacts/{artifact_id}/share", responses=refusals(404))
    async def unshare_artifact(artifact_id: UUID, principal: Annotated[Principal, writing]) -> Acknowledgement:
        """The link shows nothing any more; sharing again makes another one."""
        await artifacts.unshare(principal, artifact_id)
        return Acknowledgement(message="deleted")


def shared_routes(artifacts: Artifacts) -> Routes:
    """The links. Their last part is the credential."""
    router = Routes(tags=["artifacts"])

    @router.get("/v1/shared/{secret}", response_class=StreamingResponse, responses=refusals(404))
    async def read_shared_artifact(secret: str) -> StreamingResponse:
        """What is shared: text, HTML and pictures for a browser to show, anything else as an attachment. A page runs in
        an origin of its own and reaches nobody."""
        share_id = rules.share_id_of(secret)
        found = await artifacts.shared(share_id) if share_id is not None else None
        if found is None:
            raise NotFound("This link shows nothing: it was revoked, or has expired.")
        kind, file_name, version = found
        shown = rules.inline_type(kind, version.mime_type)
        if shown is None:
            return await _attached(artifacts, version, file_name)
        headers = _headers(version) | {"Content-Security-Policy": rules.SHOWN, "Cache-Control": "no-store"}
        return StreamingResponse(await artifacts.content(version), media_type=shown, headers=headers)

    return router


async def _attached(artifacts: Artifacts, version: Version, file_name: str) -> StreamingResponse:
    headers = _headers(version) | {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file_name)}",
        "Content-Security-Policy": "sandbox",
    }
    return StreamingResponse(await artifacts.content(version), media_type=version.mime_type, headers=headers)


def _headers(version: Version) -> dict[str, str]:
    return {"Content-Length": str(version.size), "X-Content-Type-Options": "nosniff"}


def _fields(model: type[B], data: str) -> B:
    """The part `data` of a form. Raises BadRequest naming the field."""
    try:
        given = parse(data.encode())
    except BadRequest as error:
        raise BadRequest.field("data", "is no JSON object") from error
    if not isinstance(given, dict):
        raise BadRequest.field("data", "is no JSON object")
    try:
        return model.model_validate(given)
    except ValidationError as error:
        found = [{**one, "loc": ("body", *one["loc"])} for one in error.errors(include_url=False)]
        problems = {f"data.{path}": reason for path, reason in explain(found, model).items()}
        raise BadRequest("; ".join(f"{path} {why}" for path, why in problems.items()), details=problems) from error


def _named(version: str) -> UUID | int | None:
    """Raises BadRequest."""
    if version == "latest":
        return None
    if version.isascii() and version.isdigit() and len(version) < 9:
        return int(version)
    try:
        return UUID(version)
    except ValueError:
        raise BadRequest.field("version", "must be the id of a version, its number, or latest") from None


def _version_id(if_match: str | None) -> UUID | None:
    """Raises BadRequest."""
    if if_match is None:
        return None
    try:
        return UUID(if_match.strip().removeprefix("W/").strip('"'))
    except ValueError:
        raise BadRequest.field("If-Match", "must be the id of a version, in quotes") from None
