"""`stoa-extractive`: answers by quoting what the conversation's documents say, with citations. It never invents, and
costs nothing.

It goes through the same port, loop and events as any model, and says plainly when it finds nothing.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from stoa.gateway.types import (
    Capabilities,
    Delta,
    DocumentPart,
    Finish,
    ImageAddress,
    ImagePart,
    ModelRequest,
    Passage,
    TextDelta,
    TextPart,
    Usage,
)

SLUG: Final = "stoa-extractive"
QUOTES_MAX: Final = 4
QUOTE_CHARACTERS_MAX: Final = 900
EARLIER_CHARACTERS_MIN: Final = 40
"""Shorter earlier messages are greetings and follow-ups, not something to quote."""
_PIECE: Final = re.compile(r".{1,48}(?:\s+|$)|\S+", re.DOTALL)

Quote = Callable[[str, Sequence[Passage], int], Awaitable[Sequence[tuple[int, str]]]]
"""(question, passages, limit) → (index, what that passage says about it) pairs, best first; empty when nothing is
relevant."""


class ExtractiveModel:
    """`pause_seconds` lies between two pieces of an answer, so that readers see it stream."""

    def __init__(self, quote: Quote, *, pause_seconds: float = 0.004) -> None:
        self._quote = quote
        self._pause_seconds = pause_seconds

    @property
    def abilities(self) -> Capabilities:
        return Capabilities(images=False, tools=False, documents=True, context_tokens=10_000_000)

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncGenerator[AsyncIterator[Sequence[Delta]]]:
        yield self._deltas(request)

    async def _deltas(self, request: ModelRequest) -> AsyncIterator[Sequence[Delta]]:
        question = "\n".join(part.text for part in request.messages[-1].parts if isinstance(part, TextPart))
        passages, sources, notes = _material(request)
        found = await self._quote(question, passages, QUOTES_MAX) if passages and question else []
        looked = any(
            isinstance(part, DocumentPart) and part.error is None
            for message in request.messages
            for part in message.parts
        )
        answer = _answer(
            [(said, passages[index], sources[index]) for index, said in found], notes, looked=looked or bool(passages)
        )
        for piece in _PIECE.findall(answer):
            yield [TextDelta(piece)]
            await asyncio.sleep(self._pause_seconds)
        read = sum(len(passage.text) for passage in passages) + len(question)
        yield [Usage(-(-read // 4), -(-len(answer) // 4), estimated=True), Finish("stop")]


def _material(request: ModelRequest) -> tuple[list[Passage], list[str], list[str]]:
    """All that may be quoted, the name of each passage's source, and what could not be read."""
    passages: list[Passage] = []
    sources: list[str] = []
    notes: list[str] = []
    seen: set[tuple[str, tuple[Passage, ...]]] = set()
    """A file that two messages carry is read once; a file and a knowledge base's item may have one name."""
    for position, message in enumerate(request.messages):
        last = position == len(request.messages) - 1
        for part in message.parts:
            if isinstance(part, DocumentPart) and (part.name, part.passages) not in seen:
                seen.add((part.name, part.passages))
                passages += part.passages
                sources += [part.name] * len(part.passages)
                if part.error:
                    notes.append(f"I could not read {part.name}: {part.error.rstrip('.')}.")
            elif isinstance(part, ImagePart | ImageAddress):
                name = part.name if isinstance(part, ImagePart) else "one"
                notes.append(f"I cannot see images, so I left out {name}.")
            elif (
                isinstance(part, TextPart)
                and message.role == "user"
                and not last
                and len(part.text) >= EARLIER_CHARACTERS_MIN
            ):
                passages.append(Passage(part.text))
                sources.append("your earlier message")
    return passages, sources, notes


def _answer(quotes: Sequence[tuple[str, Passage, str]], notes: Sequence[str], *, looked: bool) -> str:
    parts: list[str] = []
    if quotes:
        parts.append("Here is what your documents say. I quote; I do not write answers of my own.")
        parts += [_quoted(said, number) for number, (said, _, _) in enumerate(quotes, 1)]
        parts.append(
            "Sources:\n"
            + "\n".join(f"[{number}] {_citation(passage, name)}" for number, (_, passage, name) in enumerate(quotes, 1))
        )
    elif looked:
        parts.append("I found nothing about that in this conversation's documents.")
    else:
        parts.append(
            "I answer by quoting documents, and this conversation has none to quote from yet."
            " Upload a file to it and ask again, or switch to another model (GET /v1/router/models)."
        )
    return "\n\n".join([*parts, *notes])


def _quoted(text: str, number: int) -> str:
    """A block quote with its number behind it; below it where the quote ends with a table. Cut at a sentence where it
    is long."""
    if len(text) > QUOTE_CHARACTERS_MAX:
        cut = text[:QUOTE_CHARACTERS_MAX]
        end = max(cut.rfind(mark) for mark in (". ", ".\n", "\n"))
        text = cut[: end + 1 if end > 0 else None].rstrip() + " …"
    text = text.strip()
    text += f"\n\n[{number}]" if text.endswith(("|", "```", "~~~")) else f" [{number}]"
    return "\n".join(f"> {line}" if line.strip() else ">" for line in text.splitlines())


def _citation(passage: Passage, name: str) -> str:
    where = [f"page {passage.page}"] if passage.page else []
    if passage.heading:
        where.append(passage.heading)
    return ", ".join([name, *where])
