"""Runs against a model server that is as the field's are: what a provider wants back comes back in a later message,
ends are told, refusals cost a part."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from stoa.gateway import Capabilities
from stoa.gateway.providers.demands import COMPATIBLE, DEEPSEEK, GEMINI, MISTRAL, Demands
from stoa.gateway.providers.openai import OpenAIModel
from stoa.gateway.providers.transport import Transport
from stoa.tools import ToolResult
from tests.support.doubles import ScriptedTool, ScriptedToolbox
from tests.support.published_wires import PUBLISHED
from tests.support.running import Running, serving
from tests.support.scripted_model import ScriptedServer
from tests.support.wires import DONE, chunk, event

STOP = chunk({}, "stop")


@pytest.fixture
async def provider() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


@pytest.fixture
def demands() -> Demands:
    """What the provider demands: at an address of our own, that must be said."""
    return COMPATIBLE


@pytest.fixture
async def server(dsn: str, tmp_path: Path, provider: ScriptedServer, demands: Demands) -> AsyncIterator[Running]:
    async def no_sleep(_: float) -> None:
        return None

    transport = Transport()
    abilities = Capabilities(images=True, tools=True)
    model = OpenAIModel(transport, provider.url, None, "m", abilities, demands=demands, sleep=no_sleep)
    look = ScriptedTool("look", results=[ToolResult("found")] * 8)
    async with serving(dsn, tmp_path, model, toolbox=ScriptedToolbox(look)) as running:  # type: ignore[arg-type]
        yield running
    await transport.close()


def answers(provider: ScriptedServer, *frames: bytes) -> None:
    provider.script = lambda _: {"raw": frames}


@pytest.mark.parametrize(
    ("name", "demands"),
    [("deepseek", DEEPSEEK), ("mistral", MISTRAL), ("gemini", GEMINI)],
    ids=["deepseek", "mistral", "gemini"],
)
async def test_what_a_provider_wants_back_comes_back_in_later_messages(
    server: Running, provider: ScriptedServer, name: str
) -> None:
    wire = PUBLISHED[name]

    def script(body: dict[str, Any]) -> dict[str, Any]:
        if (why := wire.refused(body)) is not None:
            return {"status": 400, "body": wire.error(why)}
        return {
            "raw": wire.calls if body["messages"][-1]["role"] == "user" and len(body["messages"]) < 3 else wire.text
        }

    provider.script = script
    conversation = await server.conversation(agent={"tools": ["look"]})
    for _ in range(2):
        run = await server.ask(conversation)
        assert (run["status"], run["output"], run["finish_reason"]) == ("completed", "Hello there.", "stop")
    assert len(provider.bodies) == 3, "nothing was refused"
    if name == "mistral":
        calls = [call["id"] for message in provider.bodies[-1]["messages"] for call in message.get("tool_calls", ())]
        assert calls == ["D681PevKs", "Ek4vPqXaB"]


@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_a_cut_answer_can_be_seen_everywhere(server: Running, provider: ScriptedServer, reason: str) -> None:
    answers(provider, chunk({"content": "This is cut in the mid"}), chunk({}, reason), DONE)
    conversation = await server.conversation()
    run = await server.ask(conversation)
    assert (run["status"], run["finish_reason"], run["usage"]["finish_reason"]) == ("completed", reason, reason)
    assert (await server.events(run["id"]))[-1]["data"]["finish_reason"] == reason
    messages = (await server.call("GET", f"/v1/conversations/{conversation}/messages"))["data"]
    assert messages[-1]["finish_reason"] == reason


async def test_an_error_before_the_first_token_is_retried(server: Running, provider: ScriptedServer) -> None:
    error = event({"error": {"message": "Overloaded", "type": "overloaded_error"}})
    provider.script = lambda _: {
        "raw": [error] if len(provider.bodies) < 3 else [chunk({"content": "Here."}), STOP, DONE]
    }
    run = await server.ask(await server.conversation())
    assert (run["output"], len(provider.bodies)) == ("Here.", 3)
    answers(provider, chunk({"content": "Partial."}) + error)
    run = await server.ask(await server.conversation())
    assert (run["status"], run["output"], run["error"]["code"], len(provider.bodies)) == (
        "failed",
        "Partial.",
        "model_overloaded",
        4,
    )
    assert run["finish_reason"] == "error"


async def test_a_refused_history_is_sent_again_without_a_part_and_with_a_notice(
    server: Running, provider: ScriptedServer
) -> None:
    answers(provider, *PUBLISHED["openai"].text)
    conversation = await server.conversation()
    await server.ask(conversation, "poison")

    def script(body: dict[str, Any]) -> dict[str, Any]:
        bad = "poison" in str(body["messages"])
        return {"status": 400, "body": {"error": {"message": "bad luck"}}} if bad else {"raw": PUBLISHED["openai"].text}

    provider.script = script
    run = await server.ask(conversation, "and now?")
    assert (run["status"], run["output"]) == ("completed", "Hello there.")
    notices = [
        one["data"]["notice"] for one in await server.events(run["id"]) if one["type"] == "agent.context.compacted"
    ]
    assert notices == ["The provider refused the conversation's history: only the last message is sent to it."]
