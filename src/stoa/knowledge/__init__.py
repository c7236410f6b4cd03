"""Documents: converting, chunking, relevance, embedding. Front door, and a light one: every converting process passes it."""

from typing import TYPE_CHECKING, Any

from stoa.knowledge.types import ConversionError, Converted, Passage

if TYPE_CHECKING:
    from stoa.knowledge.converting import Converter
    from stoa.knowledge.documents import Documents

__all__ = ["ConversionError", "Converted", "Converter", "Documents", "Passage"]


def __getattr__(name: str) -> Any:
    """The two that bring NumPy along are loaded when they are first asked for."""
    if name == "Converter":
        from stoa.knowledge.converting import Converter  # noqa: PLC0415

        return Converter
    if name == "Documents":
        from stoa.knowledge.documents import Documents  # noqa: PLC0415

        return Documents
    raise AttributeError(name)
