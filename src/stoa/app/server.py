"""The composition root: the only file that knows every part. It constructs, connects and mounts; it decides nothing."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

import structlog
from fastapi import APIRouter, FastAPI
from pydantic import SecretStr
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from stoa import (
    __version__,
    access,
    bases,
    conversations,
    doctor,
    documents,
    embedding,
    gateway,
    runs,
    sources,
    streams,
    tools,
    usage,
)
from stoa import journal as journals
from stoa.app.outbound import outbound_of
from stoa.conversations import File, FilePassage, Reading
from stoa.db import Database, Tx
from stoa.db.blobs import DirectoryBlobs
from stoa.db.checks import Check
from stoa.db.internal import internal
from stoa.db.listen import Listener
from stoa.db.migrate import migrate
from stoa.db.polls import Polls
from stoa.gateway.providers.extractive import SLUG, ExtractiveModel
from stoa.http import Gate, errors, metrics, operations
from stoa.http.edge import Edge
from stoa.http.hosts import HostKind, classify
from stoa.http.shortcut import Shortcut
from stoa.http.sse import EventStream
from stoa.http.traffic import SERVED, Traffic
from stoa.index import Index, Upkeep
from stoa.journal import Journal, JournalWriter, LiveBuffer
from stoa.kernel.clock import Clock, SystemClock
from stoa.kernel.errors import NotFound, Unavailable
from stoa.kernel.ids import Ids, RandomIds
from stoa.kernel.principal import Principal
from stoa.outbound import Outbound
from stoa.settings import Settings, SettingsError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]
_log = structlog.get_logger("stoa.app")
DESCRIPTION = (
    'Conversations with AI agents that never lose a token. Every error is `{"error": {"code", "message", "details"?}}`.'
)


class Toolbox(Protocol):
    """The tools of projects: which names are none, and the tools themselves for as long as a run is carried."""

    async def unknown_tools(self, principal: Principal, names: Sequence[str], /) -> Sequence[str]: ...

    async def unknown_bases(self, principal: Principal, base_ids: Sequence[UUID], /) -> Sequence[UUID]: ...

    def open(self, run: runs.Run, names: Sequence[str], /) -> AbstractAsyncContextManager[Sequence[tools.Tool]]: ...


class _Toolbox:
    """Tools by the project that a run belongs to, and the search of its agent's knowledge bases."""

    def __init__(self, held: tools.Tools, search: bases.Search, library: runs.Library) -> None:
        self._held = held
        self._search = search
        self._library = library

    async def unknown_tools(self, principal: Principal, names: Sequence[str], /) -> Sequence[str]:
        return await self._held.unknown(principal, names)

    async def unknown_bases(self, principal: Principal, base_ids: Sequence[UUID], /) -> Sequence[UUID]:
        return await self._search.unknown(principal, base_ids)

    @asynccontextmanager
    async def open(self, run: runs.Run, names: Sequence[str], /) -> AsyncGenerator[Sequence[tools.Tool]]:
        base_ids = runs.bases_of(run)
        searches = [runs.KnowledgeTool(self._library, run, base_ids)] if base_ids else []
        async with self._held.open(run.org_id, run.project_id, names) as opened:
            yield [*opened, *searches]


class _Eyes:
    """The operator's model for pages without text, as knowledge bases use it, on the bill of the key that asked for an item to be read."""

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
        return bases.Used(**asdict(usage), cost_usd=self._price(usage))


class _SourceItems:
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


