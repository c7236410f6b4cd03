"""The index of knowledge bases: chunks with their vectors and words, and the search over them."""

from stoa.knowledge.index.index import Index
from stoa.knowledge.index.upkeep import Upkeep

__all__ = ["Index", "Upkeep"]
