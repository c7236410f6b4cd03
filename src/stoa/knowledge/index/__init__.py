"""The index of knowledge bases: chunks with their vectors and words, and the search over them."""

from stoa.knowledge.index.index import Index

__all__ = ["Index"]
