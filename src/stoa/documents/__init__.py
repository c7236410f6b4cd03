"""Documents: converting, chunking, selecting, quoting. Every converting process imports this module, so it imports
little."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from stoa.documents.types import ConversionError, Converted, OcrTarget, Passage, Picture

if TYPE_CHECKING:
    from stoa.documents.chunking import passages
    from stoa.documents.converting import Converter
    from stoa.documents.documents import Documents
    from stoa.documents.fitting import embedded_text, fitted

__all__ = [
    "ConversionError",
    "Converted",
    "Converter",
    "Documents",
    "OcrTarget",
    "Passage",
    "Picture",
    "embedded_text",
    "fitted",
    "passages",
]

_LATER = {
    "passages": "chunking",
    "embedded_text": "fitting",
    "fitted": "fitting",
    "Converter": "converting",
    "Documents": "documents",
}


def __getattr__(name: str) -> Any:
    """Imports what needs asyncio or NumPy when it is first asked for."""
    if name in _LATER:
        return getattr(import_module(f"stoa.documents.{_LATER[name]}"), name)
    raise AttributeError(name)
