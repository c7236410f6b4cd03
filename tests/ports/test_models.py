"""One conformance suite for the Model port, over each adapter and each ugly side of a provider."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from stoa.gateway import (
    Capabilities,
    Delta,
    DocumentPart,
    Finish,
    ImagePart,
    ModelError,
    ModelMessage,
    ModelRequest,
    Passage,
    Pushes,
    ReasoningDelta,
    TextDelta,
    TextPart,
    ToolCallDelta,
    Usage,
)
from stoa.gateway.providers.anthropic import AnthropicModel
from stoa.gateway.providers.openai import OpenAIModel
from stoa.gateway.providers.streaming import StreamingModel
from stoa.gateway.providers.transport import Timeouts, Transport
from stoa.gateway.types import ToolCallPart, ToolResultPart, ToolSpec
from tests.support.doubles import until
from tests.support.pictures import DOT
from tests.support.scripted_model import PIECES, ScriptedServer

KEY = "sk-a-secret-key"
ABILITIES = Capabilities(images=True, tools=True)
Make = Callable[..., StreamingModel]


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


def pushed(adapter: type[StreamingModel]) -> type[StreamingModel]:
    """The adapter, with its words pushed: they are given by iteration as soon as it has something else to give."""

    class Pushed(adapter):  # type: ignore[misc, valid-type]
        @asynccontextmanager
        async def stream(self, request: ModelRequest) -> AsyncGenerator[AsyncIterator[Sequence[Delta]]]:
            async with super().stream(request) as batches:
                assert isinstance(batches, Pushes)
                yield _in_order(batches)

    return Pushed


async def _in_order(batches: Any) -> AsyncIterator[Sequence[Delta]]:
    taken: list[Delta] = []

    def take(batch: Sequence[Delta]) -> bool:
        taken.extend(batch)
        return True

    batches.push_to(take)
    try:
        async for batch in batches:
            if taken:
                yield tuple(taken)
                taken.clear()
            yield batch
    except ModelError:
        if taken:
            yield taken
        raise


@pytest.fixture(
    params=[(OpenAIModel, 0.0), (AnthropicModel, 0.0), (OpenAIModel, 0.02), (pushed(OpenAIModel), 0.02)],
    ids=["openai", "anthropic", "openai under load", "openai pushed"],
)
async def make(request: pytest.FixtureRequest, server: ScriptedServer) -> AsyncIterator[Make]:
    """Each adapter, and one on connections that rest between two reads, iterated and pushed."""
    adapter, pace = request.param
    transport = Transport(pace=lambda: pace)

    async def no_sleep(_: float) -> None:
        return None

    def build(timeouts: Timeouts | None = None, used: Transport = transport) -> StreamingModel:
        return adapter(used, server.url, KEY, "scripted", ABILITIES, timeouts=timeouts, sleep=no_sleep)

    yield build
    await transport.close()


def ask(**script: object) -> ModelRequest:
    return ModelRequest([ModelMessage("user", (TextPart(f"Say it. [[script {json.dumps(script)}]]"),))])


async def listen(model: StreamingModel, request: ModelRequest) -> list[Delta]:
    async with model.stream(request) as batches:
        return [delta async for batch in batches for delta in batch]


def text_of(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


async def test_text_usage_and_end(make: Make) -> None:
    deltas = await listen(make(), ask())
    assert text_of(deltas) == "".join(PIECES)
    assert deltas[-2:] == [Usage(10, len(PIECES), 4), Finish("stop")]


async def test_reasoning_is_apart(make: Make) -> None:
    deltas = await listen(make(), ask(reasoning=["Let me ", "think."], pieces=["Yes."]))
    assert "".join(delta.text for delta in deltas if isinstance(delta, ReasoningDelta)) == "Let me think."
    assert text_of(deltas) == "Yes."


async def test_cut_inside_characters(make: Make) -> None:
    said = "Grüße — “日本語” 🎉 e\u0301"
    assert text_of(await listen(make(), ask(pieces=[said, said], bytewise=True))) == said * 2


async def test_tool_calls(make: Make) -> None:
    deltas = await listen(make(), ask(pieces=[], tool={"name": "search", "arguments": '{"query": "x"}'}))
    calls = [delta for delta in deltas if isinstance(delta, ToolCallDelta)]
    assert (calls[0].id, calls[0].name) == ("call_1", "search")
    assert "".join(call.arguments for call in calls) == '{"query": "x"}'
    assert deltas[-1] == Finish("tool_calls")


async def test_no_usage_is_no_usage(make: Make) -> None:
    deltas = await listen(make(), ask(usage=False, pieces=["a"]))
    assert not any(isinstance(delta, Usage) for delta in deltas)


@pytest.mark.parametrize(("finish", "reason"), [("length", "length"), ("content_filter", "content_filter")])
async def test_reasons_to_end(make: Make, finish: str, reason: str) -> None:
    found = (await listen(make(), ask(finish=finish)))[-1]
    assert found == Finish(reason) or (finish, found) == ("content_filter", Finish("refusal"))  # type: ignore[arg-type]


FAILURES = [
    ({"status": 401}, "model_unauthorized", False),
    ({"status": 404}, "model_not_found", False),
    ({"status": 400}, "model_refused_request", False),
    ({"status": 400, "message": "maximum context length is 8192 tokens"}, "context_length_exceeded", False),
    ({"status": 429, "retry_after": 60}, "model_rate_limited", True),
    ({"status": 500}, "model_overloaded", True),
    ({"reset": True}, "model_unreachable", True),
    ({"html": True}, "model_protocol_error", False),
    ({"cut": 3}, "model_stream_truncated", True),
    ({"garble": 2}, "model_protocol_error", True),
    ({"error": 2}, "model_error", True),
]


@pytest.mark.parametrize(("script", "code", "retryable"), FAILURES, ids=lambda value: str(value)[:40])
async def test_failures_are_typed(make: Make, script: dict[str, object], code: str, *, retryable: bool) -> None:
    with pytest.raises(ModelError) as caught:
        await listen(make(), ask(**script))
    assert (caught.value.code, caught.value.retryable) == (code, retryable)
    assert caught.value.message.endswith((".", "fail", "tokens", "broke"))


async def test_what_was_said_before_a_failure_is_heard(make: Make) -> None:
    heard: list[Delta] = []
    with pytest.raises(ModelError):
        async with make().stream(ask(cut=3)) as batches:
            async for batch in batches:
                heard += batch
    assert text_of(heard) == "".join(PIECES[:3])


async def test_retries_before_the_first_token_only(make: Make, server: ScriptedServer) -> None:
    assert text_of(await listen(make(), ask(status=503, fails=2, id="cured"))) == "".join(PIECES)
    assert server.log["cured"]["asked"] == 3
    assert text_of(await listen(make(), ask(status=429, retry_after=1, fails=1, id="limited"))) == "".join(PIECES)
    for script in ({"cut": 1}, {"status": 400}, {"status": 429, "retry_after": 3600}):
        with pytest.raises(ModelError):
            await listen(make(), ask(**script, id=str(script)))
    assert [server.log[str(script)]["asked"] for script in ({"cut": 1}, {"status": 400})] == [1, 1]


@pytest.mark.parametrize(
    ("script", "timeouts", "code"),
    [
        ({"first_delay": 30}, Timeouts(first_byte=0.2), "model_timeout"),
        ({"stall": 2}, Timeouts(silence=0.2), "model_stalled"),
    ],
)
async def test_silence_is_bounded(make: Make, script: dict[str, object], timeouts: Timeouts, code: str) -> None:
    with pytest.raises(ModelError) as caught:
        await listen(make(timeouts), ask(**script))
    assert caught.value.code == code


async def test_nobody_listens_there(make: Make) -> None:
    async with ScriptedServer() as gone:
        url = gone.url
    model = make()
    model._url = url + model.path
    with pytest.raises(ModelError) as caught:
        await listen(model, ask())
    assert caught.value.code == "model_unreachable"


async def test_leaving_closes_the_call_at_once(make: Make, server: ScriptedServer) -> None:
    async with make().stream(ask(stall=2, id="left")) as batches:
        await anext(aiter(batches))
        left = time.monotonic()
    await until(lambda: server.log["left"]["state"] == "aborted")
    assert server.log["left"]["since"] - left < 0.25


async def test_cancelling_the_task_closes_the_call_at_once(make: Make, server: ScriptedServer) -> None:
    task = asyncio.create_task(listen(make(), ask(stall=1, id="cancelled")))
    await until(lambda: server.log.get("cancelled", {}).get("said") == 1)
    left = time.monotonic()
    task.cancel()
    await until(lambda: server.log["cancelled"]["state"] == "aborted")
    assert server.log["cancelled"]["since"] - left < 0.25


async def test_connections_are_used_again_and_survive_a_restarted_provider(make: Make, server: ScriptedServer) -> None:
    for _ in range(5):
        await listen(make(), ask(pieces=["a"]))
    assert server.connections_made == 1
    for writer in list(server._connections):
        writer.transport.abort()
    assert text_of(await listen(make(), ask(pieces=["b"]))) == "b"


async def test_a_hundred_at_once(make: Make) -> None:
    answers = await asyncio.gather(*(listen(make(), ask(pieces=[f"{i}", "!"], delay=0.01)) for i in range(100)))
    assert [text_of(answer) for answer in answers] == [f"{i}!" for i in range(100)]


async def test_pacing_gathers_and_loses_nothing(make: Make) -> None:
    transport = Transport(pace=lambda: 0.05)
    async with make(None, transport).stream(ask(delay=0.004)) as batches:
        found = [batch async for batch in batches]
    assert text_of([delta for batch in found for delta in batch]) == "".join(PIECES)
    assert len(found) < len(PIECES)
    await transport.close()


async def test_a_compressed_body_is_read_and_not_asked_for(make: Make, server: ScriptedServer) -> None:
    assert text_of(await listen(make(), ask(gzip=True))) == "".join(PIECES)
    assert server.headers[-1]["accept-encoding"] == "identity"


async def test_the_key_never_shows(make: Make, server: ScriptedServer) -> None:
    with pytest.raises(ModelError) as caught:
        await listen(make(), ask(status=400, message=f"bad key {KEY}"))
    assert KEY not in str(caught.value)
    assert KEY not in repr(make())
    sent = server.headers[-1]
    assert sent.get("authorization") == f"Bearer {KEY}" or sent.get("x-api-key") == KEY


async def test_everything_a_message_may_hold_is_sent(make: Make, server: ScriptedServer) -> None:
    document = DocumentPart("plan.pdf", (Passage("First", 1), Passage("Second", 2)), complete=False)
    unread = DocumentPart("locked.pdf", error="it is encrypted")
    picture = ImagePart("dot.png", "image/png", DOT)
    request = ModelRequest(
        [
            ModelMessage("user", (TextPart("Look"), document, unread, picture)),
            ModelMessage("assistant", (TextPart("I search."), ToolCallPart("c1", "search", '{"q": 1}'))),
            ModelMessage("tool", (ToolResultPart("c1", "search", "found it"),)),
            ModelMessage("user", (TextPart("And?"),)),
        ],
        instructions="Be brief.",
        tools=[ToolSpec("search", "Finds.", {"type": "object"})],
    )
    assert text_of(await listen(make(), request))
    sent = json.dumps(server.bodies[-1])
    for held in (
        "Be brief.",
        "Look",
        "[page 2]",
        "Only the passages",
        "it is encrypted",
        "iVBORw0KGgo",
        "found it",
        "Finds.",
        "And?",
    ):
        assert held in sent, held
