"""A model of the catalogue, asked once. The type names the provider, `model` the model."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import Field

from stoa.apps.nodes.node import Node, NodePart, NodeType


class PromptMessage(NodePart):
    """`content` may hold `{{field}}`, which becomes the node's input field of that name."""

    role: Annotated[str, Field(max_length=50)] = "user"
    content: Any = ""


class Prompt(NodePart):
    messages: Annotated[Sequence[PromptMessage], Field(max_length=500)] = ()


class Llm(NodePart):
    """A model as an agent names it, or as the whole of an LLM node."""

    type: Annotated[str, Field(min_length=1, max_length=200)]
    model: Annotated[str, Field(max_length=300)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class LlmNode(Node):
    model: Annotated[str, Field(max_length=300)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    prompt: Prompt | None = None
    response_format: Mapping[str, Any] | None = None


_PROVIDERS: Final[Mapping[str, str]] = {
    "OpenAI": "openai",
    "Anthropic": "anthropic",
    "Gemini": "gemini",
    "Groq": "groq",
    "Mistral": "mistral",
    "DeepSeek": "deepseek",
    "Ollama": "ollama",
    "OpenRouter": "openrouter",
    "AzureAI": "azure",
    "CustomLLM": "",
}
"""Class → what leads the slugs of its models; CustomLLM names a whole slug."""

LLMS: Final = tuple(
    NodeType(
        f"dynamiq.nodes.llms.{name}",
        "llms",
        name,
        f"A model of the catalogue whose slug begins with {provider}/, asked once."
        if provider
        else "A model of the catalogue by its slug, asked once.",
        LlmNode,
        provider=provider,
    )
    for name, provider in _PROVIDERS.items()
)
