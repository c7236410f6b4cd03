"""Adapters between slices: each class implements a port of one slice with other slices."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias
from uuid import UUID

import structlog
from pydantic import ValidationError

from stoa import (
    access,
    apps,
    bases,
    conversations,
    documents,
    embedding,
    gateway,
    requirements,
    runs,
    sources,
    tools,
)
from stoa.db import Tx
from stoa.db.blobs import Blobs
from stoa.http.errors import explain
from stoa.kernel.errors import BadRequest
from stoa.kernel.principal import Principal
from stoa.kernel.schema_checker import SchemaChecker

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

_log = structlog.get_logger("stoa.app")


class Toolbox(Protocol):
    """An agent's tools: which names a project lacks, and the opened tools while a run is executed."""

    async def unknown_tools(self, principal: Principal, names: Sequence[str], /) -> Sequence[str]: ...

    async def unknown_bases(self, principal: Principal, base_ids: Sequence[UUID], /) -> Sequence[UUID]: ...

    async def unknown_references(
        self, principal: Principal, references: Sequence[tuple[str, UUID]], /
    ) -> Sequence[tuple[str, UUID]]: ...

    def open(self, run: runs.Run, names: Sequence[str], /) -> AbstractAsyncContextManager[Sequence[tools.Tool]]: ...


Known: TypeAlias = Callable[[Principal, Sequence[tuple[str, UUID]]], Awaitable[Collection[tuple[str, UUID]]]]
"""(principal, references) → the references that exist."""


class ProjectToolbox:
    """The tools of the project that a run belongs to, and the search of its agent's knowledge bases."""

    def __init__(
        self, held: tools.Tools, search: bases.Search, library: runs.Library, references: Sequence["Known"]
    ) -> None:
        self._tools = held
        self._references = references
        self.lending: requirements.UserCredentialSource | None = None
        """What runs of apps get of their end users; set once it exists."""
        self._search = search
        self._library = library

    async def unknown_tools(self, principal: Principal, names: Sequence[str], /) -> Sequence[str]:
        return await self._tools.unknown(principal, names)

    async def unknown_bases(self, principal: Principal, base_ids: Sequence[UUID], /) -> Sequence[UUID]:
        return await self._search.unknown(principal, base_ids)

    async def unknown_references(
        self, principal: Principal, references: Sequence[tuple[str, UUID]], /
    ) -> Sequence[tuple[str, UUID]]:
        known: set[tuple[str, UUID]] = set()
        for look in self._references:
            known.update(await look(principal, references))
        return [one for one in references if one not in known]

    @asynccontextmanager
    async def open(self, run: runs.Run, names: Sequence[str], /) -> AsyncGenerator[Sequence[tools.Tool]]:
        base_ids = runs.bases_of(run)
        searches = [runs.KnowledgeTool(self._library, run, base_ids)] if base_ids else []
        lent = await self._lent(run)
        async with self._tools.open(run.org_id, run.project_id, names, lent.credentials, lent.withheld) as opened:
            yield [*opened, *searches]

    async def _lent(self, run: runs.Run) -> requirements.UserCredentials:
        """Raises RequirementsUnmet, which ends the run."""
        if run.app_id is None or self.lending is None:
            return requirements.UserCredentials()
        # A caller of a public app without a key cannot act as an end user.
        user_id = run.user_id if run.created_by != run.app_id else None
        return await self.lending.lend(run.org_id, run.app_id, user_id)


class PageTranscriber:
    """OCR for knowledge bases by the operator's model, billed to the key that requested the item's processing."""

    def __init__(self, transcriber: gateway.Transcriber, prices: Sequence[gateway.Price]) -> None:
        self._transcriber = transcriber
        self._price = gateway.price_of(transcriber.slug, prices)
        self.model = transcriber.slug

    async def check_payer(self, tx: Tx, item: bases.Item) -> None:
        if refused := await gateway.key_refused(
            tx, item.org_id, item.paid_by, priced=self._price(gateway.Usage()) is not None
        ):
            raise bases.TranscriptionError(*refused, retryable=False)

    async def transcribe(self, name: str, mime_type: str, picture: bytes) -> bases.Transcript:
        try:
            read = await self._transcriber.transcribe(gateway.ImagePart(name, mime_type, picture))
        except gateway.ModelError as error:
            used = self._used(error.usage) if isinstance(error, gateway.Unread) else None
            raise bases.TranscriptionError(error.code, error.message, retryable=error.retryable, used=used) from error
        return bases.Transcript(read.text, read.complete, self._used(read.usage))

    async def bill(self, tx: Tx, item: bases.Item, base_id: UUID | None, used: bases.Used) -> int:
        usage = gateway.Usage(
            used.prompt_tokens,
            used.completion_tokens,
            used.cached_tokens,
            used.reasoning_tokens,
            estimated=used.estimated,
        )
        line = gateway.Line(
            item.org_id,
            item.project_id,
            "ocr",
            usage,
            used.cost_usd,
            self.model,
            key_id=item.paid_by,
            knowledgebase_id=base_id,
        )
        return await gateway.bill_key(tx, line, item.id.int)

    def _used(self, usage: gateway.Usage) -> bases.Used:
        return bases.Used(
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.cached_tokens,
            usage.reasoning_tokens,
            usage.estimated,
            self._price(usage),
        )


