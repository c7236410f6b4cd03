"""Embedders and rerankers: ports, local models, OpenAI-compatible endpoints.

Importing this loads no model and no NumPy.
"""

from stoa.embedding.directory import DirectoryEmbedder
from stoa.embedding.local import MINILM, MULTILINGUAL, LocalEmbedder, MultilingualEmbedder
from stoa.embedding.remote import RemoteEmbedder
from stoa.embedding.reranking import LocalReranker, NullReranker, RemoteReranker, Reranker, RerankerError
from stoa.embedding.types import Asymmetric, Calibrated, Embedder, EmbedderError, Monolingual, Tokenizing, Tokens

__all__ = [
    "MINILM",
    "MULTILINGUAL",
    "Asymmetric",
    "Calibrated",
    "DirectoryEmbedder",
    "Embedder",
    "EmbedderError",
    "LocalEmbedder",
    "LocalReranker",
    "Monolingual",
    "MultilingualEmbedder",
    "NullReranker",
    "RemoteEmbedder",
    "RemoteReranker",
    "Reranker",
    "RerankerError",
    "Tokenizing",
    "Tokens",
]
