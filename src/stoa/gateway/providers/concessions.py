"""Removes parts of a request that a provider has refused, so that one refused part does not end a conversation.
Pure."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from stoa.gateway.types import ImageAddress, ImagePart, ModelError, ModelRequest, ToolCallPart

CONCESSIONS_MAX: Final = 6
"""Of one request."""
HALVINGS_MAX: Final = 3
_NOT_STRICT: Final = re.compile(r"invalid schema|strict|not permitted|is required to", re.IGNORECASE)
TOO_LONG: Final = "The conversation is too long for the model: its oldest messages are left out."
_OUTPUT_TOKENS_MIN: Final = 256


@dataclass(frozen=True, slots=True)
class Concessions:
    """The first nine are of the wire, and hold for later requests too; the others are of one request."""

    stream_options: bool = True
    limit_name: str | None = None
    """`max_tokens` or `max_completion_tokens`, where the provider has said which."""
    output_schema: bool = True
    """Whether the provider takes the answer's schema as a field; otherwise it is written into the prompt."""
    system_role: bool = True
    thoughts_always: bool = False
    """Whether every message of the assistant holds `reasoning_content`, be it empty."""
    tools: bool = True
    """Whether the model supports tools at all."""
    empty_content: bool = False
    """Whether a reply that only called tools has an empty text instead of null."""
    named_results: bool = False
    """Whether a tool's result names its tool."""
    developer_role: bool = True
    """Whether a message may be the developer's, where it is passed on as it came."""
    output_tokens_max: int | None = None
    opaque: bool = True
    """Whether provider data of earlier replies is sent back."""
    placeholder_signatures: bool = False
    pictures: bool = True
    tools_left_out: frozenset[str] = frozenset()
    strict_schema: bool = True
    """Whether the answer's schema may be sent as a strict one."""
    this_schema: bool = True
    """Whether this answer's schema is sent as a field."""
    halvings: int = 0
    """How often the earlier history was cut in half, because the provider counts more tokens than its model takes."""
    calls_as_text: bool = False
    last_message_only: bool = False

    def lasting(self) -> "Concessions":
        """What a later request to the same model begins with."""
        return Concessions(
            self.stream_options,
            self.limit_name,
            self.output_schema,
            self.system_role,
            self.thoughts_always,
            self.tools,
            self.empty_content,
            self.named_results,
            self.developer_role,
        )


@dataclass(frozen=True, slots=True)
class Conceded:
    """`notice` tells people what is left out now; None where the reader misses nothing."""

    granted: Concessions
    notice: str | None = None


def conceded(granted: Concessions, error: ModelError, request: ModelRequest, *, limit_name: str) -> Conceded | None:
    """The next attempt; None if the refused part cannot be left out. `limit_name` is the sent field's name."""
    if error.code not in ("model_refused_request", "context_length_exceeded"):
        return None
    refusal = _Refusal(error.words, request, limit_name)
    for rule in _RULES:
        if (made := rule(granted, refusal)) is not None and made.granted != granted:
            return made
    if len(request.messages) < 2:
        return None
    if error.code == "context_length_exceeded":
        return _shorter(granted)
    if error.status not in (400, 404, 413, 422, 500, None):
        return None
    if not granted.calls_as_text and (_calls(request) or not granted.opaque or _pictures(request)):
        notice = (
            "The provider refused the conversation's history:"
            " earlier tool calls are sent as text, and pictures are left out."
        )
        return Conceded(replace(granted, calls_as_text=True, opaque=False, pictures=False), notice)
    if not granted.last_message_only:
        notice = "The provider refused the conversation's history: only the last message is sent to it."
        return Conceded(replace(granted, last_message_only=True, calls_as_text=True, opaque=False), notice)
    return None


def _shorter(granted: Concessions) -> Conceded | None:
    """Half of the earlier history less, and finally none of it."""
    if granted.last_message_only:
        return None
    if granted.halvings < HALVINGS_MAX:
        return Conceded(replace(granted, halvings=granted.halvings + 1), TOO_LONG)
    return Conceded(replace(granted, last_message_only=True), TOO_LONG)


