"""Documents: converting, chunking, relevance, embedding. Front door."""

from stoa.knowledge.converting import Converter
from stoa.knowledge.documents import Documents
from stoa.knowledge.types import ConversionError, Converted, Passage

__all__ = ["ConversionError", "Converted", "Converter", "Documents", "Passage"]