class _Library:
    """Knowledge bases as a run reads them: in the name of the key that sent the message, for the conversation's end user."""

    def __init__(self, search: bases.Search) -> None:
        self._search = search

    async def look(
        self, run: runs.Run, base_ids: Sequence[UUID], query: str, limit: int | None
    ) -> Sequence[runs.Quote]:
        principal = Principal(run.org_id, run.project_id, run.created_by or run.id)
        found = await self._search.search_all(principal, base_ids, query, limit, run.user_id)
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


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is ready: the ASGI app, the first key where this start made one, and how to leave."""

    asgi: ASGIApp
    first_key: str | None
    default_model: str
    drain: Callable[[], Coroutine[Any, Any, None]]
    """Takes nothing new, ends what can be ended, hands the rest over, and ends every stream so that clients resume."""


@asynccontextmanager
async def open_server(
    settings: Settings,
    dsn: str,
    *,
    clock: Clock | None = None,
    ids: Ids | None = None,
    builtin: gateway.Model | None = None,
    toolbox: Toolbox | None = None,
) -> AsyncGenerator[Server]:
    """Everything between a database and an ASGI app, started in order and stopped in reverse."""
    clock, ids = clock or SystemClock(), ids or RandomIds()
    await migrate(dsn)
    async with AsyncExitStack() as stack:
        database = await Database.open(dsn, connections_max=settings.connections_max)
        stack.push_async_callback(database.close)
        tails = LiveBuffer()
        writer = JournalWriter(dsn, tails, clock)
        journal = Journal(database, writer, tails)
        await writer.start()
        stack.push_async_callback(writer.stop)

        secret = _secret(settings)
        vault = gateway.Vault(secret)
        entry = access.Access(database, ids, clock)
        first_key = await entry.bootstrap(_plain(settings.bootstrap_key))

        converter = documents.Converter()
        way = outbound_of(settings)
        local, server = embedding.LocalEmbedder(settings.data_dir / "models"), _server_embedder(settings, way.trusted())
        stack.push_async_callback(local.close)
        relevance = documents.Documents(converter, _embed_or_none(server or local))
        stack.push_async_callback(relevance.close)
        suppliers = gateway.ModelFactory(pace=lambda: writer.pace_seconds, outbound=way)
        stack.push_async_callback(suppliers.close)
        catalogue = gateway.Catalogue(
            database,
            vault,
            (SLUG, builtin or ExtractiveModel(relevance.quote)),
            _providers(settings, suppliers),
            suppliers.build_for_tenant,
            settings.default_model,
        )
        stack.push_async_callback(catalogue.stop)
        await catalogue.start()
        connections = gateway.Connections(database, vault, entry, suppliers.ask_for_tenant, ids)

        blobs = DirectoryBlobs(settings.data_dir / "blobs")
        reader = conversations.Reader(database, partial(_read, relevance, blobs))
        index, upkeep = Index(), Upkeep(database)
        shelves = DirectoryBlobs(settings.data_dir / "knowledge")
        server_model = settings.embeddings.model if settings.embeddings else None
        embedders = bases.Embedders(local, server, server_model, catalogue.credentials, outbound=way)
        judge = await _server_reranker(settings, way.trusted())
        if judge is not None:
            stack.push_async_callback(judge.close)
        rerankers = bases.Rerankers(judge, catalogue.credentials, outbound=way)
        removals = bases.Deletions(database, index, shelves, ids)
        library = bases.KnowledgeBases(database, index, embedders, entry, removals, ids, rerankers)
        items = bases.Items(database, index, shelves, removals, ids)
        files_tally = bases.IngestionMetrics()
        search = bases.Search(database, index, embedders, rerankers, files_tally)
        origins = sources.SourceFactory(
            outbound=way, directories=settings.source_directories, cache=settings.data_dir / "sources"
        )
        stack.push_async_callback(origins.close)
        feeds = sources.Sources(database, vault, origins, removals, ids, clock)
        shelf = _Library(search)
        runs_tally = runs.RunMetrics(catalogue.find)
        service = runs.Runs(database, journal, catalogue, ids, clock, runs_tally)
        deletions = conversations.Deletions(database, blobs, journal, service, ids)
        makers = tools.ToolFactory(outbound=way, programs=_programs(settings))
        stack.push_async_callback(makers.close)
        held = tools.Tools(database, vault, entry, makers, ids)
        stack.push_async_callback(held.stop)
        toolbox = toolbox or _Toolbox(held, search, shelf)
        talks = conversations.Conversations(database, blobs, catalogue, toolbox, entry, reader, deletions, ids)
        housekeeping = conversations.Housekeeping(reader, deletions)
        await housekeeping.start()
        stack.push_async_callback(housekeeping.stop)

        node = runs.Node(dsn, ids, clock)
        await node.start()
        stack.push_async_callback(node.stop)
        writer.others = lambda: bool(node.others)
        context = runs.Context(conversations.Transcript(database, reader, blobs), relevance.select, shelf)

        prices = [gateway.Price(**price.model_dump()) for price in settings.prices] + [gateway.Price(SLUG, 0, 0)]

        async def find_model(run: runs.Run) -> runs.Supply:
            slug, model = await catalogue.model(run.org_id, run.project_id, run.model_id)
            return runs.Supply(model, slug, gateway.price_of(slug, prices))

        recorder = runs.Recorder(database, journal, clock, node.id, runs_tally)
        worker = runs.Worker(
            database,
            journal,
            service,
            recorder,
            node,
            context,
            find_model,
            toolbox.open,
            runs_max=settings.runs_max,
            tally=runs_tally,
        )
        service.owner = worker
        readers = (
            documents.Converter()
        )  # Of its own: a folder on its way in does not keep a conversation's file waiting.
        stack.push_async_callback(readers.close)
        eyes = _Eyes(gateway.Transcriber(catalogue, settings.ocr_model), prices) if settings.ocr_model else None
        transcribing = bases.Transcribing(database, readers, eyes)
        stack.push_async_callback(transcribing.close)
        ingestion = bases.Ingestion(
            database, index, shelves, readers, embedders, removals, node.id, transcribing, files_tally
        )
        syncing = sources.SyncWorker(
            database,
            sources.Syncing(database, _SourceItems(items), removals, origins, vault),
            feeds,
            origins,
            ids,
            clock,
            node.id,
        )
        follow = streams.Streams(journal, clock)
        await follow.start()

        def on_lapsed() -> None:
            writer.reconnect()
            follow.interrupt()

        node.on_lapsed = on_lapsed

        def after_a_gap() -> None:
            tails.nudge_all()
            worker.look()
            ingestion.look()
            syncing.look()

        channels = {
            "stoa_journal": journal.heard,
            "stoa_runs": worker.heard,
            "stoa_knowledge": ingestion.heard,
            "stoa_sources": syncing.heard,
        }
        listener = Listener(dsn, channels, on_gap=after_a_gap)
        await listener.start()
        stack.push_async_callback(listener.stop)
        await worker.start()
        await ingestion.start()
        stack.push_async_callback(ingestion.stop)
        await upkeep.start()
        stack.push_async_callback(upkeep.stop)
        await syncing.start()
        stack.push_async_callback(syncing.stop)

        async def drain() -> None:
            await asyncio.gather(
                worker.drain(settings.drain_seconds_max), transcribing.drain(settings.drain_seconds_max)
            )
            await follow.stop()

        stack.push_async_callback(drain)

        mcp = bases.Mcp(library, search)
        stack.push_async_callback(mcp.close)
        gate = Gate(entry.authenticate, entry.admit)
        tickets = streams.Tickets(secret, clock)

        def open_stream(principal: Principal, run_id: UUID) -> EventStream:
            return EventStream(follow.follow(principal, run_id), {"Stoa-Run-Id": str(run_id)})

        async def database_answers() -> None:
            if node.lapsed:
                raise Unavailable("This node cannot reach the database just now.")
            async with internal(database) as tx:
                await tx.fetchval("SELECT 1")

        health = operations.routes(__version__, lambda: worker.draining, database_answers)
        traffic = Traffic()
        polls = Polls(database, [*runs.polls(), *conversations.polls(), *bases.polls(), *sources.polls()], clock)
        stack.push_async_callback(polls.stop)
        counting = (traffic, runs_tally, worker, node, writer, files_tally, syncing, database, polls)
        running = runs.routes(service, gate, open_stream, lambda: worker.draining)
        api = _app(
            "Stoa",
            DESCRIPTION,
            health,
            doctor.routes(doctor.Doctor(database, _checks(database, blobs, shelves), clock), gate),
            metrics.routes(
                __version__,
                [measure for part in counting for measure in part.metrics()],
                polls.refresh,
                settings.host,
                _plain(settings.metrics_token),
            ),
            conversations.routes(talks, blobs, gate),
            running,
            streams.routes(follow, gate, tickets, entry.principal_of),
            gateway.routes(catalogue, connections, gate),
            tools.routes(held, gate),
            bases.routes(library, items, search, gate, settings.domain),
            bases.evaluation_routes(bases.Evaluations(database, search), gate),
            sources.routes(feeds, gate),
            access.routes(entry, gate),
            usage.routes(usage.UsageReports(database), gate, clock),
        )
        kb = _app(
            "Stoa knowledge base",
            "One knowledge base, on its own hostname.",
            health,
            bases.host_routes(library, items, search, mcp, gate),
        )
        hot = Shortcut(
            api,
            running,
            gate,
            "/v3/conversations/{conversation_id}/messages",
            "conversation_id",
            runs.SendMessageBody,
            "conversations:write",
        )
        asgi = CORSMiddleware(
            _Hosts(hot, kb, settings.domain),
            allow_origins=settings.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=[
                "X-Request-Id",
                "Stoa-Run-Id",
                "Retry-After",
                "RateLimit-Limit",
                "RateLimit-Remaining",
                "RateLimit-Reset",
            ],
        )
        yield Server(Edge(asgi, ids, traffic), first_key, catalogue.default.slug, drain)


@asynccontextmanager
async def open_doctor(settings: Settings, dsn: str) -> AsyncGenerator[doctor.Doctor]:
    """The doctor of a whole database and its blobs, beside any servers that run on them or without one. Raises SchemaError."""
    await migrate(dsn)
    database = await Database.open(dsn, connections_max=4, command_seconds_max=doctor.SECONDS_MAX)
    try:
        blobs, shelves = DirectoryBlobs(settings.data_dir / "blobs"), DirectoryBlobs(settings.data_dir / "knowledge")
        yield doctor.Doctor(database, _checks(database, blobs, shelves), SystemClock())
    finally:
        await database.close()


def _checks(database: Database, blobs: DirectoryBlobs, shelves: DirectoryBlobs) -> Sequence[Check]:
    """What every slice promises. The journal comes first, because what runs promise is read from it."""
    return [
        *journals.checks(database),
        *runs.checks(database),
        *conversations.checks(database, blobs),
        *bases.checks(database, Index(), shelves),
    ]


def _app(title: str, description: str, *routers: APIRouter) -> FastAPI:
    app = FastAPI(
        title=title, version=__version__, description=description, license_info={"name": "Apache-2.0"}, redoc_url=None
    )
    errors.install(app)
    for router in routers:
        app.include_router(router)
    return app


class _Hosts:
    """Sends each request to the app of its host. Hosts that nothing is served on yet answer 404.

    A base's surface stands on the api host too, under /kb/{id}, for clients that cannot resolve its name.
    """

    def __init__(self, api: ASGIApp, kb: ASGIApp, domain: str) -> None:
        self._api = api
        self._kb = kb
        self._domain = domain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            name = next((value for key, value in scope["headers"] if key == b"host"), b"").decode("latin-1")
            host = classify(name, self._domain)
            if host.kind is HostKind.KB:
                await self._to_kb(scope, {**scope, bases.HOST_KEY: host.subject}, receive, send)
                return
            if host.kind is not HostKind.API:
                scope[SERVED] = host.kind.value, scope
                refusal = NotFound(
                    f"Nothing is served on the host {name} in this version; the api is at any other name of this server."
                )
                await errors.response(refusal)(scope, receive, send)
                return
            if scope["path"].startswith("/kb/"):
                await self._to_kb(scope, _below_kb(scope), receive, send)
                return
            if scope["path"].startswith(
                "/v1/vector_stores/"
            ):  # OpenAI's client knows one host for all stores, and names the store in the path.
                await self._to_kb(scope, {**scope, bases.HOST_KEY: scope["path"].split("/")[3]}, receive, send)
                return
        await self._api(scope, receive, send)

    async def _to_kb(self, scope: Scope, below: Scope, receive: Receive, send: Send) -> None:
        scope[SERVED] = HostKind.KB.value, below
        await self._kb(below, receive, send)


def _below_kb(scope: Scope) -> Scope:
    """The request as the base's own host would see it."""
    subject, slash, _ = scope["path"].removeprefix("/kb/").partition("/")
    prefix = f"{scope.get('root_path', '')}/kb/{subject}"
    return {**scope, "root_path": prefix, "path": scope["path"] if slash else f"{prefix}/", bases.HOST_KEY: subject}