def _calls(request: ModelRequest) -> bool:
    return any(isinstance(part, ToolCallPart) for message in request.messages for part in message.parts)


def _pictures(request: ModelRequest) -> bool:
    return any(isinstance(part, ImagePart | ImageAddress) for message in request.messages for part in message.parts)


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What was refused, in the provider's words; `limit_name` is the name that the longest reply was sent under."""

    words: str
    request: ModelRequest
    limit_name: str


# --- what the provider's words are about ----------------------------------------------------------------------------
_Rule = Callable[[Concessions, _Refusal], Conceded | None]


def _stream_options(granted: Concessions, refusal: _Refusal) -> Conceded | None:
    return (
        Conceded(replace(granted, stream_options=False))
        if re.search(r"stream_options|include_usage", refusal.words)
        else None
    )


def _limit(granted: Concessions, refusal: _Refusal) -> Conceded | None:
    """The limit's other name, or a number that the provider allows."""
    if not re.search(r"max_(?:completion_|output_)?tokens|maximum.{0,40}output tokens", refusal.words):
        return None
    if re.search(
        r"max_completion_tokens' instead|use 'max_completion_tokens|unsupported|unrecognized|not permitted|unknown"
        r"|not supported",
        refusal.words,
    ):
        other = "max_tokens" if refusal.limit_name == "max_completion_tokens" else "max_completion_tokens"
        if granted.limit_name is None and re.search(refusal.limit_name, refusal.words):
            return Conceded(replace(granted, limit_name=other))
    if room := re.search(r"limit: (\d+) \+ (\d+) > (\d+)", refusal.words):  # prompt + max_tokens > context
        left = int(room.group(3)) - int(room.group(1))
        return _less(granted, left) if left >= _OUTPUT_TOKENS_MIN else None
    if room := re.search(r"\d+ > (\d+) - (\d+)|length is (\d+) tokens.{0,80}\((\d+) in the messages", refusal.words):
        context, prompt = (int(number) for number in room.groups() if number)
        return _less(granted, context - prompt) if context - prompt >= _OUTPUT_TOKENS_MIN else None
    if over := re.search(r"(\d+) > (\d+)|at most (\d+)|less than or equal to `?(\d+)|\[1, (\d+)\]", refusal.words):
        return _less(granted, int(next(number for number in over.groups()[1:] if number)))
    return _less(granted, 4_096) if re.search(r"too large|too high|exceed|maximum", refusal.words) else None


def _less(granted: Concessions, tokens: int) -> Conceded | None:
    """Only ever fewer tokens than before, so that this ends."""
    if granted.output_tokens_max is not None and tokens >= granted.output_tokens_max:
        return None
    return Conceded(replace(granted, output_tokens_max=max(tokens, 1)))


def _schema(granted: Concessions, refusal: _Refusal) -> Conceded | None:
    if refusal.request.output_schema is None:
        return None
    about = re.search(
        r"response_format|json_schema|structured output|json mode|guided|grammar|output_config|schema.{0,40}'output'"
        r"|response mime type|response_mime_type",
        refusal.words,
        re.IGNORECASE,
    )
    if about is None:
        return None
    if granted.strict_schema and _NOT_STRICT.search(refusal.words):
        return Conceded(replace(granted, strict_schema=False))
    if re.search(r"invalid schema|in context=|grammar", refusal.words, re.IGNORECASE):
        return Conceded(replace(granted, this_schema=False))
    return Conceded(replace(granted, output_schema=False))


