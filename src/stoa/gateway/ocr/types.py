"""What is asked of OCR, and what it gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Document:
    """An uploaded file, as it lies on disk while it is read."""

    path: Path
    name: str
    mime_type: str | None


@dataclass(frozen=True, slots=True)
class Llm:
    """A model as the options name it: `option` is where. Of `slugs` the first that the catalogue has is meant;
    `connection` is the id of a connection, whose name leads another slug before them."""

    option: str
    model: str
    slugs: Sequence[str]
    connection: UUID | None = None
    output_tokens_max: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """`temperature` and the like, as OpenAI names them."""


@dataclass(frozen=True, slots=True)
class PageText:
    """`page` counts from 1, of `pages`; both are 1 for a document without pages. `text` is Markdown, empty for a blank
    page."""

    page: int
    pages: int
    text: str
