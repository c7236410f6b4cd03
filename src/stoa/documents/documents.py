"""The documents of conversations: converting, ranking, selecting."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from stoa.documents.converting import Converter
from stoa.documents.types import Converted

if TYPE_CHECKING:
    from stoa.documents.selecting import Embed, PassageLike

P = TypeVar("P", bound="PassageLike")


class Documents:
    """Long-lived; `close` ends its processes. While `embed` returns None, relevance is computed by keywords only."""

    def __init__(self, converter: Converter, embed: "Embed") -> None:
        self._converter = converter
        self._embed = embed

    async def close(self) -> None:
        await self._converter.close()

    async def convert(self, path: Path, *, name: str, mime_type: str) -> Converted:
        """Raises ConversionError."""
        return await self._converter.convert(path, name=name, mime_type=mime_type)

    async def quote(self, question: str, passages: "Sequence[PassageLike]", limit: int) -> Sequence[tuple[int, str]]:
        """(index, what that passage says about it) pairs, best first; empty when nothing is relevant."""
        from stoa.documents.quoting import quote  # noqa: PLC0415 — NumPy: the server starts without it

        return await quote(question, passages, self._embed, limit)

    async def rank(self, question: str, passages: "Sequence[PassageLike]", limit: int) -> Sequence[tuple[int, float]]:
        """(index, score) of the relevant passages, best first; empty when nothing is relevant."""
        from stoa.documents.selecting import rank  # noqa: PLC0415 — the same

        return await rank(question, passages, self._embed, limit)

    async def select(
        self, question: str, documents: Sequence[Sequence[P]], budget_tokens: int
    ) -> Sequence[Sequence[P]]:
        """The most relevant passages that fit, in document order."""
        from stoa.documents.selecting import select  # noqa: PLC0415 — the same

        return await select(question, documents, budget_tokens, self._embed)
