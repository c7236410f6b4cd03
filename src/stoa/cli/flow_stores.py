"""Maps nodes for vector stores in the platform's files to knowledge bases. Pure."""

from collections.abc import Mapping
from typing import Any, Final, cast

NAME_CHARACTERS_MAX: Final = 200
_FAMILIES: Final = (".retrievers.", ".writers.")
_INDEXES: Final = ("index_name", "table_name", "collection_name", "namespace_name")
_PARTS: Final = ("tenant_name", "namespace")
"""Fields that partition an index."""
_WITHIN: Final = ("document_retriever", "document_writer")
_REPLACED: Final = (*_WITHIN, "text_embedder", "document_embedder", "document_reranker", "connection")
"""Fields that a knowledge base replaces, because it does this itself."""


def is_store(kind: str) -> bool:
    return kind.startswith("dynamiq.nodes.") and any(family in kind for family in _FAMILIES)


def reference(name: str) -> str:
    """The placeholder for the id of the knowledge base of this name."""
    return f"${{knowledge_base:{name}}}"


def as_base(node: dict[str, Any]) -> str | None:
    """Turns a node into one for a knowledge base, and returns the base's name. None if the node has the base's id."""
    within: Mapping[str, Any] = next((node[name] for name in _WITHIN if isinstance(node.get(name), Mapping)), node)
    reranker = node.get("document_reranker")
    for one in (reranker, within):
        if isinstance(one, Mapping) and "top_k" in one:
            node["top_k"] = cast("Mapping[str, Any]", one)["top_k"]
            break
    for name in _REPLACED:
        node.pop(name, None)
    if node.get("knowledgebase_id"):
        return None
    index = next((str(within[name]) for name in _INDEXES if within.get(name)), "default")
    part = next((str(within[name]) for name in _PARTS if within.get(name)), None)
    base = (f"{index}/{part}" if part else index)[:NAME_CHARACTERS_MAX]
    node["knowledgebase_id"] = reference(base)
    return base


def with_ids(value: Any, ids: Mapping[str, str]) -> Any:
    """A flow with the placeholders of knowledge bases replaced by ids."""
    if isinstance(value, Mapping):
        return {name: with_ids(one, ids) for name, one in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list):
        return [with_ids(one, ids) for one in cast("list[Any]", value)]
    if isinstance(value, str) and value.startswith(reference("")[:-1]):
        return next((found for name, found in ids.items() if value == reference(name)), value)
    return value
