"""The port of everything that judges passages against a query."""

from collections.abc import Sequence
from typing import Protocol


class RerankerError(Exception):
    """The reranker failed while working: an outcome, not a bug of ours.

    `code` is one of: reranker_closed, reranker_rate_limited, reranker_overloaded (5xx), reranker_unreachable,
    reranker_timeout, reranker_unauthorized, reranker_not_found, reranker_refused_request (other 4xx),
    reranker_protocol_error, reranker_unusable (a local model's files).
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class Reranker(Protocol):
    """Gives one score in 0..1 per text, in the order of the texts, higher is better; of equal texts the same.

    Nothing is connected before the first call; calls may run concurrently. Every str is accepted, the empty one
    included.
    """

    @property
    def identity(self) -> str:
        """Names what judged."""
        ...

    async def rerank(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """Raises RerankerError; gives nothing for no texts without asking anybody."""
        ...

    async def close(self) -> None:
        """May be called twice. Later calls raise RerankerError(reranker_closed)."""
        ...


class NullReranker:
    """Finds everything equally good, so that a stable sort leaves the order as it was."""

    identity = "null"

    def __init__(self) -> None:
        self._closed = False

    async def rerank(self, query: str, texts: Sequence[str]) -> Sequence[float]:  # noqa: ARG002 — the port's word
        if self._closed:
            raise RerankerError("reranker_closed", "This server is stopping.")
        return [0.5] * len(texts)

    async def close(self) -> None:
        self._closed = True
