"""Knowledge bases in a run: a tool for models that call tools, passages in the prompt for those that do not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol
from uuid import UUID

import orjson

from stoa.gateway import DocumentPart, Passage
from stoa.kernel.errors import AppError
from stoa.runs.types import Run
from stoa.tools import Call, ToolKind, ToolResult

SEARCH: Final = "search_knowledge"
LIMIT_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class Quote:
    """A passage of a knowledge base, with the fields of its citation."""

    text: str
    source: str
    page: int | None
    heading: str | None
    item_id: UUID
    chunk_id: UUID
    knowledgebase_id: UUID
    place: Mapping[str, Any] | None = None
    """Its further position: rows of a table, a sheet."""


class Library(Protocol):
    async def look(self, run: Run, base_ids: Sequence[UUID], query: str, limit: int | None) -> Sequence[Quote]:
        """Best first; without a limit each base's own. Raises AppError."""
        ...


def bases_of(run: Run) -> Sequence[UUID]:
    """The knowledge bases that the run's agent may search."""
    parts = (run.options.get("agent") or {}, run.options.get("wanted") or {})
    return list(dict.fromkeys(UUID(one) for part in parts for one in part.get("knowledge_bases", ())))


class KnowledgeTool:
    """Searches the agent's bases. It is idempotent, so a call without result is simply made again."""

    name = SEARCH
    kind = ToolKind.KNOWLEDGE_BASE
    idempotent = True
    approval = False
    editable_params: Sequence[str] = ()
    description = (
        "Searches the documents you were given and returns the most relevant passages, each with its source. Use it"
        " before you"
        " answer a question that they may answer, ask in several ways if the first finds little, and cite the"
        " sources you"
        " used by their numbers, such as [1]."
    )
    parameters: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "What to look for, in words that the documents may use."},
            "limit": {
                "type": "integer",
                "minimum": 1,
                "maximum": LIMIT_MAX,
                "description": "How many passages; leave it out for the usual number.",
            },
        },
        "required": ["query"],
    }

    def __init__(self, library: Library, run: Run, base_ids: Sequence[UUID]) -> None:
        self._library = library
        self._run = run
        self._base_ids = base_ids

    async def call(self, arguments: Mapping[str, Any], call: Call) -> ToolResult:  # noqa: ARG002 — the port's signature
        query = str(arguments["query"]).strip()
        if not query:
            return ToolResult("query cannot be blank", "tool_bad_arguments")
        try:
            found = await self._library.look(self._run, self._base_ids, query, arguments.get("limit"))
        except AppError as error:
            return ToolResult(error.message, "tool_failed")
        if not found:
            return ToolResult("Nothing was found. The documents may use other words, or say nothing about it.")
        return ToolResult(orjson.dumps([_cited(number, quote) for number, quote in enumerate(found, 1)]).decode())


def _cited(number: int, quote: Quote) -> dict[str, Any]:
    place = {"page": quote.page, "heading": quote.heading, **(quote.place or {})}
    return {
        "citation": f"[{number}]",
        "source": quote.source,
        **{name: value for name, value in place.items() if value is not None},
        "item_id": str(quote.item_id),
        "chunk_id": str(quote.chunk_id),
        "text": quote.text,
    }


def as_documents(quotes: Sequence[Quote]) -> Sequence[DocumentPart]:
    """The passages for a model without tools: by source, the best source first; or a sentence that there are none."""
    if not quotes:
        return [DocumentPart("the knowledge bases", complete=False)]
    by_source: dict[str, list[Passage]] = {}
    for quote in quotes:
        by_source.setdefault(quote.source, []).append(Passage(quote.text, quote.page, quote.heading))
    return [DocumentPart(source, tuple(passages), complete=False) for source, passages in by_source.items()]
