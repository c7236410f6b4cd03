"""Second opinions on a ranking: a model that reads the query and each passage together. Front door."""

from stoa.knowledge.reranking.local import LocalReranker
from stoa.knowledge.reranking.remote import RemoteReranker
from stoa.knowledge.reranking.types import NullReranker, Reranker, RerankerError

__all__ = ["LocalReranker", "NullReranker", "RemoteReranker", "Reranker", "RerankerError"]
