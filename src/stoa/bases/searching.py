"""Searches of a base, for every dialect: embeds the query (or takes the cached vector) and asks the index."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from stoa.bases import store
from stoa.bases.metrics import IngestionMetrics
from stoa.bases.ports import Embedders, Index
from stoa.bases.rerankers import CANDIDATES, Rerankers, reranked
from stoa.bases.rules import QUERY_CHARACTERS_MAX
from stoa.bases.service import DEFAULT_RETRIEVER, no_base
from stoa.bases.store import SQL
from stoa.bases.types import EmbedderSpec
from stoa.db import Database, Row
from stoa.embedding import Asymmetric, Calibrated, EmbedderError, Monolingual, Reranker, Tokenizing
from stoa.index import BaseKey, Found, Hit, Mode, Query
from stoa.kernel.errors import AppError, NotFound, Unavailable
from stoa.kernel.principal import Principal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SWITCHES_MAX: Final = 3
KNOWN_MIN: Final = 0.6
"""Below this share of letters in tokens that the embedder knows, a query is searched by keywords only."""
SEEN_MAX: Final = 2_000
"""Bases whose settings are cached."""
CACHED_MAX: Final = 2_000
"""Query vectors in the cache: about 3 MiB."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A caller's search; None takes the base's setting."""

    query: str
    limit: int | None = None
    mode: str | None = None
    alpha: float | None = None
    filters: Mapping[str, Any] | None = None
    user: str | None = None
    groups: Sequence[str] | None = None
    similarity_threshold: float | None = None
    explain: bool = False
    exact: bool = False
    """Scan every vector, even where there is an HNSW graph."""
    rerank: bool | None = None
    one_per_item: bool = False
    """The best chunk of each item; `limit` counts items."""


@dataclass(frozen=True, slots=True)
class _Embedded:
    """A query's vector, the share of it that the embedder reads by more than single letters, and the cosine that it
    gives to unrelated texts."""

    vector: "NDArray[np.float32]"
    known: float
    unrelated: float
    language: str | None = None
    """The one language that the embedder reads well; None for one that reads many."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """The input of a search's transaction; `seconds` is the time of the embedding."""

    mode: Mode
    alpha: float
    embedded: _Embedded | None
    reranker: Reranker | None
    seconds: float


class _Seen(NamedTuple):
    """The cache key: base and principal, so that another principal's settings are never used."""

    org_id: UUID
    project_id: UUID | None
    projects: tuple[UUID, ...] | None
    base_id: UUID


def _seen(principal: Principal, base_id: UUID) -> _Seen:
    projects = None if principal.projects is None else tuple(principal.projects)
    return _Seen(principal.org_id, principal.project_id, projects, base_id)


