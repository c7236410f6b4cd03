"""Texts to vectors: the port, the local model, any OpenAI-compatible endpoint. Importing this loads no model and no NumPy."""

from stoa.knowledge.embedding.local import LocalEmbedder
from stoa.knowledge.embedding.remote import RemoteEmbedder
from stoa.knowledge.embedding.types import Embedder, EmbedderError

__all__ = ["Embedder", "EmbedderError", "LocalEmbedder", "RemoteEmbedder"]
