"""Pure decisions about conversations and their files."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from stoa.kernel.errors import BadRequest

TITLE_CHARACTERS_MAX: Final = 300
METADATA_BYTES_MAX: Final = 16 * 1024
"""As much as a tag set needs; larger things are files."""
CONTENT_PARTS_MAX: Final = 64
QUERY_WORDS_MAX: Final = 32

SORTABLE: Final = {"created_at": "created_at", "updated_at": "updated_at", "title": "title", "message_count": "message_count"}
FILES_SORTABLE: Final = {"created_at": "created_at", "name": "name", "size": "size"}


def search_expression(query: str) -> str:
    """What a person types, as a to_tsquery expression: every word must be there, the last one may be unfinished."""
    words = re.findall(r"\w+", query)[:QUERY_WORDS_MAX]
    if not words:
        raise BadRequest.field("q", "must hold at least one word")
    return " & ".join(words) + ":*"


def text_of(content: Sequence[Mapping[str, Any]]) -> str:
    """The text of a message, for search."""
    return "\n".join(part["text"] for part in content if part["type"] == "text")