def _thoughts(granted: Concessions, refusal: _Refusal) -> Conceded | None:
    if (
        "reasoning_content" in refusal.words
        and re.search(r"missing|must be passed|required", refusal.words, re.IGNORECASE)
        and not granted.thoughts_always
    ):
        return Conceded(replace(granted, thoughts_always=True))
    if (
        "thought_signature" in refusal.words
        and re.search(r"missing|required", refusal.words, re.IGNORECASE)
        and not granted.placeholder_signatures
    ):
        return Conceded(replace(granted, placeholder_signatures=True))
    if re.search(r"signature|thinking|reasoning|extra_content|provider_specific", refusal.words, re.IGNORECASE):
        return Conceded(replace(granted, opaque=False, thoughts_always=False))
    return None


def _images(granted: Concessions, refusal: _Refusal) -> Conceded | None:
    """Never where there is nothing else: a page without its picture cannot be read."""
    if (
        len(refusal.request.messages) < 2
        or not _pictures(refusal.request)
        or not re.search(r"image|picture|vision|multimodal|media type|too large", refusal.words, re.IGNORECASE)
    ):
        return None
    notice = "The provider refused a picture of the conversation: the request was sent without pictures."
    return Conceded(replace(granted, pictures=False), notice)


def _system(granted: Concessions, refusal: _Refusal) -> Conceded | None:
    about = r"system.{0,10}(?:role|message|prompt).{0,40}(?:not (?:be )?support|unsupported|not enabled|not allowed)"
    about += r"|(?:role|value).{0,30}'system'"
    about += r"|developer instruction is not enabled|does not support.{0,20}system"
    return (
        Conceded(replace(granted, system_role=False))
        if refusal.request.instructions and re.search(about, refusal.words, re.IGNORECASE)
        else None
    )


def _no_tools(granted: Concessions, refusal: _Refusal) -> Conceded | None:
    """Models and servers that take no tools at all. The request is prepared without them, and says so."""
    about = r"(?:does not|doesn't|not) support (?:tools?\b|function call|tool (?:use|call))|support tool use"
    about += r"|(?:tools?|tool use|tool calling|function calling) (?:is|are) not (?:supported|enabled|available)"
    about += r"|tool choice requires|enable-auto-tool-choice"
    return (
        Conceded(replace(granted, tools=False))
        if refusal.request.tools and re.search(about, refusal.words, re.IGNORECASE)
        else None
    )


def _forms(granted: Concessions, refusal: _Refusal) -> Conceded | None:
    """Two deviations of compatible servers: null for no text, and a result without a name."""
    if not _calls(refusal.request):
        return None
    if re.search(r"function_response\.name|name.{0,20}cannot be empty", refusal.words, re.IGNORECASE):
        return Conceded(replace(granted, named_results=True))
    about = r"content.{0,80}(?:<nil>|\bnull\b|\bnone\b|nonetype|must be a (?:valid )?string|should be a valid string)"
    about += r"|(?:<nil>|\bnull\b|nonetype).{0,40}content"
    return Conceded(replace(granted, empty_content=True)) if re.search(about, refusal.words, re.IGNORECASE) else None


def _tool(granted: Concessions, refusal: _Refusal) -> Conceded | None:
    """The one tool that the provider names, or counts."""
    names = [tool.name for tool in refusal.request.tools if tool.name not in granted.tools_left_out]
    if not names or not re.search(r"tool|function|schema|parameter", refusal.words, re.IGNORECASE):
        return None
    quoted = [
        name
        for name in names
        if re.search(rf"['\"`]{re.escape(name)}['\"`]|function {re.escape(name)}\b", refusal.words)
    ]
    counted = re.search(r"(?:tools|function_declarations)(?:\.|\[)(\d{1,3})", refusal.words)
    if not quoted and counted and int(counted.group(1)) < len(names):
        quoted = [names[int(counted.group(1))]]
    if not quoted:
        return None
    notice = f"The provider refused the tool {quoted[0]}: it is not offered to the model."
    return Conceded(replace(granted, tools_left_out=granted.tools_left_out | {quoted[0]}), notice)


_RULES: Final[tuple[_Rule, ...]] = (
    _stream_options,
    _limit,
    _schema,
    _system,
    _no_tools,
    _forms,
    _thoughts,
    _images,
    _tool,
)
