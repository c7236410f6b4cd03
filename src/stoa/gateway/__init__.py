"""Models: the port, the catalogue, the connections. Front door."""

from stoa.gateway.addresses import check_address
from stoa.gateway.api import routes
from stoa.gateway.catalogue import Catalogue, Offer, Provider, ProviderError, UnknownDefault
from stoa.gateway.connections import Connections
from stoa.gateway.prices import Price, price_of
from stoa.gateway.secrets import Vault, load_or_make
from stoa.gateway.suppliers import Suppliers
from stoa.gateway.transcribing import Transcriber
from stoa.gateway.types import (
    Abilities,
    Delta,
    DocumentPart,
    Finish,
    ImagePart,
    Model,
    ModelError,
    ModelMessage,
    ModelRequest,
    Part,
    Passage,
    ReasoningDelta,
    TextDelta,
    TextPart,
    ToolCallDelta,
    ToolCallPart,
    ToolResultPart,
    ToolSpec,
    Usage,
)

__all__ = [
    "Abilities", "Catalogue", "Connections", "Delta", "DocumentPart", "Finish", "ImagePart", "Model", "ModelError", "ModelMessage", "ModelRequest",
    "Offer", "Part", "Passage", "Price", "Provider", "ProviderError", "ReasoningDelta", "Suppliers", "TextDelta", "TextPart", "ToolCallDelta",
    "ToolCallPart", "ToolResultPart", "ToolSpec", "Transcriber", "UnknownDefault", "Usage", "Vault", "check_address", "load_or_make", "price_of", "routes",
]
