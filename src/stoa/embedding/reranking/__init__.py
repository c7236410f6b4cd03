"""Rerankers: models that read the query and each passage together."""

from stoa.embedding.reranking.local import LocalReranker
from stoa.embedding.reranking.remote import RemoteReranker
from stoa.embedding.reranking.types import NullReranker, Reranker, RerankerError

__all__ = ["LocalReranker", "NullReranker", "RemoteReranker", "Reranker", "RerankerError"]