class Search:
    """Settings of bases are cached, so that a query is embedded before its one transaction begins. That transaction
    reads them again, with the caller's permissions, so every search on every node uses the current settings."""

    def __init__(
        self,
        database: Database,
        index: Index,
        embedders: Embedders,
        rerankers: Rerankers,
        metrics: IngestionMetrics | None = None,
    ) -> None:
        self._database = database
        self._metrics = metrics or IngestionMetrics()
        self._rerankers = rerankers
        self._index = index
        self._embedders = embedders
        self._cached: OrderedDict[tuple[str, str], _Embedded] = OrderedDict()
        self._seen: OrderedDict[_Seen, Row] = OrderedDict()

    async def search(self, principal: Principal, base_id: UUID, asked: Asked) -> Found:
        """Best first. Raises NotFound, BadRequest for an invalid filter, Unavailable while the embedder is
        unreachable."""
        seen = _seen(principal, base_id)
        for _ in range(SWITCHES_MAX):
            row, remembered = self._seen.get(seen), True
            if row is None:
                row, remembered = await self._settings(principal, base_id), False
            try:
                prepared = await self._prepared(principal, row, asked)
            except AppError:
                fresh = await self._settings(principal, base_id) if remembered else row
                if fresh == row:
                    raise
                self._remember(seen, fresh)  # The base's embedder or reranker has changed.
                continue
            async with self._database.tenant(principal, snapshot=True) as tx:
                now = await tx.fetchrow(SQL.settings, principal.org_id, base_id)
                if now is None:
                    self._seen.pop(seen, None)
                    raise no_base(base_id)
                self._remember(seen, now)
                if now != row:  # Changed, or re-indexed: the vector may be another embedder's.
                    continue
                found = await self._index.search(
                    tx,
                    _key(principal, base_id, row),
                    _query(asked, prepared, row),
                    prepared.embedded.vector if prepared.embedded is not None else None,
                )
            return await self._answered(asked, row, prepared, found)
        raise Unavailable("The index of this knowledge base is being switched; try again in a moment.")

    def has_seen(self, principal: Principal, base_id: UUID) -> bool:
        """Whether a principal with the same scope has searched this base, so that it is visible, or was until
        recently."""
        return _seen(principal, base_id) in self._seen

    async def _settings(self, principal: Principal, base_id: UUID) -> Row:
        async with self._database.tenant(principal) as tx:
            row = await tx.fetchrow(SQL.settings, principal.org_id, base_id)
        if row is None:
            raise no_base(base_id)
        return row

    def _remember(self, seen: _Seen, row: Row) -> None:
        self._seen[seen] = row
        self._seen.move_to_end(seen)
        if len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)

    async def _prepared(self, principal: Principal, row: Row, asked: Asked) -> _Prepared:
        """The work without a database connection: no transaction is open during a model call."""
        mode, alpha = _mode(asked, row["retriever"])
        reranker = await self._reranker(principal, row, asked)
        begun = perf_counter()
        embedded = None
        if mode is not Mode.KEYWORD:
            embedded = await self._embed(
                principal.org_id, row["project_id"], store.embedder_of(row["embedder"]), asked.query
            )
            if mode is Mode.HYBRID and asked.alpha is None and embedded.known < KNOWN_MIN:
                mode = Mode.KEYWORD  # The vector of a text that the embedder cannot read is meaningless.
        return _Prepared(mode, alpha, embedded, reranker, perf_counter() - begun)

    async def _answered(self, asked: Asked, row: Row, prepared: _Prepared, found: Found) -> Found:
        embedding_seconds = None if prepared.embedded is None else prepared.seconds
        self._metrics.searched(prepared.mode.value, found.seconds, embedding_seconds)
        if prepared.reranker is not None:  # No database connection is held during this call.
            limit = asked.limit or row["retriever"]["top_k"]
            found = await reranked(
                prepared.reranker, asked.query, found, limit, asked.similarity_threshold, explain=asked.explain
            )
        if not asked.explain:
            return found
        return replace(found, explain={"embedding_ms": round(prepared.seconds * 1000, 2), **found.explain})

    async def _reranker(self, principal: Principal, row: Row, asked: Asked) -> Reranker | None:
        """The caller decides, else the base: where its retriever names a reranker, its answers are reranked."""
        chosen = row["retriever"].get("reranker")
        wanted = asked.rerank if asked.rerank is not None else chosen is not None
        return await self._rerankers.get(principal.org_id, row["project_id"], chosen) if wanted else None

    async def search_all(
        self,
        principal: Principal,
        base_ids: Sequence[UUID],
        query: str,
        limit: int | None,
        user: str | None,
        groups: Sequence[str] | None = None,
    ) -> Sequence[tuple[UUID, Hit]]:
        """Searches several bases and interleaves their hits by rank: scores of different bases do not compare.

        Without a limit, each base gives its own `top_k`. A base that is gone gives nothing. While a base's embedder is
        away it is searched by words alone: an agent is better served by less than by nothing.
        """
        ranked: list[tuple[int, float, UUID, Hit]] = []
        asked = Asked(query[:QUERY_CHARACTERS_MAX], limit, user=user, groups=groups)
        for base_id in base_ids if query.strip() else ():
            try:
                found = await self.search(principal, base_id, asked)
            except NotFound:
                continue
            except Unavailable:
                found = await self.search(principal, base_id, replace(asked, mode=Mode.KEYWORD))
            ranked += [(rank, -hit.score, base_id, hit) for rank, hit in enumerate(found.hits)]
        ranked.sort(key=lambda one: one[:2])
        return [(base_id, hit) for _, _, base_id, hit in ranked[:limit]]

    async def unknown(self, principal: Principal, base_ids: Sequence[UUID]) -> Sequence[UUID]:
        """The ids that are not a base which the principal may read."""
        if principal.permissions is not None and "knowledge:read" not in principal.permissions:
            return base_ids
        async with self._database.tenant(principal) as tx:
            known = {row["id"] for row in await tx.fetch(SQL.known_bases, principal.org_id, list(base_ids))}
        return [base_id for base_id in base_ids if base_id not in known]

    async def _embed(self, org_id: UUID, project_id: UUID, spec: EmbedderSpec, text: str) -> _Embedded:
        try:
            embedder = await self._embedders.get(org_id, project_id, spec)
            key = (embedder.identity, text)
            if key in self._cached:
                self._cached.move_to_end(key)
                return self._cached[key]
            vector = (
                await embedder.embed_query(text)
                if isinstance(embedder, Asymmetric)
                else (await embedder.embed([text]))[0]
            )
        except EmbedderError as error:
            raise Unavailable(
                f"The query cannot be embedded just now. {error.message} A search with mode=keyword works without."
            ) from error
        known = embedder.tokenize([text])[0].known if isinstance(embedder, Tokenizing) else 1.0
        self._cached[key] = found = _Embedded(
            vector,
            known,
            embedder.unrelated if isinstance(embedder, Calibrated) else 0.0,
            embedder.language if isinstance(embedder, Monolingual) else None,
        )
        if len(self._cached) > CACHED_MAX:
            self._cached.popitem(last=False)
        return found


