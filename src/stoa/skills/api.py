"""Skills on the api host (contract section 6)."""

import asyncio
import re
from typing import Annotated
from urllib.parse import quote
from uuid import UUID

from fastapi import Depends, Form, Path, UploadFile
from fastapi import File as FormFile
from starlette.responses import Response

from stoa.http import (
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
from stoa.http.bodies import BodyLimit
from stoa.http.idempotency import IdempotencyKey
from stoa.http.routing import limited
from stoa.http.wire import DeletedWire
from stoa.kernel.errors import BadRequest, TooLarge
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal
from stoa.skills import archives, rules, wire
from stoa.skills.service import Skills
from stoa.skills.types import NewVersion

Archive = Annotated[UploadFile, FormFile(description="A ZIP of at most 1 MiB with SKILL.md at its root.")]
Named = Annotated[str, Path(description="The id of a version, its number, or latest.", max_length=40)]
LIMIT = BodyLimit(rules.ARCHIVE_BYTES_MAX)


def routes(skills: Skills, gate: Gate) -> Routes:
    router = Routes(tags=["skills"])
    reading, writing = gate("skills:read"), gate("skills:write")

    @router.get("/v1/skills", responses=refusals())
    async def list_skills(
        principal: Annotated[Principal, reading],
        page: Annotated[PageRequest, Depends(Paging(rules.SKILLS_SORTABLE))],
        project_id: UUID | None = None,
    ) -> DataList[wire.SkillWire]:
        """Skills by name."""
        return page_of(await skills.list(principal, project_id, page), wire.skill)

    @router.post("/v1/skills", status_code=201, responses=refusals(409))
    async def create_skill(
        body: wire.CreateSkill, principal: Annotated[Principal, writing], idempotency_key: IdempotencyKeyHeader = None
    ) -> Data[wire.SkillWire]:
        """A skill that is instructions alone; POST /v1/skills/upload takes one with files."""
        once = repeated(idempotency_key, "skills", body)
        made = await skills.create(principal, body.name, wire.new_version(body), body.project_id, once)
        return Data(data=wire.skill(made))

    @router.post("/v1/skills/upload", status_code=201, responses=refusals(409, 413, 415))
    @limited(LIMIT)
    async def upload_skill(
        principal: Annotated[Principal, writing],
        file: Archive,
        project_id: Annotated[UUID | None, Form()] = None,
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[wire.SkillWire]:
        """A skill with files. SKILL.md says its name and description between two lines `---` at its beginning."""
        new, content = await _read(file)
        name = new.name or re.sub(r"\.zip$", "", file.filename or "", flags=re.IGNORECASE)
        if problem := rules.name_problem(name):
            raise BadRequest.field("file", f"has a SKILL.md whose name {problem}")
        once = _once(idempotency_key, f"skills/upload/{project_id}", content)
        return Data(data=wire.skill(await skills.create(principal, name, new, project_id, once)))

    @router.post("/v1/skills/import/github", status_code=201, responses=refusals())
    async def import_skill(_: wire.ImportSkill, __: Annotated[Principal, writing]) -> Data[wire.SkillWire]:
        """Refused: this server fetches no skills."""
        raise BadRequest.field(
            "github_url",
            "is not fetched by this server: download the skill's directory as a ZIP and POST it to /v1/skills/upload",
        )

    @router.get("/v1/skills/{skill_id}", responses=refusals(404))
    async def get_skill(skill_id: UUID, principal: Annotated[Principal, reading]) -> Data[wire.SkillWire]:
        return Data(data=wire.skill(await skills.get(principal, skill_id)))

    @router.put("/v1/skills/{skill_id}", responses=refusals(404, 409))
    async def update_skill(
        skill_id: UUID, body: wire.UpdateSkill, principal: Annotated[Principal, writing]
    ) -> Data[wire.SkillWire]:
        return Data(data=wire.skill(await skills.update(principal, skill_id, body.name, body.description)))

    @router.delete("/v1/skills/{skill_id}", responses=refusals(404))
    async def delete_skill(skill_id: UUID, principal: Annotated[Principal, writing]) -> DeletedWire:
        """For good, with all versions. The receipt is at /v1/deletions/{deletion_id}."""
        return DeletedWire(message="deleted", deletion_id=await skills.delete(principal, skill_id))

    _versions(router, skills, gate)
    _reading(router, skills, gate)
    return router


def _versions(router: Routes, skills: Skills, gate: Gate) -> None:
    reading, writing = gate("skills:read"), gate("skills:write")

    @router.get("/v1/skills/{skill_id}/versions", responses=refusals(404))
    async def list_skill_versions(
        skill_id: UUID,
        principal: Annotated[Principal, reading],
        page: Annotated[PageRequest, Depends(Paging(rules.VERSIONS_SORTABLE))],
    ) -> DataList[wire.SkillVersionWire]:
        """The skill's versions, newest first."""
        return page_of(await skills.versions(principal, skill_id, page), wire.version)

    @router.post("/v1/skills/{skill_id}/versions", status_code=201, responses=refusals(404, 409))
    async def create_skill_version(
        skill_id: UUID,
        body: wire.CreateSkillVersion,
        principal: Annotated[Principal, writing],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[wire.SkillVersionWire]:
        """The newest version from now on; agents that named another keep it."""
        once = repeated(idempotency_key, f"skills/{skill_id}/versions", body)
        return Data(data=wire.version(await skills.add_version(principal, skill_id, wire.new_version(body), once)))

    @router.post("/v1/skills/{skill_id}/versions/upload", status_code=201, responses=refusals(404, 409, 413, 415))
    @limited(LIMIT)
    async def upload_skill_version(
        skill_id: UUID,
        principal: Annotated[Principal, writing],
        file: Archive,
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[wire.SkillVersionWire]:
        """The same, with files. The skill keeps its name."""
        await skills.get(principal, skill_id)
        new, content = await _read(file)
        once = _once(idempotency_key, f"skills/{skill_id}/versions/upload", content)
        return Data(data=wire.version(await skills.add_version(principal, skill_id, new, once)))


def _reading(router: Routes, skills: Skills, gate: Gate) -> None:
    reading = gate("skills:read")

    @router.get("/v1/skills/{skill_id}/versions/{version}", responses=refusals(404))
    async def get_skill_version(
        skill_id: UUID, version: Named, principal: Annotated[Principal, reading]
    ) -> Data[wire.SkillVersionWire]:
        _, found = await skills.version(principal, skill_id, _named(version))
        return Data(data=wire.version(found))

    @router.get("/v1/skills/{skill_id}/versions/{version}/instructions", responses=refusals(404))
    async def get_skill_instructions(
        skill_id: UUID, version: Named, principal: Annotated[Principal, reading]
    ) -> wire.InstructionsWire:
        """What an agent reads."""
        return wire.instructions(*await skills.version(principal, skill_id, _named(version)))

    @router.get("/v1/skills/{skill_id}/versions/{version}/download", response_class=Response, responses=refusals(404))
    async def download_skill(skill_id: UUID, version: Named, principal: Annotated[Principal, reading]) -> Response:
        """The version as a ZIP: byte for byte as it was uploaded, or with the instructions alone."""
        found, content = await skills.archive(principal, skill_id, _named(version))
        headers = {
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(found.name)}.zip",
            "X-Content-Type-Options": "nosniff",
        }
        return Response(content, media_type="application/zip", headers=headers)


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


async def _read(file: UploadFile) -> tuple[NewVersion, bytes]:
    """Raises TooLarge and BadRequest."""
    content = await file.read()
    if len(content) > rules.ARCHIVE_BYTES_MAX:
        raise TooLarge(f"A skill's archive has at most {rules.ARCHIVE_BYTES_MAX} bytes; this one has {len(content)}.")
    try:
        return await asyncio.to_thread(archives.read, content), content
    except archives.ArchiveError as error:
        raise BadRequest.field("file", str(error)) from error


def _once(key: str | None, route: str, content: bytes) -> IdempotencyKey | None:
    return IdempotencyKey(key, route, fingerprint(content.hex())) if key else None