class SourceItems:
    """The items of a base, as a source fills them."""

    def __init__(self, items: bases.Items) -> None:
        self._items = items

    async def store(self, principal: Principal, base_id: UUID, document: sources.NewDocument, /) -> None:
        upload = bases.Upload(
            document.file,
            document.name,
            document.mime_type,
            document.metadata,
            document.replaces,
            document.source_id,
            document.origin,
        )
        await self._items.upload(principal, base_id, [upload], None)

    async def set_metadata(
        self, principal: Principal, base_id: UUID, item_id: UUID, metadata: Mapping[str, Any], /
    ) -> None:
        await self._items.set_metadata(principal, item_id, metadata, base_id)


class KnowledgeLibrary:
    """Search of knowledge bases for runs: in the scope of the key that sent the message, for its end user."""

    def __init__(self, search: bases.Search) -> None:
        self._search = search

    async def look(
        self, run: runs.Run, base_ids: Sequence[UUID], query: str, limit: int | None
    ) -> Sequence[runs.Quote]:
        principal = Principal(run.org_id, run.project_id, run.created_by or run.id)
        # A caller of a public app without a key can claim any name, so restricted items are not shown.
        anonymous = run.app_id is not None and run.created_by == run.app_id
        user, groups = (None, ()) if anonymous else (run.user_id, None)
        found = await self._search.search_all(principal, base_ids, query, limit, user, groups)
        return [
            runs.Quote(
                hit.text,
                str(hit.metadata.get("source", "")),
                hit.page,
                hit.heading,
                hit.item_id,
                hit.chunk_id,
                base_id,
                hit.place,
            )
            for base_id, hit in found
        ]


class AgentDefinitions:
    """The port of apps for agents and models: the checks of a conversation's agent, and the catalogue."""

    def __init__(self, agents: conversations.Agents, schemas: SchemaChecker, catalogue: gateway.Catalogue) -> None:
        self._agents = agents
        self._schemas = schemas
        self._catalogue = catalogue

    async def checked_agent(self, principal: Principal, agent: Mapping[str, Any]) -> Mapping[str, Any]:
        fields = {name: value for name, value in agent.items() if name not in ("model", "memory")}
        if not isinstance(agent.get("model", ""), str):
            raise BadRequest.field("flow.agent.model", "must be a slug, as GET /v1/router/models lists them")
        try:
            memory = runs.memory_use(agent.get("memory", True))
        except ValueError as error:
            raise BadRequest.field("flow.agent.memory", str(error)) from error
        try:
            body = conversations.AgentIn.model_validate(fields)
        except ValidationError as error:
            problems = _problems(error)
            raise BadRequest("; ".join(f"{path} {why}" for path, why in problems.items()), details=problems) from error
        checked = {**(conversations.agent_of(body, "flow.agent") or {}), **_remembering(memory)}
        await conversations.check_agent(self._agents, self._schemas, principal, checked, "flow.agent")
        return checked

    async def unknown_tools(self, principal: Principal, names: Sequence[str]) -> Sequence[str]:
        return await self._agents.unknown_tools(principal, names)

    async def unknown_bases(self, principal: Principal, base_ids: Sequence[UUID]) -> Sequence[UUID]:
        return await self._agents.unknown_bases(principal, base_ids)

    async def unknown_references(
        self, principal: Principal, references: Sequence[tuple[str, UUID]]
    ) -> Sequence[tuple[str, UUID]]:
        return await self._agents.unknown_references(principal, references)

    async def model(self, principal: Principal, slugs: Sequence[str]) -> UUID | None:
        if not slugs:
            return self._catalogue.default.id
        known = await self._catalogue.ids_of(principal, slugs)
        return next((known[slug] for slug in slugs if slug in known), None)


