"""Models: the port, the catalogue, the connections. The public interface."""

from stoa.gateway.addresses import check_address
from stoa.gateway.api import routes
from stoa.gateway.arguments import arguments_in
from stoa.gateway.catalogue import Catalogue, UnknownDefault
from stoa.gateway.connections import Connections
from stoa.gateway.factory import ModelFactory
from stoa.gateway.ledger import Line, add_spending, bill_key, key_refused, spending_refused, spent_usd
from stoa.gateway.offers import Offer, Provider, ProviderError, ProviderState
from stoa.gateway.prices import Facts, Price, estimated_tokens, price_of
from stoa.gateway.router.breaker import Breakers
from stoa.gateway.router.falling_back import FallingBack
from stoa.gateway.router.routing import Routing
from stoa.gateway.router.sampling import extra_of
from stoa.gateway.router.types import RouteSettings, Target, TargetSettings
from stoa.gateway.secrets import Vault, load_or_make
from stoa.gateway.transcribing import Transcriber, Unread
from stoa.gateway.types import (
    PLATFORM_NAMES,
    Answering,
    Capabilities,
    Delta,
    DocumentPart,
    Finish,
    FinishReason,
    ImagePart,
    Model,
    ModelError,
    ModelMessage,
    ModelRequest,
    Notice,
    Part,
    Passage,
    ProviderData,
    Pushes,
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
    "PLATFORM_NAMES",
    "Answering",
    "Breakers",
    "Capabilities",
    "Catalogue",
    "Connections",
    "Delta",
    "DocumentPart",
    "Facts",
    "FallingBack",
    "Finish",
    "FinishReason",
    "ImagePart",
    "Line",
    "Model",
    "ModelError",
    "ModelFactory",
    "ModelMessage",
    "ModelRequest",
    "Notice",
    "Offer",
    "Part",
    "Passage",
    "Price",
    "Provider",
    "ProviderData",
    "ProviderError",
    "ProviderState",
    "Pushes",
    "ReasoningDelta",
    "RouteSettings",
    "Routing",
    "Target",
    "TargetSettings",
    "TextDelta",
    "TextPart",
    "ToolCallDelta",
    "ToolCallPart",
    "ToolResultPart",
    "ToolSpec",
    "Transcriber",
    "UnknownDefault",
    "Unread",
    "Usage",
    "Vault",
    "add_spending",
    "arguments_in",
    "bill_key",
    "check_address",
    "estimated_tokens",
    "extra_of",
    "key_refused",
    "load_or_make",
    "price_of",
    "routes",
    "spending_refused",
    "spent_usd",
]
