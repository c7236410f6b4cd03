"""AG-UI, the AI SDK's UI messages and A2A over a real socket: threads, the client's own tools, resuming. The real
clients of npm are run by `bench/compat_dialects.py`."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import openai
import pytest

from stoa.gateway import ToolCallPart, ToolResultPart
from stoa.tools import ToolResult
from tests.conftest import FIRST_KEY, Running, serving
from tests.support.apps import deployed
from tests.support.doubles import ScriptedModel, ScriptedTool, ScriptedToolbox, Step, answer, calling

MODEL = "stoa-extractive"
WEATHER = {"name": "get_weather", "description": "d", "parameters": {"type": "object", "properties": {}}}


def says(server: Running, *scripts: list[Step]) -> None:
    server.model.requests.clear()
    server.model.scripts = list(scripts)


def texts(server: Running) -> list[tuple[str, str]]:
    return [
        (message.role, "".join(getattr(part, "text", "") for part in message.parts))
        for message in server.model.requests[-1].messages
    ]


async def frames(server: Running, method: str, path: str, **options: Any) -> AsyncIterator[dict[str, Any]]:
    async with server.client.stream(method, path, **options) as response:
        assert response.status_code == 200, await response.aread()
        async for line in response.aiter_lines():
            if line.startswith("data: ") and line != "data: [DONE]":
                yield json.loads(line[6:])


async def all_frames(server: Running, method: str, path: str, **options: Any) -> list[dict[str, Any]]:
    return [frame async for frame in frames(server, method, path, **options)]


# --- AG-UI ----------------------------------------------------------------------------------------------------------
def agui_input(thread: str, run: str, *messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "threadId": thread,
        "runId": run,
        "state": {},
        "messages": messages,
        "tools": [],
        "context": [],
        "forwardedProps": {},
        **more,
    }


def agui_said(made: list[dict[str, Any]]) -> str:
    return "".join(frame["delta"] for frame in made if frame["type"] == "TEXT_MESSAGE_CONTENT")


async def test_agui_a_thread_continues(shared_server: Running) -> None:
    says(shared_server, answer("Hello Ada."), answer("Ada."), answer("Ada!"))
    first = {"id": "m1", "role": "user", "content": "I am Ada."}
    path = f"/v1/agui/{MODEL}"
    made = await all_frames(shared_server, "POST", path, json=agui_input("t-1", "r-1", first))
    assert agui_said(made) == "Hello Ada."
    assert made[0] == {"type": "RUN_STARTED", "threadId": "t-1", "runId": "r-1"}
    second = {"id": "m3", "role": "user", "content": "Who am I?"}
    history = (first, {"id": "m2", "role": "assistant", "content": "Hello Ada."}, second)
    context = [{"description": "The page", "value": "profile"}]
    body = agui_input("t-1", "r-2", *history, context=context)
    assert agui_said(await all_frames(shared_server, "POST", path, json=body)) == "Ada."
    assert texts(shared_server) == [("user", "I am Ada."), ("assistant", "Hello Ada."), ("user", "Who am I?")]
    assert "The page: profile" in (shared_server.model.requests[-1].instructions or "")
    again = await all_frames(shared_server, "POST", path, json=body)  # The same run, from its first event.
    assert (agui_said(again), len(shared_server.model.requests)) == ("Ada.", 2)
    other = agui_input("t-1", "r-3", *history)  # Another answer to the same message.
    assert agui_said(await all_frames(shared_server, "POST", path, json=other)) == "Ada!"
    assert texts(shared_server)[-1] == ("user", "Who am I?")
    assert len(texts(shared_server)) == 3


async def test_agui_the_front_ends_own_tools(shared_server: Running) -> None:
    says(shared_server, calling(("get_weather", '{"city": 1}'), ("get_weather", "{}"), say="So:"), answer("Sun."))
    path, asked = f"/v1/agui/{MODEL}", {"id": "m1", "role": "user", "content": "Weather?"}
    made = await all_frames(shared_server, "POST", path, json=agui_input("t-2", "r-1", asked, tools=[WEATHER]))
    starts = [frame for frame in made if frame["type"] == "TOOL_CALL_START"]
    assert [frame["toolCallName"] for frame in starts] == ["get_weather"] * 2
    assert len({frame["parentMessageId"] for frame in starts}) == 1
    assert made[-1]["type"] == "RUN_FINISHED"
    calls = [
        {"id": frame["toolCallId"], "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
        for frame in starts
    ]
    results = [
        {"id": f"r{index}", "role": "tool", "toolCallId": call["id"], "content": "sun"}
        for index, call in enumerate(calls)
    ]
    history = (asked, {"id": "m2", "role": "assistant", "content": "So:", "toolCalls": calls}, *results)
    body = agui_input("t-2", "r-2", *history, tools=[WEATHER])
    assert agui_said(await all_frames(shared_server, "POST", path, json=body)) == "Sun."
    told = shared_server.model.requests[-1].messages
    assert [message.role for message in told] == ["user", "assistant", "tool"]
    assert [part.id for part in told[1].parts if isinstance(part, ToolCallPart)] == [
        part.id for part in told[2].parts if isinstance(part, ToolResultPart)
    ]


async def test_agui_an_unknown_thread_is_imported_completely(shared_server: Running) -> None:
    says(shared_server, answer("Ada."))
    history = (
        {"id": "m1", "role": "user", "content": "I am Ada."},
        {"id": "m2", "role": "assistant", "content": "Hello."},
        {"id": "m3", "role": "user", "content": [{"type": "text", "text": "Who am I?"}]},
    )
    await all_frames(shared_server, "POST", f"/v1/agui/{MODEL}", json=agui_input("t-3", "r-1", *history))
    assert texts(shared_server) == [("user", "I am Ada."), ("assistant", "Hello."), ("user", "Who am I?")]


async def test_agui_refusals(shared_server: Running) -> None:
    refused = await shared_server.call("POST", f"/v1/agui/{MODEL}", 400, json={"runId": "r"})
    assert refused["error"]["details"] == {"threadId": "is required: a string"}
    body = agui_input("t", "r", {"id": "m", "role": "user", "content": "Hi"})
    await shared_server.call("POST", "/v1/agui/no/such/model", 404, json=body)


# --- UI messages ----------------------------------------------------------------------------------------------------
def chat(chat_id: str, *messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": chat_id, "trigger": "submit-message", "messages": messages, **more}


def ui_text(identity: str, role: str, text: str) -> dict[str, Any]:
    return {"id": identity, "role": role, "parts": [{"type": "text", "text": text}]}


def ui_said(made: list[dict[str, Any]]) -> str:
    return "".join(frame["delta"] for frame in made if frame["type"] == "text-delta")


async def test_ui_messages(shared_server: Running) -> None:
    says(shared_server, answer("Hello Ada.", reasoning="Hm."), answer("Ada."), answer("Ada!"))
    path = f"/v1/ui-messages/{MODEL}"
    async with shared_server.client.stream("POST", path, json=chat("c-1", ui_text("m1", "user", "I am Ada."))) as sent:
        assert sent.headers["x-vercel-ai-ui-message-stream"] == "v1"
        body = (await sent.aread()).decode()
    assert body.endswith("data: [DONE]\n\n")
    history = (
        ui_text("m1", "user", "I am Ada."),
        ui_text("m2", "assistant", "Hello Ada."),
        ui_text("m3", "user", "Who?"),
    )
    assert ui_said(await all_frames(shared_server, "POST", path, json=chat("c-1", *history))) == "Ada."
    assert len(texts(shared_server)) == 3
    again = chat("c-1", *history, trigger="regenerate-message", messageId="m4")
    assert ui_said(await all_frames(shared_server, "POST", path, json=again)) == "Ada!"
    assert texts(shared_server)[-1] == ("user", "Who?")
    assert (await shared_server.client.get(f"{path}/c-1/stream")).status_code == 204


async def test_ui_messages_resume_while_an_answer_is_under_way(shared_server: Running) -> None:
    gate = asyncio.Event()
    says(shared_server, [*answer("One ")[:1], gate, *answer("two.")])
    path = f"/v1/ui-messages/{MODEL}"
    seen: list[dict[str, Any]] = []
    async for frame in frames(shared_server, "POST", path, json=chat("c-2", ui_text("m1", "user", "Count."))):
        seen.append(frame)
        if frame["type"] == "text-delta":
            break  # The client goes; the run does not.
    resumed = frames(shared_server, "GET", f"{path}/c-2/stream")
    made = [await anext(resumed) for _ in seen]
    assert made == seen
    gate.set()
    made += [frame async for frame in resumed]
    assert (ui_said(made), made[-1]["type"]) == ("One two.", "finish")


async def test_ui_messages_the_clients_own_tools(shared_server: Running) -> None:
    says(shared_server, calling(("get_weather", '{"city": 1}')), answer("Sun."))
    path, asked = f"/v1/ui-messages/{MODEL}", ui_text("m1", "user", "Weather?")
    made = await all_frames(shared_server, "POST", path, json=chat("c-3", asked, tools=[WEATHER]))
    (call,) = [frame for frame in made if frame["type"] == "tool-input-available"]
    assert call["input"] == {"city": 1}
    part = {"type": "tool-get_weather", "toolCallId": call["toolCallId"], "state": "output-available"}
    done = {"id": "m2", "role": "assistant", "parts": [{**part, "input": {"city": 1}, "output": {"sky": "blue"}}]}
    body = chat("c-3", asked, done, tools=[WEATHER])
    assert ui_said(await all_frames(shared_server, "POST", path, json=body)) == "Sun."
    result = shared_server.model.requests[-1].messages[-1].parts[0]
    assert isinstance(result, ToolResultPart)
    assert result.result == '{"sky":"blue"}'


# --- A2A ------------------------------------------------------------------------------------------------------------
async def rpc(server: Running, method: str, agent: str = MODEL, headers: Any = None, **params: Any) -> Any:
    body = {"jsonrpc": "2.0", "id": "1", "method": method, "params": params}
    return await server.call("POST", f"/v1/a2a/{agent}", json=body, headers=headers)


def a2a_message(text: str, message_id: str | None = None, **more: Any) -> dict[str, Any]:
    return {"messageId": message_id or str(uuid4()), "role": "user", "parts": [{"kind": "text", "text": text}], **more}


async def test_a2a_send_get_and_go_on(shared_server: Running) -> None:
    says(shared_server, answer("Hello Ada."), answer("Ada."))
    card = await shared_server.call("GET", f"/v1/a2a/{MODEL}/.well-known/agent-card.json")
    assert card["url"] == f"{shared_server.url}/v1/a2a/{MODEL}"
    assert card["capabilities"]["streaming"]
    task = (await rpc(shared_server, "message/send", message=a2a_message("I am Ada.", "a-1")))["result"]
    assert (task["kind"], task["status"]["state"]) == ("task", "completed")
    assert task["artifacts"][0]["parts"] == [{"kind": "text", "text": "Hello Ada."}]
    again = (await rpc(shared_server, "message/send", message=a2a_message("I am Ada.", "a-1")))["result"]
    assert again["id"] == task["id"]  # The same message once more is the same task.
    assert (await rpc(shared_server, "tasks/get", id=task["id"]))["result"] == task
    await rpc(shared_server, "message/send", message=a2a_message("Who?", contextId=task["contextId"]))
    assert len(texts(shared_server)) == 3
    new = (await rpc(shared_server, "GetTask", id=task["id"]))["result"]
    assert new["status"]["state"] == "TASK_STATE_COMPLETED"
    assert "kind" not in new


async def test_a2a_stream_and_subscribe_with_replay(shared_server: Running) -> None:
    gate = asyncio.Event()
    says(shared_server, [*answer("One ")[:1], gate, *answer("two.")])
    body = {"jsonrpc": "2.0", "id": 5, "method": "message/stream", "params": {"message": a2a_message("Count.")}}
    path = f"/v1/a2a/{MODEL}"
    seen: list[dict[str, Any]] = []
    async for frame in frames(shared_server, "POST", path, json=body):
        seen.append(frame)
        if frame["result"]["kind"] == "artifact-update":
            break
    task = seen[0]["result"]["id"]
    again = {"jsonrpc": "2.0", "id": 5, "method": "tasks/resubscribe", "params": {"id": task}}
    resumed = frames(shared_server, "POST", path, json=again)
    assert [await anext(resumed) for _ in seen] == seen
    gate.set()
    rest = [frame["result"] async for frame in resumed]
    assert rest[-1]["status"]["state"] == "completed"
    assert rest[-1]["final"] is True
    assert (await rpc(shared_server, "tasks/cancel", id=task))["error"]["code"] == -32002


async def test_a2a_cancel(shared_server: Running) -> None:
    says(shared_server, [*answer("One ")[:1], asyncio.Event()])
    begun = await rpc(shared_server, "message/send", message=a2a_message("Count."), configuration={"blocking": False})
    task = (await rpc(shared_server, "tasks/cancel", id=begun["result"]["id"]))["result"]
    assert task["status"]["state"] == "canceled"


async def test_a2a_errors(shared_server: Running) -> None:
    assert (await rpc(shared_server, "no/such"))["error"]["code"] == -32601
    assert (await rpc(shared_server, "tasks/get", id="00000000-0000-0000-0000-000000000000"))["error"]["code"] == -32001
    assert (await rpc(shared_server, "tasks/get"))["error"]["code"] == -32602
    assert (await rpc(shared_server, "message/send"))["error"]["code"] == -32602
    assert (await rpc(shared_server, "message/send", "no/model", message=a2a_message("Hi")))["error"]["code"] == -32602
    assert (await rpc(shared_server, "tasks/pushNotificationConfig/set"))["error"]["code"] == -32003
    assert (await rpc(shared_server, "CreateTaskPushNotificationConfig"))["error"]["code"] == -32003
    await shared_server.call("GET", "/v1/a2a/no/model/.well-known/agent-card.json", 404)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"jsonrpc": "2.0", "id": 1, "method": ', -32700),
        (b"not json", -32700),
        (b"[]", -32600),
        (b'[{"jsonrpc": "2.0", "id": 1, "method": "tasks/get"}]', -32600),
        (b'{"id": 1, "method": "tasks/get"}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": 7}', -32600),
        (b'{"jsonrpc": "2.0", "id": {}, "method": "tasks/get"}', -32600),
        (b'{"jsonrpc": "2.0", "id": true, "method": "tasks/get"}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": "x"}', -32602),
    ],
)
async def test_a2a_answers_what_is_no_call_in_json_rpc(shared_server: Running, body: bytes, code: int) -> None:
    headers = {"Content-Type": "application/json"}
    answered = await shared_server.call("POST", f"/v1/a2a/{MODEL}", content=body, headers=headers)
    assert answered["error"]["code"] == code


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"messageId": None}, -32602),
        ({"messageId": ""}, -32602),
        ({"role": None}, -32602),
        ({"role": "agent"}, -32602),
        ({"parts": []}, -32602),
        ({"parts": [{"kind": "text"}]}, -32602),
        ({"parts": [{"kind": "file", "file": {"uri": "http://127.0.0.1/x"}}]}, -32005),
        ({"parts": [{"url": "http://127.0.0.1/x"}]}, -32005),
        ({"contextId": 7}, -32602),
        ({"taskId": "none"}, -32001),
    ],
)
async def test_a2a_checks_a_message(shared_server: Running, change: dict[str, Any], code: int) -> None:
    refused = await rpc(shared_server, "message/send", message={**a2a_message("Hi"), **change})
    assert refused["error"]["code"] == code


async def test_a2a_errors_of_streams_are_events(shared_server: Running) -> None:
    """The official clients read a stream where they asked for one, and drop the body of any other answer."""
    body = {"jsonrpc": "2.0", "id": 5, "method": "tasks/resubscribe", "params": {"id": "none"}}
    assert [frame async for frame in frames(shared_server, "POST", f"/v1/a2a/{MODEL}", json=body)] == [
        {"jsonrpc": "2.0", "id": 5, "error": {"code": -32001, "message": "There is no task none."}}
    ]


async def test_a2a_takes_contexts_that_clients_name_and_data(shared_server: Running) -> None:
    says(shared_server, answer("Noted."), answer("Ada."))
    context = str(uuid4())
    data = {"kind": "data", "data": {"name": "Ada"}}
    first = a2a_message("Remember:", contextId=context)
    first["parts"].append(data)
    task = (await rpc(shared_server, "message/send", message=first))["result"]
    assert task["contextId"] == context
    second = (await rpc(shared_server, "message/send", message=a2a_message("Who?", contextId=context)))["result"]
    assert second["contextId"] == context
    said = texts(shared_server)
    assert len(said) == 3
    assert '{"name":"Ada"}' in said[0][1]
    taken = await rpc(shared_server, "message/send", message=a2a_message("More", taskId=task["id"]))
    assert taken["error"]["code"] == -32004


async def test_a2a_lists_the_tasks_of_an_agent(shared_server: Running) -> None:
    context = f"list-{uuid4()}"
    names: list[str] = []
    for number in range(3):
        says(shared_server, answer(f"Answer {number}."))
        sent = await rpc(
            shared_server, "SendMessage", message=a2a_message(f"Ask {number}.", f"m{number}", contextId=context)
        )
        names.insert(0, sent["result"]["task"]["id"])
    listed = (await rpc(shared_server, "ListTasks", contextId=context, pageSize=2))["result"]
    assert [task["id"] for task in listed["tasks"]] == names[:2]
    assert (listed["totalSize"], listed["pageSize"]) == (3, 2)
    assert listed["tasks"][0]["status"]["state"] == "TASK_STATE_COMPLETED"
    assert {"artifacts", "history"}.isdisjoint(listed["tasks"][0])
    rest = await rpc(
        shared_server,
        "ListTasks",
        contextId=context,
        pageToken=listed["nextPageToken"],
        includeArtifacts=True,
        historyLength=5,
    )
    (last,) = rest["result"]["tasks"]
    assert rest["result"]["nextPageToken"] == ""
    assert last["artifacts"][0]["parts"] == [{"text": "Answer 0."}]
    (message,) = last["history"]
    assert (message["messageId"], message["role"], message["parts"]) == ("m0", "ROLE_USER", [{"text": "Ask 0."}])
    for filters, found in (
        ({"status": "TASK_STATE_COMPLETED"}, 3),
        ({"status": "TASK_STATE_WORKING"}, 0),
        ({"status": "TASK_STATE_REJECTED"}, 0),
        ({"statusTimestampAfter": "2020-01-01T00:00:00Z"}, 3),
        ({"statusTimestampAfter": "2120-01-01T00:00:00Z"}, 0),
        ({"contextId": "of nobody"}, 0),
    ):
        answered = await rpc(shared_server, "tasks/list", **{"contextId": context, **filters})
        assert answered["result"]["totalSize"] == len(answered["result"]["tasks"]) == found, filters
    got = (await rpc(shared_server, "tasks/get", id=names[0], historyLength=1))["result"]
    assert got["history"][0]["kind"] == "message"


@pytest.mark.parametrize(
    "params",
    [
        {"pageSize": 0},
        {"pageSize": 101},
        {"pageSize": "ten"},
        {"pageToken": "none"},
        {"status": "TASK_STATE_FINE"},
        {"statusTimestampAfter": "yesterday"},
        {"statusTimestampAfter": 10**17},
        {"historyLength": -1},
        {"includeArtifacts": "yes"},
    ],
)
async def test_a2a_checks_what_a_list_asks_for(shared_server: Running, params: dict[str, Any]) -> None:
    refused = await rpc(shared_server, "ListTasks", **params)
    assert refused["error"]["code"] == -32602
    assert next(iter(params)) in refused["error"]["message"]


async def test_a2a_cards_of_one_version(shared_server: Running) -> None:
    path = f"/v1/a2a/{MODEL}/.well-known/agent-card.json"
    both = await shared_server.call("GET", path)
    new = await shared_server.call("GET", path, headers={"A2A-Version": "1.0"})
    old = await shared_server.call("GET", path, headers={"A2A-Version": "0.3"})
    assert new["securitySchemes"] == {"bearer": {"httpAuthSecurityScheme": {"scheme": "bearer"}}}
    assert old["securitySchemes"] == {"bearer": {"type": "http", "scheme": "bearer"}}
    assert both["securitySchemes"]["bearer"] == {**old["securitySchemes"]["bearer"], **new["securitySchemes"]["bearer"]}
    assert both.keys() == new.keys() | old.keys()


def client_of(server: Running) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{server.url}/router/v1", api_key=FIRST_KEY, max_retries=0)


# --- chat completions that can be resumed ---------------------------------------------------------------------------
async def test_a_completion_survives_its_connection(shared_server: Running) -> None:
    """`POST /v1/chat/completions` with Stoa-Resumable, by OpenAI's client; resumed at /v1/chat/completions/ID."""
    gate = asyncio.Event()
    says(shared_server, [*answer("One ")[:1], gate, *answer("two.")])
    headers = {"Stoa-Resumable": "true", "Idempotency-Key": "chat-1"}
    messages: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Count."}]
    async with openai.AsyncOpenAI(
        base_url=f"{shared_server.url}/router/v1", api_key=FIRST_KEY, max_retries=0
    ) as client:
        stream = await client.chat.completions.create(
            model=MODEL, messages=messages, stream=True, temperature=0.5, extra_headers=headers
        )
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        await stream.close()  # The client goes; the answer does not.
        completion = chunk.id
        gate.set()
        path = f"/router/v1/chat/completions/{completion}"
        whole = (await shared_server.client.get(path)).text
        assert whole.endswith("data: [DONE]\n\n")
        frames_ = whole.split("\n\n")[:-2]
        assert [frame.partition("\n")[0] for frame in frames_] == [f"id: {n}" for n in range(1, len(frames_) + 1)]
        for after in range(1, len(frames_) + 1):
            rest = (await shared_server.client.get(path, headers={"Last-Event-ID": str(after)})).text
            assert rest == "".join(f"{frame}\n\n" for frame in frames_[after:]) + "data: [DONE]\n\n"
        again = await client.chat.completions.create(
            model=MODEL, messages=messages, stream=True, temperature=0.5, extra_headers=headers
        )
        said = [chunk.choices[0].delta.content or "" async for chunk in again]
    assert "".join(said) == "One two."
    assert len(shared_server.model.requests) == 1
    assert shared_server.model.requests[0].instructions == "Be brief."
    await shared_server.call("GET", "/router/v1/chat/completions/chatcmpl_1", 404)
    await shared_server.call(
        "POST", "/router/v1/chat/completions/resumable", 400, json={"model": MODEL, "messages": messages}
    )


