"""Knowledge bases, their settings and their items. No I/O here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, TypeAlias
from uuid import UUID

Ocr: TypeAlias = Literal["auto", "off"]
"""Whether pages without text are sent to the operator's OCR model: if there is one, or never."""


@dataclass(frozen=True, slots=True)
class EmbedderSpec:
    """Which embedder makes a base's vectors. `provider` is `local`, `server` (the operator's endpoint) or `connection`.

    `identity` is the embedder's identity when the base was created: vectors of another identity are not comparable.
    `automatic`: it was chosen automatically, so it may change with the languages of the items.
    """

    provider: str
    model: str
    dimensions: int
    connection_id: UUID | None = None
    identity: str = ""
    automatic: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Chunking:
    """How texts are split: along their structure, into chunks of at most `characters_max`; chunks longer than
    `tokens_max` tokens of the embedder, or than its input, are split again."""

    characters_max: int
    tokens_max: int | None = None


@dataclass(frozen=True, slots=True)
class Retriever:
    """Defaults of a search. `alpha` weighs hybrid from 0 (words) to 1 (meaning); `top_k` is an agent's number
    of passages. `reranker` (`provider`, and `connection_id` and `model` of a connection's) reads the best of each
    ranking again, unless a search says otherwise."""

    mode: str
    alpha: float
    top_k: int
    reranker: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Building:
    """A re-index in progress: the generation that will replace the searched one, and its settings."""

    generation: int
    embedder: EmbedderSpec
    chunking: Chunking
    language: str


@dataclass(frozen=True, slots=True)
class KnowledgeBase:
    id: UUID
    org_id: UUID
    project_id: UUID
    name: str
    description: str | None
    embedder: EmbedderSpec
    chunking: Chunking
    retriever: Retriever
    language: str
    ocr: Ocr
    ingestion: Mapping[str, Any]
    """What the platform's clients say of it, as they sent it: `flow`, `flow_ui` and the ids of where it runs there.
    Lists leave the two out."""
    generation: int
    building: Building | None
    item_count: int
    chunk_count: int
    served_count: int
    """Items that answer searches."""
    built_count: int
    """Those of them that the generation under way holds."""
    missed_count: int
    """Those of them that could not be brought into it: it waits for them."""
    created_at: datetime
    updated_at: datetime


class ItemStatus(StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"
    PROCESSED = "processed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Item:
    """A file of a base. The row is also its job: `attempt`, `version` and `node_id` fence who may settle it."""

    id: UUID
    org_id: UUID
    project_id: UUID
    knowledgebase_id: UUID
    name: str
    size: int
    mime_type: str
    sha256: bytes
    served_sha256: bytes | None
    served_name: str | None
    served_mime_type: str | None
    metadata: Mapping[str, Any]
    status: ItemStatus
    version: int
    attempt: int
    node_id: UUID | None
    pages_done: int | None
    pages: int | None
    chunks_done: int | None
    chunks_total: int | None
    built: int
    warnings: Sequence[str] | None
    error: Mapping[str, Any] | None
    source_id: UUID | None
    origin: str | None
    paid_by: UUID | None
    """The key that uploaded it or asked last for it to be read: whose bill the pages are on that a model reads."""
    uploaded_at: datetime
    processed_at: datetime | None

    @property
    def shown_metadata(self) -> Mapping[str, Any]:
        """The caller's, with what answers and filters may rely on: `file_id`, `dynamiq_item_id`, `source`."""
        return {"source": self.name, **self.metadata, "file_id": str(self.id), "dynamiq_item_id": str(self.id)}


@dataclass(frozen=True, slots=True)
class NewBase:
    name: str
    description: str | None
    embedder: EmbedderSpec
    chunking: Chunking
    retriever: Retriever
    language: str
    ocr: Ocr
    ingestion: Mapping[str, Any]
