"""Each provider with its published wire: what `docs/guide/models.md` says of it is what happens here."""

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import pytest

from stoa import settings
from stoa.gateway import (
    Capabilities,
    Delta,
    Finish,
    ImagePart,
    ModelError,
    ModelMessage,
    ModelRequest,
    Notice,
    ProviderData,
    ReasoningDelta,
    TextDelta,
    TextPart,
    ToolCallDelta,
    ToolCallPart,
    ToolResultPart,
    ToolSpec,
    Usage,
)
from stoa.gateway.providers.streaming import StreamingModel
from stoa.gateway.providers.transport import Transport
from stoa.gateway.registry import PROVIDERS, root
from stoa.gateway.types import ProviderName
from tests.support.pictures import DOT
from tests.support.published_wires import PUBLISHED
from tests.support.scripted_model import ScriptedServer

FEATURES = ("text", "reasoning", "parallel tools", "pictures", "structured output", "second step of a tool loop")
GUIDE = Path(__file__).parents[2] / "docs/guide/models.md"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
LOOK = ToolSpec(
    "look", "Looks.", {"type": "object", "properties": {"q": {"type": "string"}}, "additionalProperties": False}
)
QUESTION = ModelMessage("user", (TextPart("Where?"),))
KEY = "a-key"


@dataclass
class Provider:
    name: str
    model: StreamingModel
    server: ScriptedServer


@pytest.fixture(params=PROVIDERS)
async def provider(request: pytest.FixtureRequest) -> AsyncIterator[Provider]:
    name, wire, kind = request.param, PUBLISHED[request.param], PROVIDERS[request.param]

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        if (why := wire.refused(body)) is not None:
            return {"status": 400, "body": wire.error(why)}
        last = body["messages"][-1]
        results = last["role"] == "tool" or "tool_result" in str(last["content"])
        if body.get("tools") and not results:
            return {"raw": wire.calls}
        return {"raw": wire.reasoning if "think" in str(last["content"]) else wire.text}

    async with ScriptedServer() as server:
        server.script = answer
        transport = Transport()
        abilities = Capabilities(images=True, tools=True)
        model = kind.adapter(transport, server.url, KEY, "m", abilities, demands=kind.demands or _of_the_host(name))
        yield Provider(name, model, server)
        await transport.close()


def _of_the_host(name: str) -> Any:
    """A provider that is known by its address has other demands here, at an address of our own."""
    kind = PROVIDERS[name]  # type: ignore[index]
    return kind.adapter(Transport(), root(name, None), None, "m", Capabilities(images=True, tools=True))._demands


async def listen(provider: Provider, *messages: ModelMessage, **more: Any) -> list[Delta]:
    async with provider.model.stream(ModelRequest(messages, **more)) as batches:
        return [delta async for batch in batches for delta in batch]


