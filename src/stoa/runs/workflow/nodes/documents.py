"""The documents that nodes exchange: objects with `id`, `content` and `metadata`. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from stoa.runs.workflow.nodes.node import Inputs, NodeFailed

DOCUMENTS_MAX: Final = 5_000


def documents_of(inputs: Inputs) -> Sequence[Mapping[str, Any]]:
    """The node's field `documents`. Raises NodeFailed."""
    given = inputs.own.get("documents")
    if not isinstance(given, list):
        raise NodeFailed("input_invalid", "its field documents must be a list, as a converter gives it")
    documents = cast("list[Any]", given)
    if len(documents) > DOCUMENTS_MAX:
        raise NodeFailed("input_invalid", f"its field documents holds {len(documents)}; at most {DOCUMENTS_MAX}")
    for index, one in enumerate(documents):
        if not isinstance(one, Mapping) or not isinstance(cast("Mapping[str, Any]", one).get("content"), str):
            raise NodeFailed("input_invalid", f"documents[{index}] must be an object whose content is a text")
    return cast("list[Mapping[str, Any]]", documents)


def metadata_of(document: Mapping[str, Any]) -> Mapping[str, Any]:
    found = document.get("metadata")
    return cast("Mapping[str, Any]", found) if isinstance(found, Mapping) else {}
