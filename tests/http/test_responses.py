"""OpenAI's Responses and Conversations on our journal, as OpenAI's own client sees them, unmodified."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import openai
import pytest
from pydantic import BaseModel

from stoa.gateway import ImagePart, ModelError, ToolCallPart, ToolResultPart
from stoa.tools import ToolResult
from tests.conftest import FIRST_KEY, Running, serving
from tests.support.doubles import ScriptedModel, ScriptedTool, ScriptedToolbox, Step, answer, calling
from tests.support.knowledge import TRAVEL, base_of, settled, upload
from tests.support.pictures import DOT
from tests.support.running import NO_AUTHORITIES

MODEL = "stoa-extractive"
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}


@pytest.fixture(scope="module")
async def client(shared_server: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{shared_server.url}/openai/v1", api_key=FIRST_KEY, max_retries=0) as made:
        yield made


def says(server: Running, *scripts: list[Step]) -> None:
    """What the model does next."""
    server.model.requests.clear()
    server.model.scripts = list(scripts)


def texts(server: Running, request: int = -1) -> list[tuple[str, str]]:
    """What the model was given: role and text."""
    return [
        (message.role, "".join(getattr(part, "text", "") for part in message.parts))
        for message in server.model.requests[request].messages
    ]


# --- whole answers --------------------------------------------------------------------------------------------------
async def test_a_response(shared_server: Running, client: openai.AsyncOpenAI) -> None:
    says(shared_server, answer("Three ", "words ", "here.", reasoning="Hm."))
    made = await client.responses.create(
        model=MODEL, input="Say three words.", instructions="Be brief.", metadata={"topic": "x"}, temperature=0.2
    )
    assert made.output_text == "Three words here."
    assert [item.type for item in made.output] == ["reasoning", "message"]
    assert made.output[0].summary[0].text == "Hm."  # type: ignore[union-attr]
    assert (made.status, made.model, made.instructions, made.temperature) == ("completed", MODEL, "Be brief.", 0.2)
    assert made.usage is not None
    assert (made.usage.input_tokens, made.usage.output_tokens, made.usage.total_tokens) == (12, 3, 15)
    assert made.metadata == {"topic": "x"}
    assert shared_server.model.requests[-1].instructions == "Be brief."
    again = await client.responses.retrieve(made.id)
    assert again.to_dict() == made.to_dict()  # The journal says it once more, word for word.


async def test_a_chain_by_previous_response_id_branches(shared_server: Running, client: openai.AsyncOpenAI) -> None:
    says(shared_server, answer("Hello Ada."), answer("Ada."), answer("Still Ada."))
    first = await client.responses.create(model=MODEL, input="I am Ada.", instructions="Only now.")
    second = await client.responses.create(model=MODEL, input="Who am I?", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    assert texts(shared_server) == [("user", "I am Ada."), ("assistant", "Hello Ada."), ("user", "Who am I?")]
    assert shared_server.model.requests[-1].instructions is None  # Instructions are not carried over.
    other = await client.responses.create(model=MODEL, input="Again: who?", previous_response_id=first.id)
    assert texts(shared_server)[-1] == ("user", "Again: who?")
    assert len(texts(shared_server)) == 3  # The other branch is not part of it.
    assert other.output_text == "Still Ada."


async def test_two_branches_at_once(shared_server: Running, client: openai.AsyncOpenAI) -> None:
    says(shared_server, answer("One."))
    first = await client.responses.create(model=MODEL, input="Begin.")
    both = await asyncio.gather(
        *(client.responses.create(model=MODEL, input=f"Branch {n}", previous_response_id=first.id) for n in range(3))
    )
    assert {one.status for one in both} == {"completed"}
    assert all(len(texts(shared_server, request)) == 3 for request in range(1, 4))


async def test_earlier_turns_come_with_the_input(shared_server: Running, client: openai.AsyncOpenAI) -> None:
    says(shared_server, answer("Alice."))
    given: Any = [
        {"role": "system", "content": "Speak plainly."},
        {"type": "message", "role": "user", "content": "My name is Alice."},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello!"}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"role": "user", "content": [{"type": "input_text", "text": "What is my name?"}]},
    ]
    made = await client.responses.create(model=MODEL, input=given)
    assert made.output_text == "Alice."
    request = shared_server.model.requests[-1]
    assert request.instructions == "Speak plainly."
    assert texts(shared_server) == [
        ("user", "My name is Alice."),
        ("assistant", "Hello!"),
        ("user", "What is my name?"),
    ]
    items = [item async for item in client.responses.input_items.list(made.id, order="asc")]
    assert [(item.type, getattr(item, "role", "")) for item in items] == [
        ("message", "system"),
        ("message", "user"),
        ("message", "assistant"),
        ("message", "user"),
    ]
    page = await client.responses.input_items.list(made.id, order="asc", limit=2)
    assert page.has_more
    assert [item.id async for item in page] == [item.id for item in items]


async def test_a_picture_comes_as_a_data_url(shared_server: Running, client: openai.AsyncOpenAI) -> None:
    says(shared_server, answer("A heart."))
    url = "data:image/png;base64," + base64.b64encode(DOT).decode()
    content: Any = [{"type": "input_text", "text": "What is it?"}, {"type": "input_image", "image_url": url}]
    made = await client.responses.create(model=MODEL, input=[{"role": "user", "content": content}])
    assert made.output_text == "A heart."
    pictures = [part for part in shared_server.model.requests[-1].messages[-1].parts if isinstance(part, ImagePart)]
    assert [(one.mime_type, one.data) for one in pictures] == [("image/png", DOT)]
    content[1]["image_url"] = "https://example.com/heart.png"
    with pytest.raises(openai.BadRequestError, match="fetches nothing"):
        await client.responses.create(model=MODEL, input=[{"role": "user", "content": content}])


# --- tools ----------------------------------------------------------------------------------------------------------
async def test_the_loop_of_the_clients_own_tools(shared_server: Running, client: openai.AsyncOpenAI) -> None:
    says(
        shared_server,
        calling(("get_weather", '{"city": "Paris"}'), ("get_weather", '{"city": "Rome"}'), say="Let me see."),
        answer("Sun in both."),
    )
    first = await client.responses.create(model=MODEL, input="Weather?", tools=[WEATHER])
    assert [item.type for item in first.output] == ["message", "function_call", "function_call"]
    assert first.status == "completed"
    calls: list[Any] = [item for item in first.output if item.type == "function_call"]
    assert [(call.name, call.arguments, call.status) for call in calls] == [
        ("get_weather", '{"city": "Paris"}', "completed"),
        ("get_weather", '{"city": "Rome"}', "completed"),
    ]
    outputs: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "sun"} for call in calls]
    with pytest.raises(openai.BadRequestError, match="no output for the function call"):
        await client.responses.create(model=MODEL, input=outputs[:1], previous_response_id=first.id, tools=[WEATHER])
    second = await client.responses.create(model=MODEL, input=outputs, previous_response_id=first.id, tools=[WEATHER])
    assert second.output_text == "Sun in both."
    told = shared_server.model.requests[-1].messages
    assert [message.role for message in told] == ["user", "assistant", "tool"]
    made = [part for part in told[1].parts if isinstance(part, ToolCallPart)]
    results = [part for part in told[2].parts if isinstance(part, ToolResultPart)]
    assert [part.id for part in made] == [part.id for part in results]
    assert {part.name for part in results} == {"get_weather"}


async def test_the_loop_without_the_servers_memory(shared_server: Running, client: openai.AsyncOpenAI) -> None:
    """As the Agents SDK and others do: everything is sent again, with what the response gave."""
    says(shared_server, calling(("get_weather", '{"city": "Paris"}')), answer("Sun."))
    history: list[Any] = [{"role": "user", "content": "Weather?"}]
    first = await client.responses.create(model=MODEL, input=history, tools=[WEATHER], store=False)
    history += [item.to_dict() for item in first.output]
    (call,) = [item for item in first.output if item.type == "function_call"]
    history.append({"type": "function_call_output", "call_id": call.call_id, "output": "sun"})
    second = await client.responses.create(model=MODEL, input=history, tools=[WEATHER], store=False)
    assert second.output_text == "Sun."
    assert [message.role for message in shared_server.model.requests[-1].messages] == ["user", "assistant", "tool"]
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(second.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.create(model=MODEL, input="And?", previous_response_id=second.id)


async def test_items_are_named_by_reference(shared_server: Running, client: openai.AsyncOpenAI) -> None:
    """As the AI SDK does with `store`: items of an earlier response by their ids, and no previous_response_id."""
    says(shared_server, calling(("get_weather", "{}"), say="Looking."), answer("Sun."))
    first = await client.responses.create(model=MODEL, input="Weather?", tools=[WEATHER])
    call: Any = first.output[1]
    given: Any = [
        {"role": "user", "content": "Weather?"},
        *({"type": "item_reference", "id": item.id} for item in first.output),
        {"type": "function_call_output", "call_id": call.call_id, "output": "sun"},
    ]
    second = await client.responses.create(model=MODEL, input=given, tools=[WEATHER])
    assert second.output_text == "Sun."
    assert texts(shared_server)[:2] == [("user", "Weather?"), ("assistant", "Looking.")]
    with pytest.raises(openai.NotFoundError, match="no item"):
        await client.responses.create(model=MODEL, input=[{"type": "item_reference", "id": "msg_unknown"}])


async def test_a_tool_that_must_be_called_is_called_once(shared_server: Running, client: openai.AsyncOpenAI) -> None:
    says(shared_server, calling(("get_weather", "{}")))
    made = await client.responses.create(model=MODEL, input="Weather?", tools=[WEATHER], tool_choice="required")
    assert [item.type for item in made.output] == ["function_call"]
    none = await client.responses.create(model=MODEL, input="Weather?", tools=[WEATHER], tool_choice="none")
    assert none.tools[0].type == "function"
    assert shared_server.model.requests[-1].tools == []


async def test_file_search_over_a_knowledge_base(shared_server: Running, client: openai.AsyncOpenAI) -> None:
    base = await base_of(shared_server)
    await upload(shared_server, base["id"], ("travel.md", TRAVEL))
    await settled(shared_server, base["id"])
    says(shared_server, calling(("search_knowledge", '{"query": "hotel"}')), answer("140 euros [1]."))
    search: Any = {"type": "file_search", "vector_store_ids": [base["id"]]}
    stream = await client.responses.create(
        model=MODEL, input="A hotel?", tools=[search], include=["file_search_call.results"], stream=True
    )
    events = [event async for event in stream]
    check(events)
    kinds = [event.type.removeprefix("response.file_search_call.") for event in events if "file_search" in event.type]
    assert kinds == ["in_progress", "searching", "completed"]
    found: Any = events[-1].response.output[0]  # type: ignore[union-attr]
    assert (found.type, found.status, found.queries) == ("file_search_call", "completed", ["hotel"])
    assert (found.results[0].filename, "140 euros" in found.results[0].text) == ("travel.md", True)
    assert (await client.responses.retrieve(events[-1].response.id)).output[0].results is not None  # type: ignore[union-attr]
    filtered: Any = {**search, "filters": {"type": "eq", "key": "a", "value": "b"}}
    with pytest.raises(openai.BadRequestError, match="filters"):  # A restriction is never passed over.
        await client.responses.create(model=MODEL, input="A hotel?", tools=[filtered])


async def test_tools_of_this_server_and_the_clients_in_one_reply(dsn: str, tmp_path: Path) -> None:
    tool = ScriptedTool("send", [ToolResult("sent")])
    both = calling(("send", "{}"), ("get_weather", "{}"))
    model = ScriptedModel([both, answer("Done.")])
    async with (
        serving(dsn, tmp_path, model, toolbox=ScriptedToolbox(tool)) as server,
        openai.AsyncOpenAI(base_url=f"{server.url}/openai/v1", api_key=FIRST_KEY, max_retries=0) as client,
    ):
        tools: Any = [{"type": "mcp", "server_label": "send"}, WEATHER]
        first = await client.responses.create(model=MODEL, input="Send it.", tools=tools)
        made: Any = first.output
        assert [item.type for item in made] == ["mcp_call", "function_call"]
        assert (made[0].name, made[0].output, made[0].status) == ("send", "sent", "completed")
        assert len(tool.made) == 1
        output: Any = {"type": "function_call_output", "call_id": made[1].call_id, "output": "sun"}
        second = await client.responses.create(model=MODEL, input=[output], previous_response_id=first.id, tools=tools)
        assert second.output_text == "Done."
        told = model.requests[-1].messages
        results = [part for message in told for part in message.parts if isinstance(part, ToolResultPart)]
        assert [part.result for part in results] == ["sent", "sun"]
        with pytest.raises(openai.BadRequestError, match="no tool of this project"):
            await client.responses.create(model=MODEL, input="x", tools=[{"type": "mcp", "server_label": "no"}])


async def test_structured_output_is_parsed(shared_server: Running, client: openai.AsyncOpenAI) -> None:
    class City(BaseModel):
        name: str
        people: int

    says(shared_server, answer('{"name": "Rome"}'), answer('{"name": "Rome", ', '"people": 3}'))
    made = await client.responses.parse(model=MODEL, input="A city?", text_format=City)
    assert made.output_parsed == City(name="Rome", people=3)  # The first answer did not satisfy the schema.
    assert len(shared_server.model.requests) == 2


# --- streams --------------------------------------------------------------------------------------------------------
def check(events: list[Any]) -> None:
    """What every stream keeps: numbers without a gap, items that begin before they go on and end once, places that
    are those of the final output."""
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    open_: dict[int, str] = {}
    done: list[int] = []
    for event in events:
        if event.type == "response.output_item.added":
            assert event.output_index == len(open_) + len(done)
            open_[event.output_index] = event.item.id
        elif event.type == "response.output_item.done":
            assert open_.pop(event.output_index) == event.item.id
            done.append(event.output_index)
        elif hasattr(event, "item_id"):
            assert open_[event.output_index] == event.item_id
            assert getattr(event, "delta", "-") != ""
    assert not open_
    assert done == sorted(done)
    final = events[-1].response
    assert [item.id for item in final.output] == [
        event.item.id for event in events if event.type == "response.output_item.added"
    ]


async def test_a_stream_of_typed_events(shared_server: Running, client: openai.AsyncOpenAI) -> None:
    says(shared_server, answer("Hel", "lo.", reasoning="Hm."))
    stream = await client.responses.create(model=MODEL, input="Hi", stream=True)
    events = [event async for event in stream]
    check(events)
    kinds = list(dict.fromkeys(event.type.removeprefix("response.") for event in events))
    assert kinds == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "completed",
    ]
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "Hello."


async def test_a_stream_of_calls(shared_server: Running, client: openai.AsyncOpenAI) -> None:
    says(shared_server, calling(("get_weather", '{"city": "Paris"}'), ("get_weather", '{"city": "Rome"}'), say="So:"))
    async with client.responses.stream(model=MODEL, input="Weather?", tools=[WEATHER]) as stream:
        events = [event async for event in stream]
        final = await stream.get_final_response()
    check(events)
    assert [item.type for item in final.output] == ["message", "function_call", "function_call"]
    done = [event for event in events if event.type == "response.function_call_arguments.done"]
    assert [event.arguments for event in done] == ['{"city": "Paris"}', '{"city": "Rome"}']


async def test_a_stream_is_resumed_after_any_event(shared_server: Running, client: openai.AsyncOpenAI) -> None:
    says(shared_server, answer("One ", "two ", "three.", reasoning="Hm."))
    stream = await client.responses.create(model=MODEL, input="Count.", stream=True, background=True)
    whole = [event async for event in stream]
    response_id = whole[0].response.id  # type: ignore[union-attr]
    for after in range(len(whole)):
        rest = await client.responses.retrieve(response_id, stream=True, starting_after=after)
        assert [event.to_dict() async for event in rest] == [event.to_dict() for event in whole[after + 1 :]]
    again = await client.responses.retrieve(response_id, stream=True)
    assert [event.to_dict() async for event in again] == [event.to_dict() for event in whole]


async def test_in_the_background_and_cancelled(shared_server: Running, client: openai.AsyncOpenAI) -> None:
    gate = asyncio.Event()
    says(shared_server, [*answer("Begun ")[:1], gate, *answer("and done.")])
    made = await client.responses.create(model=MODEL, input="Take your time.", background=True)
    assert (made.status in ("queued", "in_progress"), made.background) == (True, True)
    with pytest.raises(openai.ConflictError, match="not complete"):
        await client.responses.create(model=MODEL, input="And?", previous_response_id=made.id)
    stream = await client.responses.retrieve(made.id, stream=True)
    async for event in stream:
        if event.type == "response.output_text.delta":
            break
    canceled = await client.responses.cancel(made.id)
    assert canceled.status == "cancelled"
    rest = [event async for event in stream]
    assert rest[-1].response.status == "cancelled"  # type: ignore[union-attr]
    assert (await client.responses.cancel(made.id)).status == "cancelled"
    assert (await client.responses.retrieve(made.id)).output_text == "Begun "


async def test_a_failure_is_a_response_too(shared_server: Running, client: openai.AsyncOpenAI) -> None:
    says(shared_server, [*answer("Half ")[:1], ModelError("model_overloaded", "Too busy.", retryable=True)])
    made = await client.responses.create(model=MODEL, input="Hi")
    assert made.status == "failed"
    assert made.error is not None
    assert (made.error.code, made.error.message) == ("server_error", "Too busy. (model_overloaded)")
    stream = await client.responses.create(model=MODEL, input="Hi", stream=True)
    says(shared_server, [*answer("Half ")[:1], ModelError("model_overloaded", "Too busy.", retryable=True)])
    events = [event async for event in stream]
    assert events[-1].type == "response.failed"


# --- the rest of a response's life ----------------------------------------------------------------------------------
async def test_deleting(shared_server: Running, client: openai.AsyncOpenAI) -> None:
    says(shared_server, answer("One."))
    first = await client.responses.create(model=MODEL, input="Hi")
    second = await client.responses.create(model=MODEL, input="And?", previous_response_id=first.id)
    await client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(first.id)
    assert (await client.responses.retrieve(second.id)).status == "completed"
    run = (await shared_server.call("GET", f"/v1/runs/{second.id[5:]}"))["data"]
    await client.responses.delete(second.id)  # The last of its chain: everything goes.
    await shared_server.call("GET", f"/v1/conversations/{run['conversation_id']}", 404)
    with pytest.raises(openai.NotFoundError):
        await client.responses.delete(second.id)


async def test_errors_are_of_the_right_class(shared_server: Running, client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(model=MODEL, input=[{"type": "no_such_item"}])  # type: ignore[list-item]
    assert (refused.value.code, refused.value.param) == ("invalid_request_error", "input[0].type")
    with pytest.raises(openai.BadRequestError, match="server_label"):
        await client.responses.create(model=MODEL, input="Hi", tools=[{"type": "web_search"}])
    with pytest.raises(openai.BadRequestError, match="no knowledge base"):
        await client.responses.create(
            model=MODEL,
            input="Hi",
            tools=[{"type": "file_search", "vector_store_ids": ["01890a5d-ac96-774b-bcce-b302099a8057"]}],
        )
    with pytest.raises(openai.BadRequestError, match="previous_response_id"):
        await client.responses.create(model=MODEL, input="Hi", previous_response_id="resp_1", conversation="conv_1")
    with pytest.raises(openai.BadRequestError, match="no function call of this id"):
        output: Any = {"type": "function_call_output", "call_id": "call_x", "output": "1"}
        await client.responses.create(model=MODEL, input=[output])
    with pytest.raises(openai.NotFoundError):
        await client.responses.create(model="no/such", input="Hi")
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve("resp_" + "0" * 32)
    with pytest.raises(openai.NotFoundError):
        await client.responses.create(model=MODEL, input="Hi", previous_response_id="resp_" + "0" * 32)
    async with openai.AsyncOpenAI(base_url=f"{shared_server.url}/openai/v1", api_key="sk-no", max_retries=0) as other:
        with pytest.raises(openai.AuthenticationError):
            await other.responses.create(model=MODEL, input="Hi")


async def test_a_repeated_request_answers_once(shared_server: Running, client: openai.AsyncOpenAI) -> None:
    says(shared_server, answer("Once."))
    headers = {"Idempotency-Key": "responses-1"}
    first = await client.responses.create(model=MODEL, input="Hi", extra_headers=headers)
    again = await client.responses.create(model=MODEL, input="Hi", extra_headers=headers)
    assert again.id == first.id
    assert len(shared_server.model.requests) == 1


async def test_the_same_routes_on_the_routers_own_host(shared_server: Running) -> None:
    says(shared_server, answer("Hello."))
    port = shared_server.url.rpartition(":")[2]
    async with httpx.AsyncClient(
        verify=NO_AUTHORITIES,
        base_url=shared_server.url,
        headers={"Authorization": f"Bearer {FIRST_KEY}", "Host": f"router.localhost:{port}"},
    ) as other:
        made = await other.post("/v1/responses", json={"model": MODEL, "input": "Hi"})
        assert made.json()["status"] == "completed"
    mounted = await shared_server.call("POST", "/router/v1/responses", json={"model": MODEL, "input": "Hi"})
    assert mounted["output"][0]["content"][0]["text"] == "Hello."


# --- conversations --------------------------------------------------------------------------------------------------
async def test_a_conversation_of_items(shared_server: Running, client: openai.AsyncOpenAI) -> None:
    says(shared_server, calling(("get_weather", "{}"), say="Looking."), answer("Sun."))
    held = await client.conversations.create(
        metadata={"topic": "weather"}, items=[{"type": "message", "role": "user", "content": "I am in Rome."}]
    )
    assert (held.id[:5], held.object, held.metadata) == ("conv_", "conversation", {"topic": "weather"})
    first = await client.responses.create(model=MODEL, input="Weather?", conversation=held.id, tools=[WEATHER])
    assert first.conversation is not None
    assert first.conversation.id == held.id
    call: Any = first.output[-1]
    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sun"}
    second = await client.responses.create(model=MODEL, input=[output], conversation={"id": held.id}, tools=[WEATHER])
    assert second.output_text == "Sun."
    assert texts(shared_server)[0] == ("user", "I am in Rome.")
    items = [item async for item in client.conversations.items.list(held.id, order="asc", limit=2)]
    kinds = [item.type for item in items]
    assert kinds == ["message", "message", "message", "function_call", "function_call_output", "message"]
    assert (await client.conversations.items.retrieve(items[-1].id, conversation_id=held.id)).id == items[-1].id
    more = await client.conversations.items.create(held.id, items=[{"role": "user", "content": "Thanks."}])
    assert [item.type for item in more.data] == ["message"]
    changed = await client.conversations.update(held.id, metadata={"topic": "sun"})
    assert changed.metadata == {"topic": "sun"}
    gone = await client.conversations.delete(held.id)
    assert (gone.deleted, gone.object) == (True, "conversation.deleted")
    with pytest.raises(openai.NotFoundError):
        await client.conversations.retrieve(held.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(first.id)  # A response goes with its conversation.


# --- strangers ------------------------------------------------------------------------------------------------------
async def test_strangers_find_nothing(shared_server: Running, client: openai.AsyncOpenAI) -> None:
    """Neither by the routes nor by what a request names."""
    says(shared_server, answer("Secret."))
    held = await client.conversations.create()
    made = await client.responses.create(model=MODEL, input="Hi", conversation=held.id)
    project = (await shared_server.call("POST", "/v1/projects", 201, json={"name": "Strangers"}))["data"]["id"]
    key = await shared_server.call("POST", "/v1/access-keys", 201, json={"name": "s", "project_id": project})
    headers = {"Authorization": f"Bearer {key['data']['key']}"}
    item, response, conversation = made.output[0].id, f"/v1/responses/{made.id}", f"/v1/conversations/{held.id}"
    asked: list[tuple[str, str, Any]] = [
        ("GET", response, None),
        ("GET", f"{response}?stream=true", None),
        ("DELETE", response, None),
        ("POST", f"{response}/cancel", None),
        ("GET", f"{response}/input_items", None),
        ("GET", conversation, None),
        ("POST", conversation, {"metadata": {}}),
        ("DELETE", conversation, None),
        ("GET", f"{conversation}/items", None),
        ("POST", f"{conversation}/items", {"items": [{"role": "user", "content": "x"}]}),
        ("GET", f"{conversation}/items/{item}", None),
        ("POST", "/v1/responses", {"model": MODEL, "input": "x", "previous_response_id": made.id}),
        ("POST", "/v1/responses", {"model": MODEL, "input": "x", "conversation": held.id}),
        ("POST", "/v1/responses", {"model": MODEL, "input": [{"type": "item_reference", "id": item}]}),
    ]
    for method, path, body in asked:
        answered = await shared_server.client.request(method, f"/openai{path}", json=body, headers=headers)
        assert answered.status_code == 404, (method, path, answered.text)
        nobody = await shared_server.client.request(
            method, f"/openai{path}", json=body, headers={"Authorization": "Bearer stoa_acc_no"}
        )
        assert nobody.status_code == 401, (method, path)
    assert (await client.responses.retrieve(made.id)).output_text == "Secret."


async def test_what_is_not_stored_goes(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data of `store: false` is deleted by any node, a minute after the end."""
    monkeypatch.setattr("stoa.dialects.worker.SECONDS", 0.5)
    async with serving(dsn, tmp_path, ScriptedModel([answer("Gone soon.")])) as server:
        body = {"model": MODEL, "input": "Hi", "store": False}
        made = await server.call("POST", "/openai/v1/responses", json=body)
        run = (await server.call("GET", f"/v1/runs/{made['id'][5:]}"))["data"]
        database = await asyncpg.connect(server.dsn)
        await database.execute("UPDATE runs SET ended_at = now() - interval '61 seconds'")
        await database.close()
        async with asyncio.timeout(60):
            while (await server.client.get(f"/v1/conversations/{run['conversation_id']}")).status_code != 404:
                await asyncio.sleep(0.1)


