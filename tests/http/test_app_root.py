"""`POST /` of an app in its other modes: the platform's stream, a WebSocket, and `async` with callbacks."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from standardwebhooks.webhooks import Webhook
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from stoa.gateway import Capabilities, ModelError
from tests.conftest import FIRST_KEY, Running, serving
from tests.support.apps import deployed
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel, answer, calling
from tests.support.graphs import flow, node
from tests.support.running import NO_AUTHORITIES
from tests.support.services import Service

HI = {"input": {"input": "Hi"}}
KEY = {"Authorization": f"Bearer {FIRST_KEY}"}


@pytest.fixture(scope="module")
async def shared(cluster: Databases, room: Path) -> AsyncIterator[Running]:
    name = f"app_root_{uuid4().hex}"
    model = ScriptedModel(given_abilities=Capabilities(images=False, tools=True))
    async with serving(await cluster.copy(name), room / name, model, allow_private_addresses=True) as server:
        yield server


@pytest.fixture
def app_server(shared: Running) -> Running:
    shared.model.scripts = [answer("Do", "ne.", reasoning="Hm.")]
    return shared


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with Service.running() as made:
        yield made


def root(app: dict[str, Any]) -> str:
    return f"/apps/{app['id']}/"


def messages(text: str) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


# --- the stream -----------------------------------------------------------------------------------------------------
async def test_a_stream_is_the_platform_s(app_server: Running) -> None:
    server, app = app_server, await deployed(app_server)
    sent = await server.client.post(root(app), json={**HI, "stream": True})
    assert sent.headers["content-type"].startswith("text/event-stream")
    assert sent.headers["x-accel-buffering"] == "no"
    run_id = sent.headers["stoa-run-id"]
    said = messages(sent.text)
    for message in said:
        assert set(message) == {"run_id", "wf_run_id", "entity_id", "event", "data", "source"}
        assert (message["run_id"], message["event"]) == (run_id, "data")
        assert set(message["source"]) == {"id", "name", "group", "type"}
    deltas = [message["data"]["choices"][0]["delta"] for message in said]
    assert deltas[-1]["step"] == "output"
    assert {delta["step"] for delta in deltas[:-1]} == {"answer"}
    assert "".join(delta["content"] for delta in deltas) == "Done."
    assert said[0]["source"] == {
        "id": app["id"],
        "name": "Tickets",
        "group": "agents",
        "type": "dynamiq.nodes.agents.Agent",
    }
    assert said[-1]["data"]["output"] == {"content": "Done."}
    assert said[-1]["source"]["type"] == "dynamiq.workflows.Workflow"
    assert "event:" not in sent.text, "a browser's onmessage gets what has no event of its own"
    events = await server.events(run_id)
    assert f"id: {events[-1]['sequence']}\n" in sent.text


async def test_a_stream_says_how_a_run_failed(app_server: Running) -> None:
    server, app = app_server, await deployed(app_server)
    server.model.scripts = [[answer("Do")[0], ModelError("model_refused", "No.", retryable=False)]]
    said = messages((await server.client.post(root(app), json={**HI, "stream": True})).text)
    assert said[-1]["data"]["error"]["code"] == "model_refused"
    assert said[-1]["data"]["choices"][0]["delta"]["content"] == ""


async def test_a_graph_s_nodes_are_named(app_server: Running) -> None:
    """With the event and the mode that the definition of the node sets."""
    server = app_server
    everything = {"enabled": True, "mode": "all", "event": "spoken"}
    picked = {"input": "$.start.output.input"}
    app = await deployed(
        server, flow(node("agent", "writer", "start", name="Writer", streaming=everything, pick=picked))
    )
    said = messages((await server.client.post(root(app), json={**HI, "stream": True})).text)
    assert said[-1]["data"]["status"] == "completed", said[-1]
    assert said[-1]["event"] == "data"
    spoken = [one for one in said if one["event"] == "spoken"]
    assert {json.dumps(one["source"]) for one in spoken} == {
        json.dumps({"id": "writer", "name": "Writer", "group": "agents", "type": "dynamiq.nodes.agents.Agent"})
    }
    deltas = [one["data"]["choices"][0]["delta"] for one in spoken]
    assert {"content": {"thought": "Hm."}, "step": "reasoning", "source": "Writer"} in deltas
    assert "".join(delta["content"] for delta in deltas if delta["step"] == "answer") == "Done."


async def test_a_form_streams_too(app_server: Running) -> None:
    server, app = app_server, await deployed(app_server)
    form = {"input": '{"input": "Hi"}', "stream": "true"}
    sent = await server.client.post(root(app), data=form, files=[("files", ("b.txt", b"x"))])
    assert messages(sent.text)[-1]["data"]["status"] == "completed"


# --- a WebSocket ----------------------------------------------------------------------------------------------------
async def test_a_socket_carries_the_same_messages_run_after_run(app_server: Running) -> None:
    server, app = app_server, await deployed(app_server)
    async with asyncio.timeout(20), connect(f"ws{server.url[4:]}{root(app)}", additional_headers=KEY) as socket:
        for _ in range(2):
            await socket.send(json.dumps(HI))
            said = [json.loads(await socket.recv())]
            while "status" not in said[-1]["data"]:
                said.append(json.loads(await socket.recv()))
            assert "".join(one["data"]["choices"][0]["delta"]["content"] for one in said) == "Done."
        for wrong, where in (("no JSON", "body"), ({"input": 1}, "input"), ({"inptu": {}}, "inptu"), ([1], "body")):
            await socket.send(wrong if isinstance(wrong, str) else json.dumps(wrong))
            assert where in json.loads(await socket.recv())["error"]["details"]
        await socket.send(json.dumps({**HI, "execution_mode": "async"}))
        assert json.loads(await socket.recv())["status"] == "accepted"


async def test_a_socket_cancels_its_run_and_refuses_a_second_meanwhile(app_server: Running) -> None:
    server, app = app_server, await deployed(app_server)
    gate = asyncio.Event()
    server.model.scripts = [[*answer("Do")[:1], gate, *answer("ne.")]]
    async with asyncio.timeout(20), connect(f"ws{server.url[4:]}{root(app)}", additional_headers=KEY) as socket:
        await socket.send(json.dumps({"type": "cancel"}))
        assert json.loads(await socket.recv())["error"]["code"] == "bad_request"
        await socket.send(json.dumps(HI))
        assert json.loads(await socket.recv())["data"]["choices"][0]["delta"]["content"] == "Do"
        await socket.send(json.dumps(HI))
        assert json.loads(await socket.recv())["error"]["code"] == "conflict"
        await socket.send(json.dumps({"type": "cancel"}))
        said = [json.loads(await socket.recv()) for _ in range(2)]
        assert {"message": "canceled"} in said
        assert any(one.get("data", {}).get("canceled") for one in said)


ASKING = {"agent": {"model": "stoa-extractive", "human_feedback": True}}
QUESTION = ("ask_human", '{"question": "Which one?"}')


async def test_a_question_is_answered_over_the_socket(app_server: Running) -> None:
    server, app = app_server, await deployed(app_server, ASKING)
    server.model.requests.clear()
    server.model.scripts = [calling(QUESTION), answer("Blue it is.")]
    async with asyncio.timeout(20), connect(f"ws{server.url[4:]}{root(app)}", additional_headers=KEY) as socket:
        await socket.send(json.dumps(HI))
        asked = json.loads(await socket.recv())["data"]
        assert asked["choices"][0]["delta"] == {"content": "", "step": "input_request", "source": "Tickets"}
        request = asked["input_request"]
        assert request["prompt"] == "Which one?"
        given = {"type": "human_feedback", "data": {"request_id": request["id"], "feedback": "blue"}}
        await socket.send(json.dumps({**given, "data": {**given["data"], "request_id": str(uuid4())}}))
        assert json.loads(await socket.recv())["error"]["code"] == "bad_request"
        await socket.send(json.dumps(given))
        said = [json.loads(await socket.recv())]
        while "status" not in said[-1].get("data", {}):
            said.append(json.loads(await socket.recv()))
        assert {"message": "ok"} in said
        assert said[-1]["data"]["output"] == {"content": "Blue it is."}


async def test_a_run_that_awaits_input_is_found_and_answered(app_server: Running) -> None:
    server, app = app_server, await deployed(app_server, ASKING)
    server.model.requests.clear()
    server.model.scripts = [calling(QUESTION), answer("Blue it is.")]
    runs = f"/apps/{app['id']}/v1/runs"
    run = (await server.call("POST", runs, json=HI))["data"]
    assert run["status"] == "paused"
    (request,) = run["input_requests"]
    for query, found in (
        ("status=awaiting_input", 1),
        ("status=failed", 0),
        ("status=failed&status=awaiting_input", 1),
        ("status=paused", 1),
    ):
        assert len((await server.call("GET", f"{runs}?{query}"))["data"]) == found
    given = {"type": "human_feedback", "data": {"request_id": request["id"], "feedback": "blue"}}
    assert await server.call("POST", f"{runs}/{run['id']}/input", json=given) == {"message": "ok"}
    await server.status(run["id"], "completed")
    assert (await server.call("GET", f"{runs}/{run['id']}"))["data"]["output"] == {"content": "Blue it is."}
    await server.call("POST", f"{runs}/{run['id']}/input", 400, json=given)


async def test_a_run_outlives_its_socket(app_server: Running) -> None:
    server, app = app_server, await deployed(app_server)
    gate = asyncio.Event()
    server.model.scripts = [[*answer("Do")[:1], gate, *answer("ne.")]]
    async with asyncio.timeout(20), connect(f"ws{server.url[4:]}{root(app)}", additional_headers=KEY) as socket:
        await socket.send(json.dumps(HI))
        run_id = json.loads(await socket.recv())["run_id"]
    gate.set()
    assert (await server.status(run_id, "completed"))["output"] == "Done."


async def test_who_may_open_a_socket(app_server: Running) -> None:
    server, app = app_server, await deployed(app_server)
    url = f"ws{server.url[4:]}"
    refused = (
        (root(app), {}, 401),
        (root(app), {"Authorization": "Bearer stoa_acc_" + "x" * 64}, 401),
        (f"/apps/{uuid4()}/", KEY, 403),
        ("/apps/none/", KEY, 404),
    )
    async with asyncio.timeout(20):
        for path, headers, status in refused:
            with pytest.raises(InvalidStatus) as error:
                await connect(f"{url}{path}", additional_headers=headers)
            assert error.value.response.status_code == status
            assert json.loads(error.value.response.body)["error"]["code"]
        await server.call("PATCH", f"/v1/apps/{app['id']}", json={"access_control": {"access_type": "public"}})
        async with connect(f"{url}{root(app)}") as socket:
            await socket.send(json.dumps(HI))
            assert json.loads(await socket.recv())["event"] == "data"


async def test_a_revoked_key_says_nothing_more(app_server: Running) -> None:
    server, app = app_server, await deployed(app_server)
    made = (await server.call("POST", "/v1/access-keys", 201, json={"name": "k"}))["data"]
    headers = {"Authorization": f"Bearer {made['key']}"}
    async with asyncio.timeout(20), connect(f"ws{server.url[4:]}{root(app)}", additional_headers=headers) as socket:
        await server.call("DELETE", f"/v1/access-keys/{made['id']}")
        await socket.send(json.dumps(HI))
        assert json.loads(await socket.recv())["error"]["code"] == "unauthorized"
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1008


# --- callbacks ------------------------------------------------------------------------------------------------------
async def called(server: Running, app: dict[str, Any], url: str, **fields: Any) -> dict[str, Any]:
    body = {**HI, "execution_mode": "async", "callbacks": [{"url": url, **fields}]}
    return dict(await server.call("POST", root(app), 202, json=body))


async def callback_of(server: Running, run_id: str, *wanted: str) -> dict[str, Any]:
    async with asyncio.timeout(15):
        while True:
            (one,) = (await server.call("GET", f"/v1/runs/{run_id}/callbacks"))["data"]
            if one["status"] in wanted:
                return dict(one)
            await asyncio.sleep(0.02)


async def due_now(server: Running) -> None:
    """What would be tried in a while is tried at once."""
    database = await asyncpg.connect(server.dsn)
    await database.execute("UPDATE callbacks SET not_before = now()")
    await database.execute("NOTIFY stoa_callbacks")
    await database.close()


async def test_a_callback_is_signed_and_carries_the_run(app_server: Running, service: Service) -> None:
    server, app = app_server, await deployed(app_server)
    secret = (await server.call("GET", f"/v1/apps/{app['id']}/signing-secret"))["data"]["secret"]
    auth = {"type": "bearer", "token": "hush-hush"}
    accepted = await called(server, app, f"{service.url}/hook", auth=auth, metadata={"order": 7})
    assert accepted["status"] == "accepted"
    await service.until_asked(1)
    line, headers, body = service.asked[0]
    assert line == "POST /hook"
    assert headers["authorization"] == "Bearer hush-hush"
    said = Webhook(secret).verify(body, headers)
    assert (said["type"], said["metadata"]) == ("run.completed", {"order": 7})
    assert said["data"]["id"] == accepted["id"]
    assert said["data"]["output"] == {"content": "Done."}
    one = await callback_of(server, accepted["id"], "delivered")
    assert (one["webhook_id"], one["url"]) == (headers["webhook-id"], f"{service.url}/hook")
    assert [(two["number"], two["status_code"]) for two in one["attempts"]] == [(1, 200)]
    assert "hush" not in json.dumps(one)
    listed = await server.call("GET", f"/v1/apps/{app['id']}/callbacks?status=delivered&status=failed")
    assert (listed["data"], listed["pagination"]["total_count"]) == ([one], 1)
    assert (await server.call("GET", f"/v1/apps/{app['id']}/callbacks?status=failed"))["data"] == []
    await server.call("GET", f"/v1/apps/{uuid4()}/callbacks", 404)
    on_host = await server.call("GET", f"/apps/{app['id']}/v1/runs/{accepted['id']}/callbacks")
    assert on_host["data"] == [one]


async def test_a_callback_is_tried_again_with_the_same_id_and_may_be_replayed(
    app_server: Running, service: Service
) -> None:
    server, app = app_server, await deployed(app_server)
    service.statuses["/hook"] = [503, 0, 302]
    run_id = (await called(server, app, f"{service.url}/hook"))["id"]
    for times in (1, 2, 3):
        await service.until_asked(times)
        await callback_of(server, run_id, "pending")
        await due_now(server)
    one = await callback_of(server, run_id, "delivered")
    assert [two.get("status_code") for two in one["attempts"]] == [503, None, 302, 200]
    assert [two["error"]["code"] for two in one["attempts"] if "error" in two] == ["refused", "unreachable", "refused"]
    await server.call("POST", f"/v1/runs/{run_id}/callbacks/{one['id']}/replay")
    await service.until_asked(5)
    assert {headers["webhook-id"] for _, headers, _ in service.asked} == {one["webhook_id"]}
    assert len({body for _, _, body in service.asked}) == 1, "what it says does not change"
    await callback_of(server, run_id, "delivered")
    on_host = f"/apps/{app['id']}/v1/runs/{run_id}/callbacks/{one['id']}/replay"
    assert await server.call("POST", on_host) == {"message": "ok"}
    await server.call("POST", f"/v1/runs/{run_id}/callbacks/{uuid4()}/replay", 404)


async def test_a_receiver_that_wants_no_more_gets_no_more(app_server: Running, service: Service) -> None:
    server, app = app_server, await deployed(app_server)
    service.statuses["/hook"] = [410]
    run_id = (await called(server, app, f"{service.url}/hook"))["id"]
    one = await callback_of(server, run_id, "failed")
    assert one["error"]["code"] == "refused"
    assert "410" in one["error"]["message"]


async def test_a_rotated_secret_signs_beside_the_one_before(app_server: Running, service: Service) -> None:
    server, app = app_server, await deployed(app_server)
    url = f"/v1/apps/{app['id']}/signing-secret"
    old = (await server.call("GET", url))["data"]
    new = (await server.call("POST", f"{url}/rotate"))["data"]
    assert new["secret"] != old["secret"]
    assert new["previous_expires_at"]
    assert (await server.call("GET", url))["data"] == new
    await called(server, app, f"{service.url}/hook")
    await service.until_asked(1)
    _, headers, body = service.asked[0]
    for secret in (old["secret"], new["secret"]):
        assert Webhook(secret).verify(body, headers)
    await server.call("GET", f"/v1/apps/{uuid4()}/signing-secret", 404)


async def test_callbacks_go_with_their_run_and_app(app_server: Running, service: Service) -> None:
    server, app = app_server, await deployed(app_server)
    run_id = (await called(server, app, f"{service.url}/hook"))["id"]
    one = await callback_of(server, run_id, "delivered")
    run = (await server.call("GET", f"/v1/runs/{run_id}"))["data"]
    gone = await server.call("DELETE", f"/v1/conversations/{run['conversation_id']}")
    receipt = (await server.call("GET", f"/v1/deletions/{gone['deletion_id']}"))["data"]
    assert receipt["stores"]["callbacks"]["rows"] == 1
    await server.call("GET", f"/v1/runs/{run_id}/callbacks", 404)
    database = await asyncpg.connect(server.dsn)
    left = await database.fetchval(
        "SELECT count(*) FROM callback_attempts a FULL JOIN callbacks c ON c.id = a.callback_id"
        " WHERE a.callback_id = $1 OR c.id = $1",
        UUID(one["id"]),
    )
    await database.close()
    assert left == 0


async def test_what_callbacks_may_be(app_server: Running, service: Service) -> None:
    server, app = app_server, await deployed(app_server)
    good = {"url": f"{service.url}/hook"}
    asynchronous = {**HI, "execution_mode": "async"}
    for body, where in (
        ({**HI, "callbacks": [good]}, "callbacks"),
        ({**asynchronous, "callbacks": [good] * 6}, "callbacks"),
        ({**asynchronous, "callbacks": [good, {"url": "ftp://x/"}]}, "callbacks[1].url"),
        ({**asynchronous, "callbacks": [{**good, "auth": {"type": "basic", "token": "x"}}]}, "callbacks[0].auth.type"),
        ({**asynchronous, "stream": True}, "stream"),
    ):
        refused = await server.call("POST", root(app), 400, json=body)
        assert where in refused["error"]["details"], refused
    await server.call("PATCH", f"/v1/apps/{app['id']}", json={"access_control": {"access_type": "public"}})
    async with httpx.AsyncClient(verify=NO_AUTHORITIES, base_url=server.url, timeout=30) as anybody:
        body = {**asynchronous, "callbacks": [good]}
        assert (await anybody.post(root(app), json=body)).status_code == 403, "a public app is no relay"
        assert (await anybody.post(root(app), json=asynchronous)).status_code == 202
    assert service.asked == []


async def test_a_private_address_is_not_called(running: Running, service: Service) -> None:
    """Without the operator's setting: neither plain http, nor a name or number that leads inward."""
    server, app = running, await deployed(running)
    body = {**HI, "execution_mode": "async"}
    await server.call("POST", root(app), 400, json={**body, "callbacks": [{"url": f"{service.url}/hook"}]})
    port = service.url.rsplit(":", 1)[1]
    for host in ("127.0.0.1", "2130706433", "[::ffff:127.0.0.1]", "169.254.169.254"):
        refused = {**body, "callbacks": [{"url": f"https://{host}:{port}/hook"}]}
        await server.call("POST", root(app), 400, json=refused)
    run_id = (await called(server, app, f"https://localhost:{port}/hook"))["id"]
    one = await callback_of(server, run_id, "failed")
    assert one["error"]["code"] == "address_refused"
    assert service.asked == []
