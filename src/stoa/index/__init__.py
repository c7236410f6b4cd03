"""The index of knowledge bases: chunks with their vectors and words, and the search over them."""

from stoa.index.index import Index
from stoa.index.types import LANGUAGES, BaseKey, Chunk, Found, Hit, Mode, NewChunk, NewItem, Query, Removed
from stoa.index.upkeep import Upkeep

__all__ = [
    "LANGUAGES",
    "BaseKey",
    "Chunk",
    "Found",
    "Hit",
    "Index",
    "Mode",
    "NewChunk",
    "NewItem",
    "Query",
    "Removed",
    "Upkeep",
]
