"""One table of the attribute names that instrumentations use for the same thing, newest convention first.

Sources: OpenTelemetry's semantic conventions for generative AI (up to 1.36, 1.37 to 1.41, v0.1.0), OpenInference,
and the `llm.*` and `traceloop.*` names of OpenLLMetry. Names that nobody lists here stay in the span's attributes.
"""

from collections.abc import Mapping
from typing import Any, Final

MODEL: Final = (
    "gen_ai.response.model",
    "gen_ai.request.model",
    "llm.model_name",
    "embedding.model_name",
    "reranker.model_name",
    "llm.response.model",
    "llm.request.model",
    "ai.model.id",
)
PROMPT_TOKENS: Final = (
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.prompt_tokens",
    "llm.token_count.prompt",
    "llm.usage.prompt_tokens",
    "ai.usage.promptTokens",
    "ai.usage.inputTokens",
)
COMPLETION_TOKENS: Final = (
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.completion_tokens",
    "llm.token_count.completion",
    "llm.usage.completion_tokens",
    "ai.usage.completionTokens",
    "ai.usage.outputTokens",
)
COST_USD: Final = ("gen_ai.usage.cost", "llm.cost.total", "gen_ai.usage.total_cost")
SESSION_ID: Final = (
    "gen_ai.conversation.id",
    "session.id",
    "langfuse.session.id",
    "traceloop.association.properties.session_id",
)
USER_ID: Final = (
    "user.id",
    "enduser.id",
    "langfuse.user.id",
    "traceloop.association.properties.user_id",
    "gen_ai.request.user",
)
TAGS: Final = ("tag.tags", "langfuse.trace.tags", "langfuse.tags")
INPUT: Final = (
    "gen_ai.input.messages",
    "input.value",
    "traceloop.entity.input",
    "gen_ai.prompt",
    "ai.prompt",
    "gen_ai.tool.call.arguments",
)
OUTPUT: Final = (
    "gen_ai.output.messages",
    "output.value",
    "traceloop.entity.output",
    "gen_ai.completion",
    "ai.response.text",
    "gen_ai.tool.call.result",
)


def first(attributes: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """The value under the first of `names` that is there."""
    return next((attributes[name] for name in names if attributes.get(name) is not None), None)
