"""The documents of conversations: converted, ranked, selected. One object holds what those need."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import structlog

from stoa.knowledge.converting import Converter
from stoa.knowledge.embedding import Embedder, EmbedderError
from stoa.knowledge.types import Converted

if TYPE_CHECKING:
    from stoa.knowledge.selecting import PassageLike, Vectors

P = TypeVar("P", bound="PassageLike")
_log = structlog.get_logger("stoa.knowledge")


class Documents:
    """Long-lived; `close` ends its processes. While the embedder fails, relevance is judged by words alone."""

    def __init__(self, converter: Converter, embedder: Embedder) -> None:
        self._converter = converter
        self._embedder = embedder

    async def close(self) -> None:
        await self._converter.close()
        await self._embedder.close()

    async def convert(self, path: Path, *, name: str, mime_type: str) -> Converted:
        """Raises ConversionError."""
        return await self._converter.convert(path, name=name, mime_type=mime_type)

    async def quote(self, question: str, passages: "Sequence[PassageLike]", limit: int) -> Sequence[tuple[int, str]]:
        """(index, what that passage says about it) pairs, best first; empty when nothing is relevant."""
        from stoa.knowledge.quoting import quote  # noqa: PLC0415 — NumPy: the server starts without it

        return await quote(question, passages, self._embed, limit)

    async def select(self, question: str, documents: Sequence[Sequence[P]], budget_tokens: int) -> Sequence[Sequence[P]]:
        """The most relevant passages that fit, in document order."""
        from stoa.knowledge.selecting import select  # noqa: PLC0415 — the same

        return await select(question, documents, budget_tokens, self._embed)

    async def _embed(self, texts: Sequence[str]) -> "Vectors | None":
        try:
            return await self._embedder.embed(texts)
        except EmbedderError as error:
            _log.warning("embedder failed; relevance is judged by words alone", code=error.code, reason=error.message)
            return None
