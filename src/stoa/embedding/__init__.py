"""Embedders and rerankers: ports, local models, OpenAI-compatible endpoints.

Importing this loads no model and no NumPy.
"""

from stoa.embedding.local import LocalEmbedder
from stoa.embedding.remote import RemoteEmbedder
from stoa.embedding.reranking import LocalReranker, NullReranker, RemoteReranker, Reranker, RerankerError
from stoa.embedding.types import Embedder, EmbedderError, Tokenizing, Tokens

__all__ = [
    "Embedder",
    "EmbedderError",
    "LocalEmbedder",
    "LocalReranker",
    "NullReranker",
    "RemoteEmbedder",
    "RemoteReranker",
    "Reranker",
    "RerankerError",
    "Tokenizing",
    "Tokens",
]
