"""Prepares a file for its index: read → split → embed new chunks. Only writes transcripts of pages."""

import asyncio
import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from stoa.bases import rules, store
from stoa.bases.joined_steps import JoinedSteps
from stoa.bases.ports import Embedders, Index
from stoa.bases.transcribing import Transcribing
from stoa.bases.types import Chunking, EmbedderSpec, Item
from stoa.db import Database
from stoa.db.blobs import BlobStore, blob_name
from stoa.db.leases import Superseded
from stoa.documents import ConversionError, Converted, Converter, Passage, embedded_text
from stoa.embedding import Embedder, Tokenizing
from stoa.index import BaseKey, NewChunk, NewItem

if TYPE_CHECKING:
    from numpy.typing import NDArray

TITLE_CHARACTERS_MAX: Final = 200
_TITLE: Final = re.compile(r"\s*#[ \t]+(.+?)[ \t#]*(?:\n|$)")
_MARKS: Final = re.compile(r"[*_`]+")


@dataclass(frozen=True, slots=True)
class Target:
    """An index to fill, with its settings. `served`: the one that is searched, not the one that is being built."""

    key: BaseKey
    embedder: EmbedderSpec
    chunking: Chunking
    language: str
    served: bool
    ocr: bool


@dataclass(frozen=True, slots=True)
class Prepared:
    """The content for one index, and the warnings of the conversion."""

    target: Target
    new: NewItem
    converted: Converted


@dataclass(slots=True)
class Progress:
    pages_done: int | None = None
    pages: int | None = None
    chunks_done: int | None = None
    chunks: int | None = None

    def read(self, done: int, pages: int | None) -> None:
        """Progress never decreases, also if the file is read again for other chunking."""
        self.pages_done, self.pages = max(done, self.pages_done or 0), pages

    def values(self) -> tuple[int | None, ...]:
        return (self.pages_done, self.pages, self.chunks_done, self.chunks)


