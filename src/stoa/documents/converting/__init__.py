"""Converts files to passages, each in a process of its own that can be killed."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stoa.documents.converting.converter import Converter

__all__ = ["Converter"]


def __getattr__(name: str) -> Any:
    """Imports the converter at first use: converting processes import this package too, and the converter's asyncio
    would be two thirds of what they load."""
    if name != "Converter":
        raise AttributeError(name)
    from stoa.documents.converting.converter import Converter  # noqa: PLC0415

    return Converter
