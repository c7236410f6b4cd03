"""The Runs API on an app's own host, its root, and `POST /v1/apps/{app_id}/invoke`: sessions, files, and who may."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from stoa.gateway import Capabilities
from tests.conftest import Running, shared
from tests.support.apps import deployed
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel, answer
from tests.support.running import NO_AUTHORITIES


@pytest.fixture(scope="module")
async def one_server(cluster: Databases, room: Path) -> AsyncIterator[Running]:
    model = ScriptedModel([answer("Done.")], Capabilities(images=False, tools=True))
    async with shared(cluster, room, model) as server:
        yield server


@pytest.fixture
def app_server(one_server: Running) -> Running:
    """Each test deploys apps of its own."""
    one_server.model.begin_anew()
    return one_server


def path(app: dict[str, Any], below: str = "/v1/runs") -> str:
    return f"/apps/{app['id']}{below}"


async def run(server: Running, app: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return dict((await server.call("POST", path(app), json={"input": {"input": "Hi"}, **fields}))["data"])


async def test_a_run_is_waited_for_streamed_or_left_alone(app_server: Running) -> None:
    server, app = app_server, await deployed(app_server)
    done = await run(server, app)
    assert (done["status"], done["output"], done["app_id"]) == ("completed", {"content": "Done."}, app["id"])
    assert done["input"] == {"input": "Hi"}
    assert "session_id" not in done
    left = (await server.call("POST", path(app), 202, json={"input": {"input": "Hi"}, "background": True}))["data"]
    assert left["status"] == "created", "as it was begun, however far it has come since"
    await server.status(left["id"], "completed")
    streamed = await server.client.post(path(app), json={"input": {"input": "Hi"}, "stream": True})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    run_id = streamed.headers["stoa-run-id"]
    assert "event: run.completed" in streamed.text
    assert (await server.client.get(path(app, f"/v1/runs/{run_id}/stream"))).text == streamed.text
    rest = await server.client.get(path(app, f"/v1/runs/{run_id}/stream?after_sequence=1"))
    assert streamed.text.endswith(rest.text)
    assert (await server.client.get(path(app, f"/v1/runs/{run_id}/stream?after_sequence=0"))).status_code == 400
    events = (await server.call("GET", path(app, f"/v1/runs/{run_id}/events")))["data"]
    assert events == await server.events(run_id)
    both = await server.call("POST", path(app), 400, json={"input": {}, "stream": True, "background": True})
    assert "background" in str(both["error"])
    assert await server.call("POST", path(app, f"/v1/runs/{run_id}/cancel")) == {"message": "canceled"}


async def test_the_agent_s_definition_is_what_the_model_reads(app_server: Running) -> None:
    server, app = app_server, await deployed(app_server)
    await run(server, app, input={"question": "Why?"})
    request = server.model.requests[-1]
    assert request.instructions == "You answer questions about tickets."
    assert [part.text for part in request.messages[-1].parts] == ["Why?"]
    await run(server, app, input={"a": 1, "b": "two"})
    assert orjson.loads(server.model.requests[-1].messages[-1].parts[0].text) == {"a": 1, "b": "two"}


async def test_runs_of_a_session_see_what_was_said_before(app_server: Running) -> None:
    server, app = app_server, await deployed(app_server)
    session = {"user_id": "u-1", "session_id": "01890a5d-ac96-774b-bcce-b302099a8057"}
    first = await run(server, app, **session)
    second = await run(server, app, **session)
    assert first["conversation_id"] == second["conversation_id"]
    assert (second["user_id"], second["session_id"]) == (session["user_id"], session["session_id"])
    assert len(server.model.requests[-1].messages) == 3
    other = await run(server, app, **session | {"user_id": "u-2"})
    assert other["conversation_id"] != first["conversation_id"]
    alone = await run(server, app)
    assert alone["conversation_id"] not in (first["conversation_id"], other["conversation_id"])
    assert len(server.model.requests[-1].messages) == 1
    listed = (await server.call("GET", path(app, f"/v1/runs?session_id={session['session_id']}&user_id=u-1")))["data"]
    assert [one["id"] for one in listed] == [second["id"], first["id"]]
    assert (await server.call("GET", path(app, "/v1/runs?status=failed")))["data"] == []
    assert (await server.call("GET", path(app, "/v1/runs?status=awaiting_input")))["data"] == []
    conversation = (await server.call("GET", f"/v1/conversations/{first['conversation_id']}"))["data"]
    assert conversation["app"]["name"] == "Tickets"
    assert (conversation["app_id"], conversation["session_id"]) == (app["id"], session["session_id"])
    assert conversation["message_count"] == 4


async def test_an_agent_without_memory_sees_its_input_alone(app_server: Running) -> None:
    server = app_server
    app = await deployed(server, {"agent": {"model": "stoa-extractive", "memory": False}})
    session = {"session_id": "01890a5d-ac96-774b-bcce-b302099a8057"}
    await run(server, app, **session)
    await run(server, app, **session)
    assert len(server.model.requests[-1].messages) == 1


async def test_a_conversation_with_an_app(app_server: Running) -> None:
    server, app = app_server, await deployed(app_server)
    made = (await server.call("POST", "/v1/conversations", 201, json={"app_id": app["id"], "title": "T"}))["data"]
    assert "model_id" not in made
    done = await server.ask(made["id"])
    assert done["status"] == "completed"
    shown = (await server.call("GET", path(app, f"/v1/runs/{done['id']}")))["data"]
    assert shown["output"] == {"content": "Done."}
    assert server.model.requests[-1].instructions == "You answer questions about tickets."
    model_id = await server.model_id()
    url = f"/v3/conversations/{made['id']}/messages"
    refused = await server.call("POST", url, 400, json={"content": "Hi", "model_id": model_id})
    assert "model_id" in refused["error"]["details"]
    await server.call("PATCH", f"/v1/conversations/{made['id']}", 400, json={"agent": {"instructions": "x"}})
    both = {"app_id": app["id"], "agent": {"instructions": "x"}}
    await server.call("POST", "/v1/conversations", 400, json=both)
    await server.call("POST", "/v1/conversations", 400, json={"app_id": model_id})
    await server.call("POST", f"/v1/apps/{app['id']}/archive")
    assert "archived" in (await server.call("POST", url, 409, json={"content": "Hi"}))["error"]["message"]
    assert (await server.call("POST", path(app), 409, json={"input": {}}))["error"]["code"] == "conflict"
    await server.call("POST", f"/v1/apps/{app['id']}/restore")
    assert (await server.ask(made["id"]))["status"] == "completed"
    await server.call("DELETE", f"/v1/apps/{app['id']}")
    assert "deleted" in (await server.call("POST", url, 409, json={"content": "Hi"}))["error"]["message"]
    assert len((await server.call("GET", f"/v1/conversations/{made['id']}/messages"))["data"]) == 4


async def test_a_deployment_reaches_only_runs_that_begin_after_it(app_server: Running) -> None:
    server, app = app_server, await deployed(app_server)
    flow = {"agent": {"model": "stoa-extractive", "instructions": "Be brief."}}
    url = f"/v1/workflows/{app['workflow_id']}/release"
    await server.call("POST", url, 201, json={"name": "brief", "flow": flow, "flow_ui": {}})
    await run(server, app)
    assert server.model.requests[-1].instructions == "You answer questions about tickets."
    await server.call("POST", f"/v1/apps/{app['id']}/deploy", json={"workflow_id": app["workflow_id"]})
    await run(server, app)
    assert server.model.requests[-1].instructions == "Be brief."


async def test_files_as_ids_and_in_a_form(app_server: Running) -> None:
    server, app = app_server, await deployed(app_server)
    file = (await server.call("POST", path(app, "/v1/files"), 201, files={"file": ("a.txt", b"The sky is green.")}))[
        "data"
    ]
    assert (file["name"], file["size"]) == ("a.txt", 17)
    await run(server, app, file_ids=[file["id"]])
    assert "The sky is green." in str(server.model.requests[-1].messages[-1].parts)
    form = {"input": '{"input": "Hi"}', "user_id": "u-1", "session_id": "01890a5d-ac96-774b-bcce-b302099a8057"}
    sent = await server.call("POST", path(app), data=form, files=[("files", ("b.txt", b"The sea is red."))])
    assert sent["data"]["status"] == "completed"
    assert sent["data"]["user_id"] == "u-1"
    assert "The sea is red." in str(server.model.requests[-1].messages[-1].parts)
    other = await deployed(server)
    refused = await server.call("POST", path(other), 400, json={"input": {"input": "Hi"}, "file_ids": [file["id"]]})
    assert "file" in str(refused["error"]["details"])
    await server.call("POST", path(app, "/v1/files"), 400, files={"other": ("a.txt", b"x")})
    assert (await server.client.post(path(app), data={"input": "{}"})).status_code == 415
    bad = await server.client.post(path(app), data={"input": "nothing"}, files={"files": ("a.txt", b"x")})
    assert (bad.status_code, list(bad.json()["error"]["details"])) == (400, ["input"])
    missing = await server.client.post(path(app), files={"files": ("a.txt", b"x")})
    assert missing.json()["error"]["details"] == {"input": "is required"}


async def test_the_same_request_runs_once(app_server: Running) -> None:
    server, app = app_server, await deployed(app_server)
    key = {"Idempotency-Key": "once"}
    ids = {(await server.call("POST", path(app), json={"input": {}}, headers=key))["data"]["id"] for _ in range(3)}
    assert len(ids) == 1
    await server.call("POST", path(app), 409, json={"input": {"a": 1}}, headers=key)


async def test_who_may_use_an_app(app_server: Running) -> None:
    server, app = app_server, await deployed(app_server)
    other = (await server.call("POST", "/v1/projects", 201, json={"name": "Other"}))["data"]["id"]

    async def key(**fields: Any) -> dict[str, str]:
        made = await server.call("POST", "/v1/access-keys", 201, json={"name": "k", **fields})
        return {"Authorization": f"Bearer {made['data']['key']}"}

    own, stranger = await key(project_id=app["project_id"]), await key(project_id=other)
    reader = await key(permissions=["apps:read"])
    body: dict[str, Any] = {"json": {"input": {}}}
    nobody = {"Authorization": ""}
    assert (await server.client.post(path(app), headers=own, **body)).status_code == 200
    assert (await server.client.post(path(app), headers=stranger, **body)).status_code == 403
    assert (await server.client.post(path(app), headers=reader, **body)).status_code == 403
    assert (await server.client.post(path(app), headers=nobody, **body)).status_code == 401
    assert (await server.client.post("/apps/none/v1/runs", **body)).status_code == 404
    by_name = {"Host": f"{app['id']}.apps.localhost"}
    assert (await server.client.post("/v1/runs", headers=own | by_name, **body)).status_code == 200
    second = await deployed(server)
    done = await run(server, app)
    assert (await server.client.get(path(second, f"/v1/runs/{done['id']}"))).status_code == 404
    assert (await server.client.get(path(second, f"/v1/runs/{done['id']}/events"))).status_code == 404
    assert (await server.client.post(path(second, f"/v1/runs/{done['id']}/cancel"))).status_code == 404


async def test_a_public_app_needs_no_credential(app_server: Running) -> None:
    server = app_server
    app = await deployed(server, access_control={"access_type": "public"})
    async with httpx.AsyncClient(verify=NO_AUTHORITIES, base_url=server.url, timeout=30) as anybody:
        done = (await anybody.post(path(app), json={"input": {"input": "Hi"}})).json()["data"]
        assert done["status"] == "completed"
        assert (await anybody.get(path(app, f"/v1/runs/{done['id']}"))).json()["data"]["id"] == done["id"]
        assert (await anybody.get(path(app, f"/v1/runs/{done['id']}/stream"))).status_code == 200
        assert (await anybody.get(path(app))).status_code == 403
        await server.call("PATCH", f"/v1/apps/{app['id']}", json={"access_control": {"access_type": "private"}})
        assert (await anybody.post(path(app), json={"input": {}})).status_code == 401


async def test_the_root_and_invoke(app_server: Running) -> None:
    """`POST /` on its host, and `/v1/apps/ID/invoke` on the api host."""
    server, app = app_server, await deployed(app_server)
    done = await server.call("POST", path(app, "/"), json={"input": {"input": "Hi"}})
    assert {"id": done["id"], "status": "completed", "output": {"content": "Done."}} == done
    form = {"input": '{"input": "Hi"}', "stream": "false", "user_id": "u-1"}
    sent = await server.call("POST", path(app, "/"), data=form, files=[("files", ("b.txt", b"The sea is red."))])
    assert (await server.call("GET", path(app, f"/v1/runs/{sent['id']}")))["data"]["user_id"] == "u-1"
    left = await server.call("POST", path(app, "/"), 202, json={"input": {}, "execution_mode": "async"})
    assert left["status"] == "accepted"
    await server.status(left["id"], "completed")
    refused = {"input": {}, "callbacks": [{"url": "https://example.com/"}]}
    await server.call("POST", path(app, "/"), 400, json=refused)
    assert (await server.client.post(path(app, "/"), data={"input": "{}"})).status_code == 415
    invoked = (await server.call("POST", f"/v1/apps/{app['id']}/invoke", json={"question": "Why?"}))["data"]
    assert (invoked["input"], invoked["output"]) == ({"question": "Why?"}, {"content": "Done."})
    for wrong in ([1], "text", None):
        await server.call("POST", f"/v1/apps/{app['id']}/invoke", 400, json=wrong)
    await server.call("POST", f"/v1/apps/{app['project_id']}/invoke", 404, json={})
    nobody = {"Authorization": ""}
    assert (await server.client.post(f"/v1/apps/{app['id']}/invoke", json={}, headers=nobody)).status_code == 401


async def test_runs_of_one_session_at_once_wait_for_one_another(app_server: Running) -> None:
    """The session is new: one request opens its conversation, the others find it."""
    server, app = app_server, await deployed(app_server)
    session = {"session_id": "01890a5d-ac96-774b-bcce-b302099a8057"}
    async with asyncio.timeout(30):
        done = await asyncio.gather(*(run(server, app, **session) for _ in range(6)))
    assert {one["status"] for one in done} == {"completed"}
    assert len({one["conversation_id"] for one in done}) == 1
    conversation = (await server.call("GET", f"/v1/conversations/{done[0]['conversation_id']}"))["data"]
    assert conversation["message_count"] == 12
    assert sorted(len(request.messages) for request in server.model.requests) == [1, 3, 5, 7, 9, 11]
