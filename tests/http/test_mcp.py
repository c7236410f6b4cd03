"""MCP servers over HTTP: declared, defined, listed, called by an agent, and what happens when they are away."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from stoa.gateway import Capabilities
from stoa.settings import McpServer, Settings
from stoa.tools import offers
from tests.conftest import Running, serving
from tests.support.doubles import ScriptedModel, answer, calling, until
from tests.support.mcp_servers import Diary, Web, build, over_http
from tests.support.services import SECRET

BAD = str(Path(__file__).parents[1] / "support" / "bad_mcp.py")
Serve = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def serve(dsn: str, tmp_path: Path) -> Serve:
    """A server that has declared a program, which does what `mode` says."""

    @asynccontextmanager
    async def made(mode: str = "good", **settings: Any) -> AsyncGenerator[Running]:
        declared = McpServer(
            name="declared", command=sys.executable, args=("-S", "-E", BAD, mode, str(tmp_path / "diary"))
        )
        model = ScriptedModel([answer("Done.")], Capabilities(images=False, tools=True, context_tokens=8_000))
        options = {"allow_private_addresses": True, **settings}
        async with serving(dsn, tmp_path / "data", model, mcp_servers=(declared,), **options) as server:
            yield server

    return made


def mcp(name: str = "things", **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "type": "mcp",
        "description": "A server of things.",
        "config": {"server": "declared"},
        **fields,
    }


async def ask(server: Running, tool: str, arguments: dict[str, Any], **agent: Any) -> tuple[Any, list[dict[str, Any]]]:
    server.model.requests.clear()
    server.model.scripts = [calling((tool, json.dumps(arguments))), answer("Done.")]
    run = await server.ask(await server.conversation(agent={"tools": ["things"], **agent}))
    return run, await server.events(run["id"])


def call_of(events: list[dict[str, Any]]) -> dict[str, Any]:
    (event,) = [one["data"] for one in events if one["type"] in ("agent.tool_call.completed", "agent.tool_call.failed")]
    return event


async def test_an_agent_calls_a_declared_server(serve: Serve, tmp_path: Path) -> None:
    async with serve() as server:
        made = (await server.call("POST", "/v1/tools", 201, json=mcp()))["data"]
        assert [(offer["name"], offer["tool"], offer["idempotent"]) for offer in made["offers"]] == [
            ("things__touch", "touch", False)
        ]
        assert "listed_at" in made
        assert "problem" not in made
        run, events = await ask(server, "things__touch", {"text": "wood"})
        assert (run["status"], run["output"]) == ("completed", "Done.")
        kinds = [event["type"] for event in events]
        assert kinds[0] == "run.started"
        assert [kind for kind in kinds if "tool_call" in kind and "delta" not in kind] == [
            "agent.tool_call.started",
            "agent.tool_call.completed",
        ]
        begun = next(event["data"] for event in events if event["type"] == "agent.tool_call.started")
        assert call_of(events) == {**begun, "input": {"text": "wood"}, "result": "touched wood", "iteration": 1}
        assert begun["tool"] == {"name": "things__touch", "type": "mcp"}
        (line,) = (await server.call("GET", f"/v1/runs/{run['id']}/tool-calls"))["data"]
        assert (line["type"], line["status"]) == ("mcp", "completed")
        assert Diary(tmp_path / "diary").lines()[1] == f"call {begun['id']}", "the ledger's key goes with the call"
        spec = server.model.requests[0].tools[0]
        assert (spec.name, spec.parameters["properties"]) == ("things__touch", {"text": {"type": "string"}})
        # One session for all of them; it ends with the server.
        await ask(server, "things__touch", {})
        pids = [line for line in Diary(tmp_path / "diary").lines() if line.startswith("started")]
        assert len(pids) == 1
    assert Diary(tmp_path / "diary").lines()[-1] == "stdin closed"


async def test_single_tools_approvals_and_filters(serve: Serve) -> None:
    async with serve("changes") as server:
        await server.call("POST", "/v1/tools", 201, json=mcp())
        await ask(server, "things__touch", {})
        # The server has said that it offers more; the next run knows.
        await ask(server, "things__touch", {})
        assert [tool.name for tool in server.model.requests[0].tools] == ["things__touch", "things__again"]
        listed = (await server.call("GET", "/v1/tools"))["data"][0]
        assert [offer["tool"] for offer in listed["offers"]] == ["touch", "again"]
        # One tool of it alone, by agent and by message; a person before another.
        await ask(server, "things__touch", {}, tools=["things__again"])
        assert [tool.name for tool in server.model.requests[0].tools] == ["things__again"]
        model_id = await server.model_id()
        agent: dict[str, Any] = {"tools": ["nothing__again"]}
        refused = await server.call("POST", "/v1/conversations", 400, json={"model_id": model_id, "agent": agent})
        assert list(refused["error"]["details"]) == ["agent.tools[0]"]
        run, _ = await ask(server, "things__again", {}, approvals=["things__again"])
        assert (run["status"], run["input_requests"][0]["prompt"]) == (
            "paused",
            "Allow the call of things__again with these arguments?",
        )
        conversation = await server.conversation(agent={"tools": ["things"]})
        server.model.requests.clear()
        server.model.scripts = [answer("Nothing to do.")]
        await server.ask(conversation, tools=["things__touch"])
        assert [tool.name for tool in server.model.requests[0].tools] == ["things__touch"]
        refused = await server.call(
            "POST", f"/v3/conversations/{conversation}/messages", 400, json={"content": "Hi", "tools": ["other__touch"]}
        )
        assert list(refused["error"]["details"]) == ["tools[0]"]
        # Only these of the server's.
        patched = await server.call(
            "PATCH",
            f"/v1/tools/{listed['id']}",
            json={"config": {"server": "declared", "tools": ["touch"]}, "idempotent": True},
        )
        assert (patched["data"]["description"], patched["data"]["idempotent"]) == ("A server of things.", True)
        assert [offer["idempotent"] for offer in patched["data"]["offers"]] == [True]
        await ask(server, "things__touch", {})
        assert [tool.name for tool in server.model.requests[0].tools] == ["things__touch"]


async def test_what_was_listed_long_ago_is_asked_for_beside_the_run(serve: Serve) -> None:
    async with serve() as server:
        made = (await server.call("POST", "/v1/tools", 201, json=mcp()))["data"]
        database = await asyncpg.connect(server.dsn)
        await database.execute("UPDATE tools SET listed_at = now() - interval '1 hour', problem = 'an old one'")
        await database.close()
        run, _ = await ask(server, "things__touch", {})
        assert run["status"] == "completed"
        async with asyncio.timeout(5):
            while (now := (await server.call("GET", f"/v1/tools/{made['id']}"))["data"]).get("problem"):
                await asyncio.sleep(0.02)
        assert now["listed_at"] > made["listed_at"]


async def test_a_server_that_is_slow_to_answer_holds_up_no_request(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offers, "ANSWER_SECONDS_MAX", 0.2)
    async with serve("late") as server:
        made = (await server.call("POST", "/v1/tools", 201, json=mcp()))["data"]
        assert (made.get("offers"), made["problem"]) == (None, offers.NO_ANSWER_YET)
        (tmp_path / "diary.ready").touch()
        async with asyncio.timeout(10):
            while not (now := (await server.call("GET", f"/v1/tools/{made['id']}"))["data"]).get("offers"):
                await asyncio.sleep(0.02)
        assert "problem" not in now
        assert len([line for line in Diary(tmp_path / "diary").lines() if line.startswith("started")]) == 1


async def test_a_server_over_http(serve: Serve, tmp_path: Path) -> None:
    async with serve() as server, over_http(build(Diary(tmp_path / "web")).streamable_http_app()) as web:
        config = {"url": f"{web.url}/mcp", "headers": {"Authorization": "Bearer {{secret.token}}"}}
        made = (await server.call("POST", "/v1/tools", 201, json=mcp(config=config, secrets={"token": SECRET})))["data"]
        assert {offer["tool"]: offer["idempotent"] for offer in made["offers"]} == {
            "echo": True,
            "slow": False,
            "fail": False,
            "long": False,
            "weather": True,
            "media.show": False,
        }
        assert {headers.get("authorization") for headers in web.headers} == {f"Bearer {SECRET}"}
        _, events = await ask(server, "things__echo", {"text": f"I know {SECRET}."})
        assert call_of(events)["result"] == "I know [secret]."
        listed = json.dumps(await server.call("GET", "/v1/tools")) + json.dumps(
            await server.call("GET", f"/v1/tools/{made['id']}")
        )
        assert SECRET not in listed
        tried = (
            await server.call(
                "POST", f"/v1/tools/{made['id']}/test", json={"tool": "weather", "arguments": {"city": "Oslo"}}
            )
        )["data"]
        assert json.loads(tried["result"]) == {"city": "Oslo", "degrees": 21}
        tried = (await server.call("POST", f"/v1/tools/{made['id']}/test", json={"tool": "fail"}))["data"]
        assert tried["error"]["code"] == "tool_failed"
        refused = await server.call("POST", f"/v1/tools/{made['id']}/test", 400, json={"tool": "nothing"})
        assert "things__weather" in refused["error"]["details"]["tool"]
        # A cancelled run cancels the call at the server.
        server.model.scripts = [calling(("things__slow", "{}"))]
        server.model.requests.clear()
        conversation = await server.conversation(agent={"tools": ["things"]})
        run = (
            await server.call(
                "POST", f"/v3/conversations/{conversation}/messages", 202, json={"content": "Go", "background": True}
            )
        )["data"]
        diary = Diary(tmp_path / "web")
        await until(lambda: "slow begun" in diary.lines())
        await server.call("POST", f"/v1/runs/{run['id']}/cancel")
        await until(lambda: "slow cancelled" in diary.lines(), 1)


async def test_an_unreachable_server_and_a_lost_session(serve: Serve, tmp_path: Path) -> None:
    async with serve() as server:
        async with over_http(build(Diary(tmp_path / "web")).streamable_http_app()) as web:
            made = (await server.call("POST", "/v1/tools", 201, json=mcp(config={"url": f"{web.url}/mcp"})))["data"]
            port = int(web.url.rsplit(":", 1)[1])
        # Away: what it offered is still known, so the model is told by the call.
        _, events = await ask(server, "things__echo", {"text": "hi"})
        assert call_of(events)["error"]["code"] == "tool_unreachable"
        away = (await server.call("POST", f"/v1/tools/{made['id']}/refresh"))["data"]
        assert ("cannot be reached" in away["problem"], len(away["offers"])) == (True, 6)
        # Back, on the same port: it knows nothing of the old session.
        async with again(Diary(tmp_path / "web"), port):
            back = (await server.call("POST", f"/v1/tools/{made['id']}/refresh"))["data"]
            assert "problem" not in back
            _, events = await ask(server, "things__echo", {"text": "hi"})
            assert call_of(events)["result"] == "hi"
        async with again(Diary(tmp_path / "web"), port):
            _, events = await ask(server, "things__echo", {"text": "once more"})
            assert call_of(events)["result"] == "once more", call_of(events)


@asynccontextmanager
async def again(diary: Diary, port: int) -> AsyncGenerator[Web]:
    async with over_http(build(diary).streamable_http_app(), port) as web:
        yield web


async def test_private_addresses_are_refused(serve: Serve, tmp_path: Path) -> None:
    async with (
        serve(allow_private_addresses=False) as server,
        over_http(build(Diary(tmp_path / "web")).streamable_http_app()) as web,
    ):
        port = web.url.rsplit(":", 1)[1]
        for host in ("127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"):
            made = (await server.call("POST", "/v1/tools", 201, json=mcp(config={"url": f"http://{host}:{port}/mcp"})))[
                "data"
            ]
            assert "private" in made["problem"] or "cannot be reached" in made["problem"], made
            assert "offers" not in made
            run, events = await ask(server, "things__echo", {"text": "hi"})
            assert (run["status"], call_of(events)["error"]["code"]) == ("completed", "tool_unknown")
            await server.call("DELETE", f"/v1/tools/{made['id']}")
        assert web.headers == []


async def test_a_redirect_to_elsewhere_is_not_followed(serve: Serve) -> None:
    elsewhere: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            elsewhere.append(scope["path"])
            await send(
                {"type": "http.response.start", "status": 307, "headers": [(b"location", b"http://localhost:1/mcp")]}
            )
            await send({"type": "http.response.body", "body": b""})

    async with serve() as server, over_http(app) as web:
        made = (await server.call("POST", "/v1/tools", 201, json=mcp(config={"url": f"{web.url}/mcp"})))["data"]
        assert "not followed" in made["problem"], made
        assert set(elsewhere) == {"/mcp"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"config": {"server": "undeclared"}}, "config.server"),
        ({"config": {}}, "config.url"),
        ({"config": {"server": "declared", "url": "https://example.com"}}, "config.url"),
        ({"config": {"url": "ftp://example.com"}}, "config.url"),
        ({"config": {"command": "rm", "args": ["-rf"]}}, "config.command"),
        ({"name": "a__b"}, "name"),
        ({"name": "ends_"}, "name"),
        ({"name": "x" * 40}, "name"),
        ({"config": {"server": "declared", "headers": {"X": "y"}}}, "config.headers"),
        (
            {"config": {"url": "https://example.com", "headers": {"Mcp-Session-Id": "y"}}},
            "config.headers.Mcp-Session-Id",
        ),
        ({"config": {"url": "https://example.com", "headers": {"X": "{{secret.none}}"}}}, "config.headers.X"),
    ],
)
async def test_definitions_that_cannot_be(shared_server: Running, change: dict[str, Any], named: str) -> None:
    refused = await shared_server.call(
        "POST", "/v1/tools", 400, json={**mcp(config={"url": "https://example.com"}), **change}
    )
    assert named in refused["error"]["details"], refused


def test_servers_are_declared_once_and_whole() -> None:
    with pytest.raises(ValueError, match="twice"):
        Settings(mcp_servers=(McpServer(name="a", command="x"), McpServer(name="a", command="y")))
    assert "hush" not in repr(McpServer.model_validate({"name": "a", "command": "x", "env": {"TOKEN": "hush"}}))
