"""The input and output values of OCR."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Document:
    """An uploaded file, stored on disk while it is read."""

    path: Path
    name: str
    mime_type: str | None


@dataclass(frozen=True, slots=True)
class Llm:
    """A model named by the option `option`: the first of `slugs` that is in the catalogue. If `connection` (an id) is
    given, a slug that begins with the connection's name is tried before them."""

    option: str
    model: str
    slugs: Sequence[str]
    connection: UUID | None = None
    output_tokens_max: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """OpenAI's sampling fields, such as `temperature`."""


@dataclass(frozen=True, slots=True)
class PageText:
    """`page` counts from 1, of `pages`; both are 1 for a document without pages. `text` is Markdown, empty for a blank
    page."""

    page: int
    pages: int
    text: str