async def test_a_resumable_completion_calls_the_clients_tools(shared_server: Running) -> None:
    says(shared_server, calling(("get_weather", '{"city": 1}')), answer("Sun."))
    tools: Any = [{"type": "function", "function": WEATHER}]
    messages: list[Any] = [{"role": "user", "content": "Weather?"}]
    async with openai.AsyncOpenAI(
        base_url=f"{shared_server.url}/router/v1", api_key=FIRST_KEY, max_retries=0
    ) as client:
        async with client.chat.completions.stream(
            model=MODEL, messages=messages, tools=tools, extra_headers={"Stoa-Resumable": "true"}
        ) as stream:
            made = await stream.get_final_completion()
        assert made.choices[0].finish_reason == "tool_calls"
        (call,) = made.choices[0].message.tool_calls or ()
        assert (call.function.name, call.function.arguments) == ("get_weather", '{"city": 1}')
        messages += [made.choices[0].message.to_dict(), {"role": "tool", "tool_call_id": call.id, "content": "sun"}]
        async with client.chat.completions.stream(
            model=MODEL, messages=messages, tools=tools, extra_headers={"Stoa-Resumable": "true"}
        ) as stream:
            assert (await stream.get_final_completion()).choices[0].message.content == "Sun."


# --- agents that are apps, and people -------------------------------------------------------------------------------
@pytest.fixture
async def people(dsn: str, tmp_path: Any) -> AsyncIterator[Running]:
    tool = ScriptedTool("send", [ToolResult("sent")], approval=True)
    async with serving(dsn, tmp_path, ScriptedModel(), toolbox=ScriptedToolbox(tool)) as server:
        yield server


