"""Files to passages, each in a process of its own that can be killed."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stoa.documents.converting.converter import Converter

__all__ = ["Converter"]


def __getattr__(name: str) -> Any:
    """Every converting process passes this door, and asyncio, which only the server needs, is two thirds of what such a
    process would load."""
    if name != "Converter":
        raise AttributeError(name)
    from stoa.documents.converting.converter import Converter  # noqa: PLC0415

    return Converter