def _embed_or_none(embedder: embedding.Embedder) -> "Callable[[Sequence[str]], Awaitable[Vectors | None]]":
    """Vectors for judging relevance; None, and a warning, while the embedder fails."""

    async def embed(texts: Sequence[str]) -> "Vectors | None":
        try:
            return await embedder.embed(texts)
        except embedding.EmbedderError as error:
            _log.warning("embedder failed; relevance is judged by words alone", code=error.code, reason=error.message)
            return None

    return embed


async def _read(relevance: documents.Documents, blobs: DirectoryBlobs, file: File) -> Reading:
    """What a file holds, or why it cannot be read. Images are not read: models look at them."""
    if file.mime_type.startswith("image/"):
        return Reading()
    path: Path = blobs.path(conversations.blob_name(file.org_id, file.project_id, file.sha256))
    try:
        found = await relevance.convert(path, name=file.name, mime_type=file.mime_type)
    except documents.ConversionError as error:
        return Reading(error={"code": error.code, "message": error.message})
    passages = [FilePassage(passage.text, passage.page, passage.heading) for passage in found.passages]
    return Reading(passages, found.pages, found.warnings)


def _providers(settings: Settings, suppliers: gateway.ModelFactory) -> Sequence[gateway.Provider]:
    return [
        suppliers.provider(
            configured.name,
            configured.type,
            configured.base_url,
            _plain(configured.api_key),
            configured.models,
            optional=configured.type == "ollama" and configured.base_url is None,
        )
        for configured in settings.providers
    ]