class Preparing:
    def __init__(
        self,
        database: Database,
        index: Index,
        blobs: BlobStore,
        converter: Converter,
        embedders: Embedders,
        transcribing: Transcribing,
    ) -> None:
        self._steps = JoinedSteps(database, index)
        self._large = asyncio.Semaphore(rules.LARGE_ITEMS_MAX)
        self._blobs = blobs
        self._converter = converter
        self._embedders = embedders
        self._transcribing = transcribing

    async def finished(self) -> None:
        """Waits for steps whose callers are gone, for a shutdown."""
        await self._steps.finished()

    async def targets(self, item: Item) -> Sequence[Target]:
        """The indexes that need this version of the item: the searched one, and the one being built. Raises
        Superseded."""
        row = await self._steps.settings(item)
        if row is None:
            raise Superseded
        building = store.building_of(row["building"])
        key = BaseKey(item.org_id, item.project_id, item.knowledgebase_id, row["generation"])
        found: list[Target] = []
        ocr = self._transcribing.wanted and row["ocr"] != "off"
        if building is None or item.served_sha256 != item.sha256:
            embedder, chunking = store.embedder_of(row["embedder"]), Chunking(**row["chunking"])
            found.append(Target(key, embedder, chunking, row["language"], served=True, ocr=ocr))
        if building is not None:
            key = replace(key, generation=building.generation)
            found.append(Target(key, building.embedder, building.chunking, building.language, served=False, ocr=ocr))
        return found

    async def prepare(self, item: Item, targets: Sequence[Target], progress: Progress) -> Sequence[Prepared]:
        """Raises ConversionError, EmbedderError, TranscriptionError or Superseded."""
        prepared: list[Prepared] = []
        converted: dict[Chunking, Converted] = {}
        for target in targets:
            if target.chunking not in converted:
                converted[target.chunking] = await self._read(item, target, progress)
            found = converted[target.chunking]
            async with self._large if len(found.passages) > rules.SMALL_CHUNKS else nullcontext():
                new = await self._vectors(item, target, found, progress)
            prepared.append(Prepared(target, new, found))
        return prepared

    async def _read(self, item: Item, target: Target, progress: Progress) -> Converted:
        async with self._blobs.local(blob_name(item.org_id, item.project_id, item.sha256)) as path:
            found = await self._converter.convert(
                path,
                name=item.name,
                mime_type=item.mime_type,
                chunk_characters_max=target.chunking.characters_max,
                on_progress=progress.read,
                find_ocr_targets=target.ocr,
                together=item.knowledgebase_id if item.size <= rules.SMALL_BYTES and item.attempt == 1 else None,
            )
            # An archive or a letter has no pages of its own: its pictures are counted behind what was counted of it.
            pictures = len({picture.place for picture in found.ocr_targets})
            total = found.pages if found.pages is not None else (progress.pages_done or 0) + pictures
            found = await self._transcribing.fill(
                item, path, found, target.chunking.characters_max, lambda left: progress.read(total - left, total)
            )
        _check_number(item, found.passages)
        progress.pages_done = progress.pages = found.pages
        return found

    async def _vectors(self, item: Item, target: Target, converted: Converted, progress: Progress) -> NewItem:
        """Embeds what no chunk of the project has a vector for yet."""
        import numpy as np  # noqa: PLC0415 — the server starts without it

        embedder = await self._embedders.get(item.org_id, item.project_id, target.embedder)
        title = title_of(converted.passages)
        passages = await self._fitted(item, target, converted, title, embedder)
        texts = [embedded_text(passage, title) for passage in passages]
        hashes = [sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts]
        known: dict[bytes, NDArray[np.float32]] = dict(await self._steps.known(item, embedder.identity, hashes))
        missing = [(one, text) for one, text in dict(zip(hashes, texts, strict=True)).items() if one not in known]
        progress.chunks = len(texts)
        for start in range(0, len(missing), rules.EMBED_BATCH):
            progress.chunks_done = len(texts) - len(missing) + start
            batch = missing[start : start + rules.EMBED_BATCH]
            local = target.embedder.provider == "local"
            vectors = await self._steps.embed(item, embedder, [text for _, text in batch], local=local)
            known.update({one: vector for (one, _), vector in zip(batch, vectors, strict=True)})
        progress.chunks_done = len(texts)
        chunks = [
            NewChunk(passage.text, one, passage.page, passage.heading, passage.place)
            for passage, one in zip(passages, hashes, strict=True)
        ]
        if hashes:
            stacked = np.stack([known[one] for one in hashes])
        else:
            stacked = np.zeros((0, target.embedder.dimensions), np.float32)
        return NewItem(
            item.id,
            item.shown_metadata,
            chunks,
            stacked,
            embedder=embedder.identity,
            language=target.language,
            title="\n".join(dict.fromkeys((item.name, title or item.name))),
        )

    async def _fitted(
        self, item: Item, target: Target, converted: Converted, title: str | None, embedder: Embedder
    ) -> Sequence[Passage]:
        """Passages that the embedder reads to their end. Raises ConversionError for too many of them."""
        if not isinstance(embedder, Tokenizing) or not converted.passages:
            return converted.passages
        await embedder.prepare()
        tokens_max = min(target.chunking.tokens_max or embedder.tokens_max, embedder.tokens_max)

        found = await self._steps.fitted(item, embedder, converted.passages, title, tokens_max)
        _check_number(item, found)
        return found


def title_of(passages: Sequence[Passage]) -> str | None:
    """The document's own title: the heading of the first level that it begins with."""
    match = _TITLE.match(passages[0].text) if passages else None
    return _MARKS.sub("", match[1]).strip()[:TITLE_CHARACTERS_MAX] or None if match else None


def _check_number(item: Item, passages: Sequence[Passage]) -> None:
    if len(passages) > rules.CHUNKS_MAX:
        message = (
            f"{item.name} would be {len(passages):,} chunks; an item holds at most {rules.CHUNKS_MAX:,}."
            " Split the file."
        )
        raise ConversionError("too_large", message)
