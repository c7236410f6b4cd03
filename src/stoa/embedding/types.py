"""The port of everything that turns texts into vectors. NumPy is named here and not imported: the server starts without
it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class EmbedderError(Exception):
    """The embedder failed while working: an outcome, not a bug of ours.

    `code` is one of: embedder_unavailable (no weights, and no way to fetch them now), embedder_corrupted (weights that
    are not the pinned ones), embedder_unusable (a directory that holds no model, or an unfit one), embedder_closed,
    embedder_not_ready, and for endpoints embedder_rate_limited,
    embedder_overloaded (5xx), embedder_unreachable, embedder_timeout, embedder_unauthorized, embedder_not_found,
    embedder_refused_request (other 4xx), embedder_protocol_error. `retryable` says whether the same call may succeed
    later without anybody doing anything.
    """

    def __init__(self, code: str, message: str, *, retryable: bool, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.retryable, self.retry_after_seconds = (
            code,
            message,
            retryable,
            retry_after_seconds,
        )


class Embedder(Protocol):
    """Gives one unit vector per text, in the order of the texts; a text's vector does not depend on its companions.

    Nothing is loaded, fetched or connected before the first `prepare` or `embed`; both may be called concurrently.
    Texts longer than `tokens_max` are embedded by their beginning. Every str is accepted, the empty one included.
    """

    @property
    def identity(self) -> str:
        """Names what made a vector; vectors of different identities do not compare. A cache key."""
        ...

    @property
    def dimensions(self) -> int:
        """Known from the start or after `prepare`; before that it may raise EmbedderError(embedder_not_ready)."""
        ...

    @property
    def tokens_max(self) -> int: ...

    async def prepare(self) -> None:
        """Loads the model before the first `embed`. Raises EmbedderError."""
        ...

    async def embed(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        """(len(texts), dimensions) float32, rows of length 1. Raises EmbedderError; never blocks the event loop."""
        ...

    async def close(self) -> None:
        """Ends what is running and frees the model; may be called twice. Later calls raise
        EmbedderError(embedder_closed)."""
        ...


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text as its embedder's tokens, without those around it: where each begins and ends, and the share of its words
    that the embedder knows by more than their single letters."""

    spans: Sequence[tuple[int, int]]
    known: float


@runtime_checkable
class Tokenizing(Protocol):
    """An embedder whose tokens can be had. Of an endpoint they cannot."""

    def tokenize(self, texts: Sequence[str]) -> Sequence[Tokens]:
        """The tokens of whole texts, beyond `tokens_max` too. Synchronous: call it in a thread for more than a query.
        Raises EmbedderError(embedder_not_ready) before `prepare`."""
        ...


@runtime_checkable
class Asymmetric(Protocol):
    """An embedder that embeds questions and passages differently."""

    async def embed_query(self, text: str) -> "NDArray[np.float32]":
        """One vector, as `embed` makes them."""
        ...


@runtime_checkable
class Calibrated(Protocol):
    """An embedder whose cosines lie close together, far above zero."""

    @property
    def unrelated(self) -> float:
        """The typical cosine of unrelated texts."""
        ...


@runtime_checkable
class Monolingual(Protocol):
    """An embedder for one language, which embeds others badly."""

    @property
    def language(self) -> str:
        """As the index names it."""
        ...