def _programs(settings: Settings) -> Sequence[tools.Program]:
    return [
        tools.Program(
            declared.name,
            declared.command,
            declared.args,
            {name: value.get_secret_value() for name, value in declared.env.items()},
            str(declared.cwd) if declared.cwd else None,
            frozenset(declared.projects) if declared.projects is not None else None,
        )
        for declared in settings.mcp_servers
    ]


def _secret(settings: Settings) -> bytes:
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value().encode()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    return gateway.load_or_make(settings.data_dir / "secret.key")


def _server_embedder(settings: Settings, way: Outbound) -> "embedding.RemoteEmbedder | None":
    chosen = settings.embeddings
    if chosen is None:
        return None
    return embedding.RemoteEmbedder(
        chosen.base_url, chosen.model, _plain(chosen.api_key), chosen.dimensions, outbound=way
    )


async def _server_reranker(
    settings: Settings, way: Outbound
) -> "embedding.LocalReranker | embedding.RemoteReranker | None":
    """Loaded, where it is of this machine. Raises SettingsError."""
    chosen = settings.reranker
    if chosen is None:
        return None
    if chosen.path is None:
        assert chosen.base_url is not None
        assert chosen.model is not None
        return embedding.RemoteReranker(chosen.base_url, chosen.model, _plain(chosen.api_key), outbound=way)
    local = embedding.LocalReranker(chosen.path)
    try:
        await local.prepare()
    except embedding.RerankerError as error:
        await local.close()
        raise SettingsError(f"reranker.path (STOA_RERANKER_PATH): {error.message}") from error
    return local


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None