async def test_an_app_that_asks_a_person_in_every_dialect(people: Running) -> None:
    app = await deployed(people, {"agent": {"model": MODEL, "tools": ["send"]}}, name="sender")
    says(people, calling(("send", "{}")), answer("Sent."))
    task = (await rpc(people, "message/send", app["id"], message=a2a_message("Send it.")))["result"]
    assert task["status"]["state"] == "input-required"
    assert "Allow" in task["status"]["message"]["parts"][0]["text"]
    go_on = a2a_message("yes", taskId=task["id"], contextId=task["contextId"])
    await rpc(people, "message/send", app["id"], message=go_on, configuration={"blocking": False})
    done = await people.status(task["id"], "completed")
    assert done["output"] == "Sent."
    says(people, calling(("send", "{}")), answer("Sent."))
    body = agui_input("t", "r", {"id": "m", "role": "user", "content": "Send it."})
    made: list[dict[str, Any]] = []
    async for frame in frames(people, "POST", f"/v1/agui/{app['id']}", json=body):
        made.append(frame)
        if frame["type"] == "CUSTOM":
            request = frame["value"]["id"]
            run = next(one for one in (await people.call("GET", "/v1/runs?status=awaiting_input"))["data"])["id"]
            given = {"type": "approval", "data": {"request_id": request, "approved": True}}
            await people.status(run, "paused")
            await people.call("POST", f"/v1/runs/{run}/input", json=given)
    assert agui_said(made) == "Sent."
    assert [frame["content"] for frame in made if frame["type"] == "TOOL_CALL_RESULT"] == ["sent"]