RESOURCE = [
    "id",
    "object",
    "created_at",
    "completed_at",
    "status",
    "incomplete_details",
    "model",
    "previous_response_id",
    "instructions",
    "output",
    "error",
    "tools",
    "tool_choice",
    "truncation",
    "parallel_tool_calls",
    "text",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "top_logprobs",
    "temperature",
    "reasoning",
    "usage",
    "max_output_tokens",
    "max_tool_calls",
    "store",
    "background",
    "service_tier",
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
]
"""The fields that Open Responses wants in every response, null or not."""


async def test_every_response_has_every_field(shared_server: Running) -> None:
    """Also those inside a stream, from the first on."""
    says(shared_server, answer("Hello."))
    made = await shared_server.call("POST", "/openai/v1/responses", json={"model": MODEL, "input": "Hi"})
    assert [name for name in RESOURCE if name not in made] == []
    assert (made["tools"], made["tool_choice"], made["text"]) == ([], "auto", {"format": {"type": "text"}})
    whole = (await shared_server.client.get(f"/openai/v1/responses/{made['id']}?stream=true")).text
    assert whole.endswith("data: [DONE]\n\n")
    held = [json.loads(line[6:]) for line in whole.splitlines() if line.startswith("data: {")]
    for frame in held:
        if "response" in frame:
            assert [name for name in RESOURCE if name not in frame["response"]] == [], frame["type"]