def _key(principal: Principal, base_id: UUID, row: Row) -> BaseKey:
    return BaseKey(principal.org_id, row["project_id"], base_id, row["generation"])


def _query(asked: Asked, prepared: _Prepared, row: Row) -> Query:
    """A reranker reads more than are asked for; the threshold then applies to its scores."""
    limit, wide = asked.limit or row["retriever"]["top_k"], prepared.reranker is not None
    return Query(
        asked.query,
        max(CANDIDATES, limit) if wide else limit,
        prepared.mode,
        prepared.alpha,
        asked.filters,
        asked.user,
        asked.groups,
        None if wide else asked.similarity_threshold,
        asked.explain,
        language=row["language"],
        exact=asked.exact,
        one_per_item=asked.one_per_item,
        unrelated=prepared.embedded.unrelated if prepared.embedded is not None else 0.0,
        embedder_language=_language_of_embedder(asked, prepared),
    )


def _language_of_embedder(asked: Asked, prepared: _Prepared) -> str | None:
    """None if the weight was set explicitly."""
    chosen = asked.alpha is not None or prepared.alpha != DEFAULT_RETRIEVER.alpha
    return None if chosen or prepared.embedded is None else prepared.embedded.language


def _mode(asked: Asked, retriever: Mapping[str, Any]) -> tuple[Mode, float]:
    """Mode and weight: the caller's, else the base's. An alpha of 0 or 1 means only that half."""
    alpha = asked.alpha if asked.alpha is not None else retriever["alpha"]
    if asked.mode is not None:
        return Mode(asked.mode), alpha
    if asked.alpha is not None:
        return (Mode.KEYWORD if alpha == 0 else Mode.SEMANTIC if alpha == 1 else Mode.HYBRID), alpha
    return Mode(retriever["mode"]), alpha


def shown(hit: Hit) -> dict[str, Any]:
    """A hit's metadata as answers show it: the item's, with page, heading, and for pieces of tables their rows and
    sheet."""
    found = {**hit.metadata, **(hit.place or {})}
    if hit.page is not None:
        found["page"] = hit.page
    if hit.heading is not None:
        found["heading"] = hit.heading
    return found
