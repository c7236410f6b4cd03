"""Opens the slices of models and documents: the gateway with the documents that its built-in model quotes, knowledge
bases, and the sources that fill them."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from stoa import access, bases, documents, embedding, gateway
from stoa.app import adapters, choices
from stoa.bases import component as bases_component
from stoa.db.blobs import BlobStore
from stoa.db.node import Node
from stoa.gateway import component as gateway_component
from stoa.gateway.providers.extractive import SLUG, ExtractiveModel
from stoa.http.component import Component, Kit, Started
from stoa.journal import component as journal_component
from stoa.outbound import Outbound
from stoa.settings import Settings
from stoa.sources import component as sources_component


@dataclass(frozen=True, slots=True)
class Models:
    gateway: gateway_component.GatewayComponent
    documents: documents.Documents
    local: choices.LocalEmbedders
    endpoint: embedding.RemoteEmbedder | None


@asynccontextmanager
async def open_models(
    settings: Settings,
    outbound: Outbound,
    kit: Kit,
    owner: access.Access,
    journal: journal_component.JournalComponent,
    node: Node,
    builtin: gateway.Model | None,
) -> AsyncGenerator[Models]:
    """The gateway, with the documents that its built-in model quotes."""
    async with AsyncExitStack() as stack:
        local, endpoint = (
            choices.local_embedders(settings),
            choices.embedder(settings, outbound.trusted()),
        )
        stack.push_async_callback(local.close)
        if endpoint is not None:
            stack.push_async_callback(endpoint.close)
        converter = documents.Converter()
        files = documents.Documents(converter, adapters.embed_or_none(endpoint or local.default))
        stack.push_async_callback(files.close)
        embedders: dict[str, embedding.Embedder] = {choices.EMBEDDINGS_SLUG: local.default}
        if endpoint is not None and settings.embeddings is not None:
            embedders[settings.embeddings.model] = endpoint
        opened = await stack.enter_async_context(
            gateway_component.open_component(
                kit,
                owner,
                (SLUG, builtin or ExtractiveModel(files.quote)),
                node_id=node.id,
                records=settings.data_dir / "calls",
                providers=choices.providers(settings),
                routes_of_slugs=choices.routes(settings),
                prices=choices.prices(settings),
                facts=choices.facts(settings),
                embedders={slug: adapters.GatewayEmbedder(one) for slug, one in embedders.items()},
                default_model=settings.default_model,
                pace=lambda: journal.writer.pace_seconds,
                outbound=outbound,
                reader=converter,
                drain_seconds_max=settings.drain_seconds_max,
            )
        )
        yield Models(opened, files, local, endpoint)


@asynccontextmanager
async def open_bases(
    settings: Settings,
    outbound: Outbound,
    kit: Kit,
    owner: access.Access,
    node: Node,
    models: Models,
    blobs: BlobStore,
) -> AsyncGenerator[bases_component.BasesComponent]:
    async with AsyncExitStack() as stack:
        catalogue = models.gateway.catalogue
        reranker = choices.reranker(settings, outbound.trusted())
        if reranker is not None:
            stack.push_async_callback(reranker.close)
        transcriber = (
            adapters.PageTranscriber(gateway.Transcriber(catalogue, settings.ocr_model), choices.prices(settings))
            if settings.ocr_model
            else None
        )
        yield await stack.enter_async_context(
            bases_component.open_component(
                kit,
                node.id,
                owner,
                blobs,
                bases.Embedders(
                    models.local.by_name,
                    models.local.chosen,
                    models.endpoint,
                    settings.embeddings.model if settings.embeddings else None,
                    catalogue.credentials,
                    outbound=outbound,
                ),
                bases.Rerankers(reranker, catalogue.credentials, outbound=outbound),
                transcriber,
                prepare=Started(start=partial(choices.load, models.local, reranker)),
                domain=settings.domain,
                items_per_project_max=settings.items_per_project_max,
                drain_seconds_max=settings.drain_seconds_max,
            )
        )


def open_sources(
    settings: Settings,
    outbound: Outbound,
    kit: Kit,
    node: Node,
    models: Models,
    knowledge: bases_component.BasesComponent,
) -> AbstractAsyncContextManager[Component]:
    return sources_component.open_component(
        kit,
        node.id,
        models.gateway.vault,
        adapters.SourceItems(knowledge.items),
        knowledge.deletions,
        outbound=outbound,
        directories=settings.source_directories,
        cache=settings.data_dir / "sources",
        syncs_per_project_max=settings.syncs_per_project_max,
    )
