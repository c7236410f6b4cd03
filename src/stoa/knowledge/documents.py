"""The documents of conversations: converted, ranked, selected. One object holds what those need."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from stoa.knowledge.converting import Converter
from stoa.knowledge.selecting import Embed, PassageLike, rank, select
from stoa.knowledge.types import Converted

P = TypeVar("P", bound=PassageLike)


class Documents:
    """Long-lived; `close` ends its processes. Without `embed`, relevance is judged by words alone."""

    def __init__(self, converter: Converter, embed: Embed | None) -> None:
        self._converter = converter
        self._embed = embed

    async def close(self) -> None:
        await self._converter.close()

    async def convert(self, path: Path, *, name: str, mime_type: str) -> Converted:
        """Raises ConversionError."""
        return await self._converter.convert(path, name=name, mime_type=mime_type)

    async def rank(self, question: str, passages: Sequence[PassageLike], limit: int) -> Sequence[tuple[int, float]]:
        """(index, score) pairs, best first; empty when nothing is relevant."""
        return await rank(question, passages, self._embed, limit)

    async def select(self, question: str, documents: Sequence[Sequence[P]], budget_tokens: int) -> Sequence[Sequence[P]]:
        """The most relevant passages that fit, in document order."""
        return await select(question, documents, budget_tokens, self._embed)
