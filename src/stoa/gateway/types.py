"""The input and output of models in Stoa's types; the providers' adapters convert them to wire formats."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, TypeAlias, runtime_checkable

from stoa.kernel.model_providers import ProviderName

PLATFORM_NAMES: Final[Mapping[str, ProviderName]] = {
    "OpenAI": "openai",
    "Anthropic": "anthropic",
    "Gemini": "gemini",
    "Groq": "groq",
    "Mistral": "mistral",
    "DeepSeek": "deepseek",
    "Ollama": "ollama",
    "OpenRouter": "openrouter",
    "AzureAI": "azure",
    "CustomLLM": "vllm",
}
"""The names of classes in the platform's library for connections and models, as in `dynamiq.connections.OpenAI`."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a provider. `base_url` None: the default of its type; `ca_bundle`: certificate authorities (PEM)
    that are trusted beside the system's."""

    type: str
    base_url: str | None = None
    api_key: str | None = None
    ca_bundle: str | None = None


# --- in -------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class TextPart:
    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    name: str
    mime_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class ImageAddress:
    """The URL of an image that the provider fetches; this server does not."""

    url: str


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document. `text` is Markdown; `page` counts from 1 where the format has pages."""

    text: str
    page: int | None = None
    heading: str | None = None


@dataclass(frozen=True, slots=True)
class DocumentPart:
    """A file the model may read: the whole of it (`complete`), or the passages that fit, in document order.

    `error` says why nothing could be read, in a sentence for the reader; then there are no passages.
    """

    name: str
    passages: tuple[Passage, ...] = ()
    complete: bool = True
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ToolCallPart:
    id: str
    name: str
    arguments: str
    """A JSON object, exactly as the model wrote it."""
    extra: Mapping[str, Any] | None = None
    """Fields that the provider gave with the call and wants back with it."""


@dataclass(frozen=True, slots=True)
class ToolResultPart:
    id: str
    name: str
    result: str
    failed: bool = False


Part: TypeAlias = TextPart | ImagePart | ImageAddress | DocumentPart | ToolCallPart | ToolResultPart


@dataclass(frozen=True, slots=True)
class ProviderData:
    """Data that a provider requires back, unchanged, with its own reply: call ids, signatures, reasoning. Plain JSON,
    at most 512 KiB.

    `source` names the wire and the host: it is never sent to another provider.
    """

    source: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ModelMessage:
    role: Literal["user", "assistant", "tool"]
    parts: tuple[Part, ...]
    provider: ProviderData | None = None
    """Of an assistant's message: what came with it."""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    name: str
    description: str
    parameters: Mapping[str, Any]
    """A JSON schema."""


@dataclass(frozen=True, slots=True)
class ModelRequest:
    messages: Sequence[ModelMessage]
    instructions: str | None = None
    tools: Sequence[ToolSpec] = ()
    output_schema: Mapping[str, Any] | None = None
    output_tokens_max: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Passed to the provider as it is (temperature, …)."""
    once: bool = False
    """The caller retries itself, here or at another provider."""


# --- out ------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of tool call number `index` of this reply; `id` (the provider's) and `name` come with its first piece."""

    index: int
    arguments: str
    id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens. `estimated` marks numbers of our own, where the provider sent none."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    cache_write_tokens: int = 0
    """Of the prompt, what the provider has put into its cache."""

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.estimated or other.estimated,
            self.cache_write_tokens + other.cache_write_tokens,
        )


@dataclass(frozen=True, slots=True)
class Notice:
    """A part of the request was left out or changed so that the provider takes it: a sentence for people."""

    text: str


@dataclass(frozen=True, slots=True)
class Answering:
    """Which of several models behind one name gives this reply; the first thing of its stream. `price` gives US
    dollars, None where no price is known."""

    model: str
    price: Callable[[Usage], float | None]


FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "refusal"]


@dataclass(frozen=True, slots=True)
class Finish:
    """The reply is complete; always the last thing of a stream that did not fail."""

    reason: FinishReason


Delta: TypeAlias = TextDelta | ReasoningDelta | ToolCallDelta | Usage | Notice | Answering | ProviderData | Finish
TakeWords: TypeAlias = Callable[[Sequence[Delta]], bool]
"""Accepts a batch of TextDelta and ReasoningDelta, or refuses all of it with False. Never raises, never waits."""


@runtime_checkable
class Pushes(Protocol):
    """A reply whose deltas can be pushed as well as iterated."""

    def push_to(self, take: TakeWords) -> None:
        """While the consumer waits for the next batch, a batch of text deltas is passed to `take` as soon as it is
        read, without waking the consumer. Everything else, and batches that `take` refuses, come by iteration, in
        order."""
        ...


class ModelError(Exception):
    """The model failed while working: an outcome of the run, not a bug of ours.

    `code` is one of: model_rate_limited, model_overloaded, model_unreachable, model_timeout, model_stalled,
    model_stream_truncated, model_protocol_error, model_refused_request (4xx), model_unauthorized, model_not_found,
    model_quota_exhausted (nothing is paid for any more), context_length_exceeded, content_filtered, model_error (the
    provider's own error in mid-stream).
    `retryable` says whether the same request may succeed later.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retryable: bool,
        status: int | None = None,
        retry_after_seconds: float | None = None,
        words: str = "",
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.retryable = code, message, retryable
        self.words = words or message
        """The provider's own codes and words, which are never shown: what it refused is read out of them."""
        self.status, self.retry_after_seconds = status, retry_after_seconds


@dataclass(frozen=True, slots=True)
class Capabilities:
    images: bool
    tools: bool
    documents: bool = False
    """Takes whole documents of any length (`DocumentPart` with everything in it) instead of what fits a context."""
    context_tokens: int = 128_000
    output_tokens_max: int | None = None
    """The longest reply that the model gives; None where its provider does not say."""


class Model(Protocol):
    """The port. `stream` gives the reply's deltas in batches: as many as had arrived together, never an empty one.

    The context manager is entered with the reply's first token, so that everything before it can be retried. Leaving
    the context manager closes the upstream call at once, finished or not. Raises only ModelError.
    Retries (429, 5xx, connection errors) happen inside, and only before the first delta; none where the request says
    `once`.
    """

    @property
    def abilities(self) -> Capabilities: ...

    def stream(self, request: ModelRequest) -> AbstractAsyncContextManager[AsyncIterator[Sequence[Delta]]]: ...