def text_of(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


def asked(deltas: list[Delta]) -> ModelMessage:
    """A reply's calls, as a run keeps them: under ids of its own, with what the provider wants back."""
    calls: dict[int, ToolCallPart] = {}
    for delta in deltas:
        if isinstance(delta, ToolCallDelta):
            before = calls.get(delta.index) or ToolCallPart(
                f"5c3b9a52-0000-5000-8000-00000000000{delta.index}", delta.name or "", ""
            )
            calls[delta.index] = replace(before, arguments=before.arguments + delta.arguments)
    data = [delta for delta in deltas if isinstance(delta, ProviderData)]
    return ModelMessage("assistant", tuple(calls[number] for number in sorted(calls)), data[0] if data else None)


def results(message: ModelMessage) -> ModelMessage:
    return ModelMessage(
        "tool",
        tuple(ToolResultPart(part.id, part.name, "found") for part in message.parts if isinstance(part, ToolCallPart)),
    )


async def text(provider: Provider) -> None:
    deltas = await listen(provider, QUESTION, output_tokens_max=100)
    assert (text_of(deltas), deltas[-1]) == ("Hello there.", Finish("stop"))
    assert [(usage.prompt_tokens, usage.completion_tokens) for usage in deltas if isinstance(usage, Usage)] == [(9, 4)]
    assert KEY in provider.server.headers[-1][PUBLISHED[provider.name].key_header]


async def reasoning(provider: Provider) -> None:
    deltas = await listen(provider, ModelMessage("user", (TextPart("think"),)))
    assert "".join(delta.text for delta in deltas if isinstance(delta, ReasoningDelta)) == "I should look."
    assert text_of(deltas) == "Hello there."


async def parallel_tools(provider: Provider) -> None:
    deltas = await listen(provider, QUESTION, tools=[LOOK])
    assert [(part.name, part.arguments) for part in asked(deltas).parts if isinstance(part, ToolCallPart)] == [
        ("look", '{"q":"a"}'),
        ("look", '{"q":"b"}'),
    ]
    assert deltas[-1] == Finish("tool_calls")


async def pictures(provider: Provider) -> None:
    """One that is not what it is called is shown as what it is; one that no provider takes becomes a note that is
    told."""
    seen = ImagePart("a.jpg", "image/jpeg", DOT)
    deltas = await listen(
        provider, ModelMessage("user", (TextPart("See?"), seen, ImagePart("b.svg", "image/svg+xml", b"<svg/>")))
    )
    assert text_of(deltas) == "Hello there."
    assert [delta.text for delta in deltas if isinstance(delta, Notice)] == [
        "The picture b.svg is not shown to the model: it is not a PNG, JPEG, GIF or WebP picture."
    ]
    assert "image/png" in str(provider.server.bodies[-1])


async def structured_output(provider: Provider) -> None:
    assert text_of(await listen(provider, QUESTION, output_schema=CITY)) == "Hello there."
    assert text_of(await listen(provider, QUESTION, output_schema={**CITY, "required": []})) == "Hello there."
    assert "city" in str(provider.server.bodies[-1])
    assert len(provider.server.bodies) == 2, "nothing was refused"


async def second_step(provider: Provider) -> None:
    reply = asked(await listen(provider, QUESTION, tools=[LOOK]))
    history = [QUESTION, reply, results(reply)]
    deltas = await listen(provider, *history, tools=[LOOK])
    assert text_of(deltas) == "Hello there."
    assert len(provider.server.bodies) == 2, "nothing was refused"
    later = [*history, ModelMessage("assistant", (TextPart("Hello there."),)), QUESTION, QUESTION]
    assert isinstance((await listen(provider, *later))[-1], Finish)
    assert len(provider.server.bodies) == 3, "nothing was refused"


CHECKS: dict[str, Callable[[Provider], Any]] = dict(
    zip(FEATURES, (text, reasoning, parallel_tools, pictures, structured_output, second_step), strict=True)
)


def has(name: str, feature: str) -> bool:
    wire = PUBLISHED[name]
    return {"reasoning": wire.reasoning is not None, "pictures": wire.pictures}.get(feature, True)


@pytest.mark.parametrize("feature", FEATURES)
async def test_a_cell_of_the_guide(provider: Provider, feature: str) -> None:
    if has(provider.name, feature):
        await CHECKS[feature](provider)


async def test_a_history_of_another_provider_is_taken(provider: Provider) -> None:
    """What was asked and found elsewhere, a call that was canceled, a picture, an empty answer: the conversation goes
    on here."""
    foreign = ProviderData(
        "another host",
        {
            "calls": [{"id": "x" * 90, "extra_content": {"a": 1}}],
            "reasoning_content": "hm",
            "thinking": [{"type": "thinking"}],
        },
    )
    call = ModelMessage(
        "assistant",
        (TextPart("\n"), ToolCallPart("5c3b9a52-0000-5000-8000-000000000009", "functions.look", "{}")),
        foreign,
    )
    history = [QUESTION, call, results(call), QUESTION, ModelMessage("assistant", ()), QUESTION]
    deltas = await listen(provider, *history)
    assert isinstance(deltas[-1], Finish)
    assert not [delta for delta in deltas if isinstance(delta, Notice)], "nothing had to be left out"


async def test_a_refusal_in_the_providers_format_is_reported(provider: Provider) -> None:
    wire = PUBLISHED[provider.name]
    provider.server.script = lambda _: {"status": 400, "body": wire.error("The weather is bad.")}
    with pytest.raises(ModelError, match="The weather is bad"):
        await listen(provider, QUESTION)
    provider.server.script = lambda _: {
        "status": 400,
        "body": wire.error("This model's maximum context length is 8 tokens."),
    }
    with pytest.raises(ModelError) as caught:
        await listen(provider, QUESTION)
    assert (caught.value.code, caught.value.retryable) == ("context_length_exceeded", False)


def test_the_guide_says_what_was_tested() -> None:
    rows = {
        cells[0].strip(" `"): [cell.strip() for cell in cells[1:]]
        for line in GUIDE.read_text("utf-8").splitlines()
        if (cells := line.strip().strip("|").split("|"))
        and len(cells) == len(FEATURES) + 1
        and cells[0].strip().startswith("`")
    }
    assert rows == {name: ["yes" if has(name, feature) else "no" for feature in FEATURES] for name in PROVIDERS}


def test_every_place_has_the_same_kinds_of_providers() -> None:
    declared = get_args(settings.Provider.model_fields["type"].annotation)
    assert set(declared) == set(PROVIDERS) == set(get_args(ProviderName)) == set(PUBLISHED)
    told = set(re.findall(r"^### .*`([a-z]+)`", GUIDE.read_text("utf-8"), re.MULTILINE))
    assert told == set(PROVIDERS)