def _remembering(memory: runs.MemoryUse | None) -> Mapping[str, Any]:
    """The memory of a conversation's agent; None if the conversation itself is the memory."""
    if memory == runs.MemoryUse():
        return {}
    if memory is None:
        return {"memory": False}
    named = {"memory_id": str(memory.memory_id)} if memory.memory_id else {}
    limit = {"limit": memory.limit} if memory.limit else {}
    save = {"save_mode": memory.save} if memory.save != "input_output" else {}
    return {"memory": {**named, **limit, **save, "strategy": memory.strategy, "scope": memory.scope}}


def agent_check(
    agents: conversations.Agents, schemas: SchemaChecker
) -> "Callable[[Principal, Mapping[str, Any]], Awaitable[None]]":
    """Whether the agent that a request of a dialect names exists."""

    async def check(principal: Principal, agent: Mapping[str, Any]) -> None:
        await conversations.check_agent(agents, schemas, principal, agent, "tools")

    return check


def _problems(error: ValidationError) -> Mapping[str, str]:
    """Path → reason of each bad field of a shorthand's agent."""
    found = [{**one, "loc": ("body", *one["loc"])} for one in error.errors(include_url=False)]
    return {f"flow.agent.{path}": reason for path, reason in explain(found, conversations.AgentIn).items()}


def embed_or_none(embedder: embedding.Embedder) -> "Callable[[Sequence[str]], Awaitable[Vectors | None]]":
    """Vectors for relevance; None, with a warning, while the embedder fails."""

    async def embed(texts: Sequence[str]) -> "Vectors | None":
        try:
            return await embedder.embed(texts)
        except embedding.EmbedderError as error:
            _log.warning("embedder failed; relevance is judged by words alone", code=error.code, reason=error.message)
            return None

    return embed


class GatewayEmbedder:
    """An embedder of this server, as the AI gateway calls it."""

    def __init__(self, embedder: embedding.Embedder) -> None:
        self._embedder = embedder

    async def embed(self, texts: Sequence[str]) -> "Vectors":
        try:
            return await self._embedder.embed(texts)
        except embedding.EmbedderError as error:
            code = error.code.replace("embedder_", "model_")
            wait = error.retry_after_seconds
            raise gateway.ModelError(
                code, error.message, retryable=error.retryable, retry_after_seconds=wait
            ) from error


async def read_file(relevance: documents.Documents, blobs: Blobs, file: conversations.File) -> conversations.Reading:
    """The text of a file, or why it cannot be read. Images are not read: models get them unchanged."""
    if file.mime_type.startswith("image/"):
        return conversations.Reading()
    name = conversations.blob_name(file.org_id, file.project_id, file.sha256)
    try:
        async with blobs.local(name) as path:
            found = await relevance.convert(path, name=file.name, mime_type=file.mime_type)
    except documents.ConversionError as error:
        return conversations.Reading(error={"code": error.code, "message": error.message})
    passages = [conversations.FilePassage(passage.text, passage.page, passage.heading) for passage in found.passages]
    return conversations.Reading(passages, found.pages, found.warnings)


def living(
    owner: access.Access, public: apps.PublicApps
) -> "Callable[[Collection[UUID]], Awaitable[Collection[UUID]]]":
    """Whether a stream may stay open: its key is neither revoked nor expired, or its app is still public."""

    async def those(ids: Collection[UUID]) -> Collection[UUID]:
        keys = set(await owner.valid_keys(ids))
        others = set(ids) - keys
        return keys | set(await public.living(others)) if others else keys

    return those


def valid_run_owners(owner: access.Access, public: apps.PublicApps) -> runs.Living:
    """The same for runs, which may also continue while their signed-in user is a member."""

    async def those(credentials: Collection[runs.Credential]) -> Collection[runs.Credential]:
        found = await owner.valid_owners([(one.org_id, one.id) for one in credentials])
        kept = {one for one in credentials if (one.org_id, one.id) in found}
        others = set(credentials) - kept
        if others:
            ids = set(await public.living([one.id for one in others]))
            kept |= {one for one in others if one.id in ids}
        return kept

    return those
