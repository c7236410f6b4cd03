"""The ports of knowledge bases."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from stoa.bases.types import EmbedderSpec, Item
from stoa.db import Tx
from stoa.embedding import Embedder
from stoa.index import BaseKey, Chunk, Found, NewItem, Query, Removed
from stoa.kernel.principal import Principal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Projects(Protocol):
    async def home(self, principal: Principal) -> UUID:
        """The project that new things of this principal belong to: the key's own, or the organization's first."""
        ...

    async def chosen(self, principal: Principal, project_id: UUID | None) -> UUID:
        """The same where the caller may name a project. Raises BadRequest naming `project_id` when it is none of the
        principal's."""
        ...


class Embedders(Protocol):
    def default(self, language: str) -> EmbedderSpec:
        """Of a new base in this language."""
        ...

    def for_other_languages(self, spec: EmbedderSpec) -> EmbedderSpec | None:
        """The embedder that a base takes instead of this one once it holds items in several languages; None where it
        keeps it."""
        ...

    async def check(self, org_id: UUID, project_id: UUID, spec: EmbedderSpec) -> EmbedderSpec:
        """The same with its true number of dimensions. Raises BadRequest naming the field of `embedder`."""
        ...

    async def get(self, org_id: UUID, project_id: UUID, spec: EmbedderSpec) -> Embedder:
        """Raises EmbedderError if it is not available (any more)."""
        ...


@dataclass(frozen=True, slots=True)
class Used:
    """The usage of a model call. `estimated`: the provider sent none. `cost_usd` None: the price is unknown."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    estimated: bool
    cost_usd: float | None


class TranscriptionError(Exception):
    """A picture could not be read: an outcome. `code` is one of a model's errors (model_timeout, model_not_found …), or
    says that the key that pays may not (spending_limit_reached, price_unknown). `used`: what it cost all the same; None
    where no model had begun."""

    def __init__(self, code: str, message: str, *, retryable: bool, used: Used | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.retryable, self.used = code, message, retryable, used


@dataclass(frozen=True, slots=True)
class Transcript:
    """The text of a picture as Markdown; empty where it has none. `complete` is false where the model broke off at its
    limit."""

    text: str
    complete: bool
    used: Used


class Transcriber(Protocol):
    """A model that reads images of pages. `model` names it."""

    @property
    def model(self) -> str: ...

    async def check_payer(self, tx: Tx, item: Item) -> None:
        """Raises TranscriptionError when the key whose bill the item's reading is on may not pay for another page just
        now."""
        ...

    async def transcribe(self, name: str, mime_type: str, picture: bytes) -> Transcript:
        """Bounded in time. Raises TranscriptionError."""
        ...

    async def bill(self, tx: Tx, item: Item, base_id: UUID | None, used: Used) -> int:
        """Enters a call into the bill; returns the line's number. `base_id` is None if the base was deleted
        meanwhile."""
        ...


class Index(Protocol):
    """Chunks, vectors and words. `stoa.index` says more."""

    async def replace(self, tx: Tx, key: BaseKey, *items: NewItem) -> Sequence[str]: ...

    async def languages(self, tx: Tx, key: BaseKey) -> Mapping[str, int]: ...

    async def chunks(
        self, tx: Tx, key: BaseKey, item_id: UUID, offset: int, limit: int
    ) -> tuple[Sequence[Chunk], int]: ...

    async def remove(self, tx: Tx, key: BaseKey, item_ids: Sequence[UUID]) -> Removed: ...

    async def drop(self, tx: Tx, key: BaseKey) -> Removed: ...

    async def set_metadata(self, tx: Tx, key: BaseKey, item_id: UUID, metadata: Mapping[str, Any]) -> None: ...

    async def known(
        self, tx: Tx, org_id: UUID, project_id: UUID, embedder: str, hashes: Sequence[bytes]
    ) -> "Mapping[bytes, NDArray[np.float32]]": ...

    async def left_over(self, tx: Tx, org_id: UUID, base_id: UUID, item_ids: Sequence[UUID]) -> int: ...

    async def search(self, tx: Tx, key: BaseKey, query: Query, query_vector: "NDArray[np.float32] | None") -> Found: ...


Credentials = Callable[[UUID, UUID, UUID], Awaitable[tuple[str | None, str | None, str | None] | None]]
"""(org, project, connection) → (base URL, API key, CA bundle) of an OpenAI-compatible endpoint; None where there is no
such connection."""
