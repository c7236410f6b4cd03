"""Documents: converting, chunking, relevance, embedding. Front door, and a light one: every converting process passes it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from stoa.knowledge.types import ConversionError, Converted, Passage

if TYPE_CHECKING:
    from stoa.knowledge.converting import Converter
    from stoa.knowledge.documents import Documents
    from stoa.knowledge.embedding import LocalEmbedder, RemoteEmbedder
    from stoa.knowledge.reranking import LocalReranker, RemoteReranker, RerankerError

__all__ = [
    "ConversionError", "Converted", "Converter", "Documents", "LocalEmbedder", "LocalReranker", "Passage", "RemoteEmbedder", "RemoteReranker", "RerankerError",
]  # fmt: skip

_LATER = {
    "Converter": "converting", "Documents": "documents", "LocalEmbedder": "embedding", "LocalReranker": "reranking", "RemoteEmbedder": "embedding",
    "RemoteReranker": "reranking", "RerankerError": "reranking",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """What brings NumPy or aiohttp along is loaded when it is first asked for."""
    if name in _LATER:
        return getattr(import_module(f"stoa.knowledge.{_LATER[name]}"), name)
    raise AttributeError(name)
