"""Connects agents with their memories, their notes on a run's user, their skills and the artifacts that they publish:
opens those slices, and gives agents the tools to use them."""

import io
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from stoa import access, artifacts, memory, runs, skills, tools
from stoa.app.adapters import Known
from stoa.artifacts import component as artifacts_component
from stoa.db.blobs import BlobStore
from stoa.http.component import Component, Kit
from stoa.kernel.effects import EffectKey
from stoa.kernel.errors import NotFound
from stoa.kernel.links import SignedLinks
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal
from stoa.memory import component as memory_component
from stoa.skills import component as skills_component


class ResourceTools:
    def __init__(self, stores: memory.MemoryStores, held: skills.Skills, published: artifacts.Artifacts) -> None:
        self._stores = stores
        self._skills = held
        self._artifacts = published

    async def __call__(self, run: runs.Run, resources: runs.AgentResources) -> Sequence[tools.Tool]:
        """In the scope of the run's project. A caller of a public app without a key has no notes, because the user id
        is not verified."""
        principal = Principal(run.org_id, run.project_id, run.created_by or run.id)
        made: list[tools.Tool] = []
        if resources.notes is not None and run.end_user is not None:
            made.append(runs.NotesTool(self._stores, resources.notes, principal, run.end_user))
        if found := await self._found(principal, resources.skills):
            made.append(runs.SkillsTool(self._skills, principal, found))
        if resources.artifacts:
            made.append(runs.ArtifactTool(Publisher(self._artifacts, run)))
        return made

    async def _found(
        self, principal: Principal, uses: Sequence[runs.SkillUse]
    ) -> Sequence[tuple[skills.Skill, skills.SkillVersion]]:
        """The skills that still exist; deleted ones are omitted."""
        found: list[tuple[skills.Skill, skills.SkillVersion]] = []
        for use in uses:
            named = None if use.version == "latest" else UUID(use.version)
            try:
                found.append(await self._skills.version(principal, use.skill_id, named))
            except NotFound:
                continue
        return found


EXTENSIONS: Final[Mapping[str, str]] = {
    "html": ".html",
    "markdown": ".md",
    "code": ".txt",
    "svg": ".svg",
    "mermaid": ".mmd",
    "json": ".json",
    "csv": ".csv",
    "chart": ".json",
}


class Publisher:
    """An agent's access to artifacts: those of the run's user, or else of its conversation."""

    def __init__(self, held: artifacts.Artifacts, run: runs.Run) -> None:
        self._held = held
        self._run = run
        self._principal = Principal(run.org_id, run.project_id, run.created_by or run.id, user_id=run.owner_id)
        self._mine = (
            artifacts.ArtifactFilter(user_id=run.end_user, project_id=run.project_id)
            if run.end_user is not None
            else artifacts.ArtifactFilter(of_run=run.id, project_id=run.project_id)
        )

    async def create(self, fields: Mapping[str, Any], call: tools.Call) -> Mapping[str, Any]:
        kind, name = artifacts.Kind(fields["kind"]), str(fields["name"])
        file_name = name.replace("/", "-").replace("\\", "-")[:150] + EXTENSIONS[kind.value]
        version = artifacts.NewVersion(name, fields.get("description"))
        new = artifacts.NewArtifact(
            file_name, name, kind, version, user_id=self._run.end_user, project_id=self._run.project_id
        )
        made = await self._held.create(self._principal, new, _source(fields), None, _origin(call))
        return _reference(made, made.latest)

    async def update(self, artifact_id: UUID, fields: Mapping[str, Any], call: tools.Call) -> Mapping[str, Any]:
        found = await self._own(artifact_id)
        new = artifacts.NewVersion(None, fields.get("description"))
        made = await self._held.add_version(self._principal, artifact_id, new, _source(fields), None, _origin(call))
        return _reference(found, made)

    async def get(self, artifact_id: UUID, version: int | None) -> tuple[Mapping[str, Any], str | None]:
        found = await self._own(artifact_id)
        _, held = await self._held.version(self._principal, artifact_id, version)
        if found.kind not in artifacts.TEXT_KINDS:
            return _reference(found, held), None
        content = b"".join([chunk async for chunk in await self._held.content(held)])
        return _reference(found, held), content.decode("utf-8", "replace")

    async def list(self) -> Sequence[Mapping[str, Any]]:
        found = await self._held.list(self._principal, self._mine, PageRequest(page_size=50))
        return [_reference(one, one.latest) for one in found.items]

    async def _own(self, artifact_id: UUID) -> artifacts.Artifact:
        """Raises NotFound, also for an artifact of another owner."""
        found = await self._held.list(self._principal, self._mine, PageRequest(page_size=500))
        for one in found.items:
            if one.id == artifact_id:
                return one
        raise NotFound(f"There is no artifact {artifact_id}; list shows those that there are.")


def _source(fields: Mapping[str, Any]) -> io.BytesIO:
    return io.BytesIO(str(fields["content"]).encode("utf-8", "replace"))


def _origin(call: tools.Call) -> artifacts.Origin:
    key = EffectKey(call.org_id, call.project_id, call.run_id, UUID(call.key))
    return artifacts.Origin(call.run_id, key)


def _reference(held: artifacts.Artifact, version: artifacts.Version) -> Mapping[str, Any]:
    """The reference in a tool's result, without the content."""
    about = {"id": str(held.id), "version_id": str(version.id), "version": version.version}
    return {**about, "name": version.name, "kind": held.kind.value, "description": version.description}


class Published:
    """The artifacts of runs, with links that expire."""

    def __init__(self, held: artifacts.Artifacts, links: SignedLinks) -> None:
        self._held = held
        self._links = links

    async def of_run(self, principal: Principal, run_id: UUID) -> Sequence[runs.Publication]:
        found: list[runs.Publication] = []
        for kind, _, version in await self._held.of_run(principal, run_id):
            ticket, ends = self._links.issue(version.artifact_id, principal.key_id)
            path = f"/v1/artifacts/{version.artifact_id}/versions/{version.id}/download?ticket={ticket}"
            about = (version.artifact_id, version.id, version.version, version.name, kind.value)
            found.append(runs.Publication(*about, version.mime_type, version.size, path, ends))
        return found


@dataclass(frozen=True, slots=True)
class RunResources:
    """The abilities that runs and definitions of agents get; `parts` are the slices."""

    parts: Sequence[Component]
    recalling: memory.Recalling
    resource_tools: ResourceTools
    known: Sequence[Known]
    published: Published


@asynccontextmanager
async def open_resources(
    kit: Kit, owner: access.Access, blobs: BlobStore, public_url: str | None
) -> AsyncGenerator[RunResources]:
    async with AsyncExitStack() as stack:
        remembered = await stack.enter_async_context(memory_component.open_component(kit, owner))
        taught = await stack.enter_async_context(skills_component.open_component(kit, owner))
        published = await stack.enter_async_context(
            artifacts_component.open_component(kit, owner, blobs, owner.principal_of, public_url=public_url)
        )
        yield RunResources(
            [remembered, taught, published],
            remembered.recalling,
            ResourceTools(remembered.stores, taught.skills, published.artifacts),
            [remembered.memories.known, taught.skills.known],
            Published(published.artifacts, published.links),
        )
