"""Steps of ingestion that small files which wait at the same time take together: fewer statements, and larger batches
for the embedder.

Each file keeps its own task, lease and outcome. If a shared step fails, its files are tried again, each alone: the
fault of one costs the others two seconds.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final
from uuid import UUID

from stoa.bases import rules
from stoa.bases.ports import Index
from stoa.bases.store import SQL
from stoa.bases.types import Item
from stoa.db import Database, Row
from stoa.db.internal import internal_statement
from stoa.documents import Passage, fitted
from stoa.embedding import Embedder, EmbedderError, Tokenizing
from stoa.kernel.joining import JoinedByKey

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TEXTS_MAX: Final = 8
"""A file with more new chunks has the embedder to itself."""
_ITEMS_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class _Project:
    org_id: UUID
    project_id: UUID
    embedder: str


class JoinedSteps:
    def __init__(self, database: Database, index: Index) -> None:
        self._database = database
        self._index = index
        self._settings = JoinedByKey("knowledge.settings", self._read_settings, items_max=_ITEMS_MAX)
        self._fitted = JoinedByKey("knowledge.fit", _fit, items_max=_ITEMS_MAX)
        self._known = JoinedByKey("knowledge.known", self._find_known, items_max=_ITEMS_MAX)
        # Two: one batch is in the queue of the embedder's thread while another one runs.
        self._embedded = JoinedByKey("knowledge.embed", self._embed, items_max=_ITEMS_MAX // 2, at_once_max=2)

    async def finished(self) -> None:
        for steps in (self._settings, self._fitted, self._known, self._embedded):
            await steps.finished()

    async def settings(self, item: Item) -> Row | None:
        """The settings of the item's base; None if it was deleted."""
        return await self._settings.do((item.org_id, item.knowledgebase_id), None)

    async def fitted(
        self,
        item: Item,
        embedder: Tokenizing,
        passages: Sequence[Passage],
        title: str | None,
        tokens_max: int,
    ) -> Sequence[Passage]:
        """Passages that the embedder reads to their end."""
        if len(passages) > TEXTS_MAX or item.attempt > 1:
            return (await _fit((embedder, tokens_max), [(passages, title)]))[0]
        return await self._fitted.do((embedder, tokens_max), (passages, title))

    async def known(self, item: Item, embedder: str, hashes: Sequence[bytes]) -> "Mapping[bytes, NDArray[np.float32]]":
        """The vectors that chunks of the project have already. A file with many chunks asks for them alone."""
        project = _Project(item.org_id, item.project_id, embedder)
        if len(hashes) > TEXTS_MAX or item.attempt > 1:
            return (await self._find_known(project, [hashes]))[0]
        return await self._known.do(project, hashes)

    async def embed(
        self, item: Item, embedder: Embedder, texts: Sequence[str], *, local: bool
    ) -> "NDArray[np.float32]":
        """Raises EmbedderError. An endpoint may refuse a text, so only texts for the local embedder are joined."""
        if not local or len(texts) > TEXTS_MAX or item.attempt > 1:
            return await embedder.embed(texts)
        found = await self._embedded.do(embedder, texts)
        if isinstance(found, EmbedderError):
            raise EmbedderError(
                found.code, found.message, retryable=found.retryable, retry_after_seconds=found.retry_after_seconds
            )
        return found

    async def _read_settings(self, base: tuple[UUID, UUID], items: Sequence[None]) -> Sequence[Row | None]:
        async with internal_statement(self._database) as tx:
            row = await tx.fetchrow(SQL.settings_of_worker, *base)
        return [row] * len(items)

    async def _find_known(
        self, project: _Project, wanted: Sequence[Sequence[bytes]]
    ) -> "Sequence[Mapping[bytes, NDArray[np.float32]]]":
        found: dict[bytes, NDArray[np.float32]] = {}
        distinct = list(dict.fromkeys(chain.from_iterable(wanted)))
        for start in range(0, len(distinct), rules.KNOWN_BATCH):
            batch = distinct[start : start + rules.KNOWN_BATCH]
            async with internal_statement(self._database) as tx:
                found |= await self._index.known(tx, project.org_id, project.project_id, project.embedder, batch)
        return [{one: found[one] for one in hashes if one in found} for hashes in wanted]

    async def _embed(
        self, embedder: Embedder, wanted: Sequence[Sequence[str]]
    ) -> "Sequence[NDArray[np.float32] | EmbedderError]":
        try:
            vectors = await embedder.embed(list(chain.from_iterable(wanted)))
        except EmbedderError as error:
            return [error] * len(wanted)
        found: list[NDArray[np.float32] | EmbedderError] = []
        for texts in wanted:
            found.append(vectors[: len(texts)])
            vectors = vectors[len(texts) :]
        return found


async def _fit(
    to: tuple[Tokenizing, int], documents: Sequence[tuple[Sequence[Passage], str | None]]
) -> Sequence[Sequence[Passage]]:
    embedder, tokens_max = to

    def tokenize(texts: Sequence[str]) -> Sequence[Sequence[tuple[int, int]]]:
        return [tokens.spans for tokens in embedder.tokenize(texts)]

    def fit() -> Sequence[Sequence[Passage]]:
        return [fitted(passages, title, tokens_max, tokenize) for passages, title in documents]

    return await asyncio.to_thread(fit)
