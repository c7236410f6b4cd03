"""Builds the slice: artifacts, and the port through which runs publish them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from stoa.artifacts.api import PrincipalOf, Root, routes, shared_routes
from stoa.artifacts.exported import exported
from stoa.artifacts.ports import Projects
from stoa.artifacts.service import Artifacts
from stoa.artifacts.store import SQL
from stoa.artifacts.worker import Housekeeping
from stoa.db.blob_checks import blob_checks
from stoa.db.blobs import BlobStore
from stoa.http.component import Component, Kit
from stoa.http.hosts import HostKind
from stoa.kernel.links import SignedLinks


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactsComponent(Component):
    artifacts: Artifacts
    links: SignedLinks


@asynccontextmanager
async def open_component(
    kit: Kit, projects: Projects, blobs: BlobStore, principal_of: PrincipalOf, *, public_url: str | None
) -> AsyncGenerator[ArtifactsComponent]:
    artifacts = Artifacts(kit.database, projects, blobs, kit.ids, kit.clock)
    links = SignedLinks(kit.secret, kit.clock, b"stoa artifact links\n")
    yield ArtifactsComponent(
        artifacts=artifacts,
        links=links,
        routers={
            HostKind.API: [
                routes(artifacts, kit.gate, links, principal_of, Root(public_url)),
                shared_routes(artifacts),
            ]
        },
        checks=blob_checks(
            "artifacts",
            "version of an artifact",
            kit.database,
            blobs,
            SQL.artifact_contents,
            SQL.artifact_content_in_use,
        ),
        exported=exported(blobs),
        background=[Housekeeping(artifacts.receipts)],
    )
