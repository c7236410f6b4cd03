"""The values of the index. No I/O here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


LANGUAGES: Final = frozenset(
    {
        "simple",
        "arabic",
        "armenian",
        "basque",
        "catalan",
        "danish",
        "dutch",
        "english",
        "estonian",
        "finnish",
        "french",
        "german",
        "greek",
        "hindi",
        "hungarian",
        "indonesian",
        "irish",
        "italian",
        "lithuanian",
        "nepali",
        "norwegian",
        "portuguese",
        "romanian",
        "russian",
        "serbian",
        "spanish",
        "swedish",
        "tamil",
        "turkish",
        "yiddish",
    }
)
"""PostgreSQL's own text search configurations; `simple` stems nothing."""


class Mode(StrEnum):
    SEMANTIC = "semantic"
    KEYWORD = "keyword"
    HYBRID = "hybrid"


@dataclass(frozen=True, slots=True)
class BaseKey:
    """The key of an index: one per knowledge base and generation. A re-index fills the next generation beside the
    searched one."""

    org_id: UUID
    project_id: UUID
    knowledgebase_id: UUID
    generation: int = 1


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A chunk on its way in. `hash` is the SHA-256 of what was embedded; `page` counts from 1; `place` is what else
    answers show of where it stands: rows of a table, the sheet."""

    text: str
    hash: bytes
    page: int | None = None
    heading: str | None = None
    place: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """One that is stored. `position` counts from 0 in its item, `page` from 1."""

    id: UUID
    position: int
    page: int | None
    heading: str | None
    text: str


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item's chunks with one unit vector each (len(chunks), dimensions), and the metadata that filters see.

    `embedder` names what made the vectors, the same for all items of an index. `language` is one of `LANGUAGES`: the
    base's, which is taken where the item's own cannot be told. By the words of `title` every chunk is found.
    """

    item_id: UUID
    metadata: Mapping[str, Any]
    chunks: Sequence[NewChunk]
    vectors: "NDArray[np.float32]"
    embedder: str = ""
    language: str = "english"
    title: str = ""


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed: chunks, and the bytes of their texts and vectors."""

    chunks: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Query:
    """A search. `alpha` weighs hybrid mode from 0 (words alone) to 1 (vectors alone).

    With `user`, `groups` or both, only items that admit one of them are found (`visibility`); an empty list of groups
    finds what everybody may see. `similarity_threshold` (0..1) is compared with the score of the mode: the cosine in
    semantic mode, the share of the best possible BM25 score in keyword mode, their weighted mean in hybrid mode.
    `unrelated` is the cosine that this embedder gives to texts which have nothing to do with one another: scores count
    from there. `language` None means the index's own; it says which words are stop words where the query does not. With
    `one_per_item` the best chunk of each item is found, and `limit` counts items. `exact` scans every vector instead of
    walking the HNSW graph, to measure the graph's recall.
    """

    text: str
    limit: int = 10
    mode: Mode = Mode.HYBRID
    alpha: float = 0.4
    filters: Mapping[str, Any] | None = None
    user: str | None = None
    groups: Sequence[str] | None = None
    similarity_threshold: float | None = None
    explain: bool = False
    language: str | None = None
    exact: bool = False
    one_per_item: bool = False
    unrelated: float = 0.0
    embedder_language: str | None = None
    """The one language that the vectors' embedder reads well. Where no item is in it, meaning weighs less."""


@dataclass(frozen=True, slots=True)
class Hit:
    """`score` is in 0..1, higher is better, comparable within one answer. `snippets` mark matched sentences."""

    chunk_id: UUID
    item_id: UUID
    text: str
    score: float
    metadata: Mapping[str, Any]
    page: int | None = None
    heading: str | None = None
    snippet: str | None = None
    explain: Mapping[str, Any] | None = None
    place: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """Best first. `explain` has the times and counts of the stages if requested."""

    hits: Sequence[Hit]
    explain: Mapping[str, Any] = field(default_factory=dict[str, Any])
    seconds: Mapping[str, float] = field(default_factory=dict[str, float])
    """What each stage took, whoever asked."""
