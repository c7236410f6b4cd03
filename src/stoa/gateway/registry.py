"""The kinds of model providers, in one table. `docs/guide/models.md` describes each; a test compares both."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from stoa.gateway.providers import demands
from stoa.gateway.providers.anthropic import AnthropicModel
from stoa.gateway.providers.demands import Demands
from stoa.gateway.providers.openai import AzureModel, OpenAIModel
from stoa.gateway.providers.streaming import StreamingModel
from stoa.gateway.types import PLATFORM_NAMES
from stoa.kernel.model_providers import ProviderName


@dataclass(frozen=True, slots=True)
class ProviderKind:
    """`lister` names the function of `providers/listing.py` that requests the models; `default_url` None: the address
    must be given."""

    adapter: type[StreamingModel]
    default_url: str | None
    needs_key: bool = True
    demands: Demands | None = None
    """None: those of the address (many servers speak OpenAI's API), or of the API."""
    lister: Literal["list_openai", "list_anthropic", "list_azure"] = "list_openai"
    embeds: bool = True
    """Whether `/embeddings` is below the same address, with the same kind of key."""


PROVIDERS: Final[Mapping[ProviderName, ProviderKind]] = {
    "openai": ProviderKind(OpenAIModel, "https://api.openai.com/v1"),
    "anthropic": ProviderKind(
        AnthropicModel, "https://api.anthropic.com/v1", demands=demands.ANTHROPIC, lister="list_anthropic", embeds=False
    ),
    "azure": ProviderKind(AzureModel, None, demands=demands.OPENAI, lister="list_azure", embeds=False),
    "gemini": ProviderKind(
        OpenAIModel, "https://generativelanguage.googleapis.com/v1beta/openai", demands=demands.GEMINI
    ),
    "openrouter": ProviderKind(OpenAIModel, "https://openrouter.ai/api/v1"),
    "groq": ProviderKind(OpenAIModel, "https://api.groq.com/openai/v1", demands=demands.GROQ),
    "mistral": ProviderKind(OpenAIModel, "https://api.mistral.ai/v1", demands=demands.MISTRAL),
    "deepseek": ProviderKind(OpenAIModel, "https://api.deepseek.com", demands=demands.DEEPSEEK),
    "ollama": ProviderKind(OpenAIModel, "http://127.0.0.1:11434", needs_key=False, demands=demands.LOCAL),
    "llamacpp": ProviderKind(OpenAIModel, "http://127.0.0.1:8080/v1", needs_key=False, demands=demands.LOCAL),
    "vllm": ProviderKind(OpenAIModel, "http://127.0.0.1:8000/v1", needs_key=False),
}


_PLATFORM: Final = ("dynamiq.connections.", "dynamiq.nodes.llms.")


def provider_of(type_: str) -> ProviderName | None:
    """The provider of a type, in the spelling of settings or of the platform's library; None for another."""
    for prefix in _PLATFORM:
        if type_.startswith(prefix):
            title = type_.removeprefix(prefix)
            return PLATFORM_NAMES.get(title) or provider_of(title.lower())
    return next((name for name in PROVIDERS if name == type_), None)


_BY_NAME: Final[Mapping[str, ProviderKind]] = {**PROVIDERS}


def kind_of(type_: str) -> ProviderKind:
    """Raises KeyError for a type that settings and the API refuse."""
    return _BY_NAME[type_]


def root(type_: str, base_url: str | None) -> str:
    """The base of a provider's API; empty where it must be given and is missing.

    Ollama is given by its host alone, or with the /v1 of its OpenAI-compatible API.
    """
    url = (base_url or kind_of(type_).default_url or "").rstrip("/")
    if type_ == "ollama":
        url = url if "://" in url else f"http://{url}"
        url = url if url.endswith("/v1") else f"{url}/v1"
    return url


def compatible_root(type_: str, base_url: str | None) -> str | None:
    """The base of OpenAI's other routes (embeddings, rerankers); None for a provider without them."""
    return root(type_, base_url) if kind_of(type_).embeds else None
