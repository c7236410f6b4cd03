"""Pure rules of knowledge bases and their items."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import orjson

from stoa.kernel import json_values
from stoa.kernel.errors import BadRequest

SORTABLE: Final = {"created_at": "created_at", "updated_at": "updated_at", "name": "name"}
ITEMS_SORTABLE: Final = {"uploaded_at": "uploaded_at", "name": "name", "size": "size", "status": "status"}

METADATA_BYTES_MAX: Final = 64 * 1024
FORM_VALUES_MAX: Final = 50_000
"""Values in one JSON field of an upload."""
FILES_PER_UPLOAD_MAX: Final = 500
QUERY_CHARACTERS_MAX: Final = 8_000
LIMIT_MAX: Final = 100

READING_ATTEMPTS_MAX: Final = 2
"""Attempts after a crash or timeout of the reader, whose cause may be a busy machine."""
RETRIED: Final = frozenset({"converter_crashed", "timed_out"})
ITEM_SECONDS_MAX: Final = 3600.0
"""The time limit of one attempt: 50,000 chunks take the local embedder ten minutes on two slow cores."""
CHUNKS_MAX: Final = 50_000
"""Chunks of one item: as many as fit into memory with their vectors (75 MiB)."""
EMBED_BATCH: Final = 32
KNOWN_BATCH: Final = 1_000
"""Hashes of one statement."""
SMALL_BYTES: Final = 64 * 1024
"""Files of at most so many bytes are small: several are taken at once, and share a reader."""
SMALL_CHUNKS: Final = 100
"""Items of at most so many chunks may share a transaction."""
LARGE_ITEMS_MAX: Final = 5
"""Large files, and items of many chunks, that a node works on at once: their texts and vectors are in memory."""


def backoff_seconds(attempt: int, asked: float | None = None) -> float:
    """The backoff after a temporary failure: 2, 8, 32, 128, 512 seconds, or as long as the server asked for."""
    return max(2.0 * 4 ** (attempt - 1), min(asked or 0.0, 3600.0))


def metadata_of(raw: str | None, files: int) -> Sequence[dict[str, Any] | None]:
    """The `input` field of an upload: one metadata object per file, None where it was left out. Raises BadRequest
    naming what is wrong in it."""
    if raw is None:
        return [None] * files
    document = _json(raw, "input")
    if not isinstance(document, dict):
        raise BadRequest.field("input", 'must be a JSON object, such as {"metadata": [{"team": "sales"}]}')
    found = document.get("metadata")
    unknown = sorted(set(document) - {"metadata"})
    if unknown:
        raise BadRequest.field(f"input.{unknown[0]}", "is no field of an upload; there is only metadata")
    if found is None:
        return [None] * files
    if not isinstance(found, list) or len(found) != files:
        raise BadRequest.field("input.metadata", f"must be a list with one object per file: {files}")
    for index, one in enumerate(found):
        if not isinstance(one, dict):
            raise BadRequest.field(f"input.metadata[{index}]", "must be an object")
        check_metadata(one, f"input.metadata[{index}]")
    return found


def check_metadata(metadata: dict[str, Any], path: str) -> None:
    encoded = orjson.dumps(metadata)
    if len(encoded) > METADATA_BYTES_MAX:
        raise BadRequest.field(path, f"is over {METADATA_BYTES_MAX // 1024} KiB as JSON")
    if b"\\u0000" in encoded:
        raise BadRequest.field(path, "cannot hold the character NUL")


def ids_of(raw: str | None, files: int) -> Sequence[UUID] | None:
    """The `ids` field of an upload: the items that the files replace, in their order."""
    if raw is None:
        return None
    found = _json(raw, "ids")
    if not isinstance(found, list) or len(found) != files:
        raise BadRequest.field("ids", f"must be a JSON array with one item id per file: {files}")
    ids: list[UUID] = []
    for index, one in enumerate(found):
        try:
            ids.append(UUID(one))
        except (ValueError, AttributeError, TypeError) as error:
            raise BadRequest.field(f"ids[{index}]", "is no UUID") from error
        if ids[-1] in ids[:-1]:
            raise BadRequest.field(f"ids[{index}]", "appears twice: one file replaces an item")
    return ids


def _json(raw: str, field: str) -> Any:
    return json_values.read(raw.encode("utf-8", "surrogatepass"), field, FORM_VALUES_MAX)


def too_many_files() -> BadRequest:
    return BadRequest.field("files", f"are too many: at most {FILES_PER_UPLOAD_MAX} in one upload")
