"""A single call of a model of the catalogue. The type names the provider, `model` the model."""

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Annotated, Any, Final

import orjson
from pydantic import Field

from stoa.gateway import PLATFORM_NAMES, ModelMessage, ModelRequest, TextPart
from stoa.kernel import schemas
from stoa.runs.agent.definition import Agent, Limits
from stoa.runs.agent.steps import Step
from stoa.runs.workflow import templates
from stoa.runs.workflow.nodes.node import Inputs, Needs, Node, NodeFailed, NodePart, NodeType, Produced, fill
from stoa.runs.workflow.task import Task


class PromptMessage(NodePart):
    """`content` may hold `{{field}}`, which becomes the node's input field of that name."""

    role: Annotated[str, Field(max_length=50)] = "user"
    content: Any = ""

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        parts: list[Any] = self.content if isinstance(self.content, list) else []
        return "\n".join(str(part.get("text", "")) for part in parts if isinstance(part, Mapping))


class Prompt(NodePart):
    messages: Annotated[Sequence[PromptMessage], Field(max_length=500)] = ()


PROVIDERS: Final[Mapping[str, str]] = {**PLATFORM_NAMES, "CustomLLM": ""}
"""The prefix of model slugs for each class; CustomLLM names a whole slug."""
_PASSED: Final = ("temperature", "top_p", "seed", "stop", "presence_penalty", "frequency_penalty")


class ModelChoice(NodePart):
    """A model, as an agent names it or as an LLM node is it."""

    type: Annotated[str, Field(min_length=1, max_length=200)]
    model: Annotated[str, Field(max_length=300)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: Annotated[Sequence[str], Field(max_length=16)] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None

    def slugs(self) -> Sequence[str]:
        """Slugs of the catalogue, of which the first that exists is used; empty for the default model."""
        if self.model is None:
            return ()
        provider = PROVIDERS.get(self.type.rsplit(".", 1)[-1], "")
        return (f"{provider}/{self.model}", self.model) if provider else (self.model,)

    def extra(self) -> Mapping[str, Any]:
        """Fields that are sent to the provider unchanged."""
        return {name: value for name in _PASSED if (value := getattr(self, name)) is not None}


class Llm(ModelChoice):
    """The model of an agent."""


class LlmNode(Node, ModelChoice):
    type: Annotated[str, Field(min_length=1, max_length=200)]
    prompt: Prompt | None = None
    response_format: Mapping[str, Any] | None = None

    def needs(self) -> Needs:
        return Needs(model=self.slugs())

    def problems(self) -> Iterator[tuple[str, str]]:
        yield from super().problems()
        for index, message in enumerate(self.prompt.messages if self.prompt else ()):
            if why := templates.problem(message.text):
                yield f"prompt.messages[{index}].content", why


def output_schema(response_format: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The JSON schema of a `response_format` in OpenAI's form; the field may also be the schema itself."""
    if not response_format:
        return None
    named = response_format.get("json_schema")
    if isinstance(named, Mapping):
        schema = named.get("schema", named)
        return dict(schema) if isinstance(schema, Mapping) else None
    if response_format.get("type") in ("json_object", "json_schema"):
        return {"type": "object"}
    return None if response_format.get("type") == "text" else dict(response_format)


def said(text: str, schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """A model's answer as the node's output; with a schema, the parsed answer."""
    if schema is None:
        return {"content": text}
    try:
        return {"content": orjson.loads(schemas.unfenced(text))}
    except orjson.JSONDecodeError:
        return {"content": text}


async def _work(node: LlmNode, inputs: Inputs, task: Task) -> AsyncGenerator[Step | Produced]:
    supply = await task.model()
    messages = [(one.role, one.text) for one in node.prompt.messages] if node.prompt else [("user", "{{input}}")]
    fields = {**inputs.values, **inputs.own}
    missing = {name for _, text in messages for name in templates.missing(text, fields)}
    if missing:
        raise NodeFailed("input_invalid", f"the prompt wants {', '.join(sorted(missing))}, which the input lacks")
    filled = [(role, fill(text, fields)) for role, text in messages]
    system = "\n\n".join(text for role, text in filled if role == "system") or None
    asked = [ModelMessage("assistant" if role == "assistant" else "user", (TextPart(text),))
             for role, text in filled if role != "system"]  # fmt: skip
    if not any(text.strip() for role, text in filled if role != "system"):
        raise NodeFailed("input_invalid", "the prompt is empty: there is nothing to ask the model")
    schema = output_schema(node.response_format)
    agent = Agent(instructions=system, output_schema=schema, limits=Limits(output_tokens_max=node.max_tokens))
    conversation = ModelRequest(messages=asked, extra=node.extra())
    async with aclosing(task.converse(agent, supply, conversation)) as steps:
        async for step in steps:
            yield step
    yield Produced(said(task.answer, schema))


TYPES: Final = tuple(
    NodeType(
        name=f"dynamiq.nodes.llms.{name}",
        group="llms",
        description=f"A model of the catalogue whose slug begins with {provider}/, asked once."
        if provider
        else "A model of the catalogue by its slug, asked once.",
        schema=LlmNode,
        work=_work,
    )
    for name, provider in PROVIDERS.items()
)
