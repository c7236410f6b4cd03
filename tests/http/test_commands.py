"""The commands that manage a server over its API: as tables, as JSON, and with the codes that they end with."""

import json
import stat
import uuid
from pathlib import Path
from typing import Any

import pytest

from stoa.gateway import Capabilities
from tests.conftest import Running, serving
from tests.support.doubles import ScriptedModel, ScriptedTool, ScriptedToolbox, answer, calling
from tests.support.terminal import Terminal


@pytest.fixture
def stoa(shared_server: Running) -> Terminal:
    return Terminal(shared_server)


async def test_a_conversation_from_its_beginning_to_its_receipt(stoa: Terminal, shared_server: Running) -> None:
    conversation = (await stoa("conversations", "create", "--title", "Tea [/b] \x1b[2J")).strip()
    assert (await stoa("ask", "What is tea?", "--conversation", conversation)) == "Hello there.\n"
    listed = await stoa("conversations", "list")
    assert conversation in listed
    assert "Tea [/b] \N{REPLACEMENT CHARACTER}[2J" in listed, "a title cannot clear the screen"
    assert json.loads(await stoa("conversations", "list", "--json"))[0]["id"] == conversation
    said = await stoa("conversations", "show", conversation)
    assert [said.count(words) for words in ("user", "What is tea?", "assistant", "Hello there.")] == [1, 1, 1, 1]
    (run,) = json.loads(await stoa("runs", "list", "--json", "--limit", "1"))
    assert "Hello there." in await stoa("runs", "show", run["id"])
    assert "Hello there." in await stoa("runs", "follow", run["id"])
    kinds = [json.loads(line)["type"] for line in (await stoa("runs", "events", run["id"])).splitlines()]
    assert (kinds[0], kinds[-1]) == ("run.started", "run.completed")
    assert "canceled" in await stoa("runs", "cancel", run["id"])
    assert "waits for no answer" in await stoa("runs", "answer", run["id"], "x", status=1)
    assert "It called no tools." in await stoa("runs", "tool-calls", run["id"])
    assert "runs" in json.loads(await stoa("traces", "show", run["id"], "--json"))
    assert run["id"] in await stoa("traces", "list", "--all")
    assert run["id"] not in await stoa("traces", "list", "--query", "no such words", "--all")
    same = json.loads(await stoa("traces", "diff", run["id"], run["id"], "--json"))
    assert {one["change"] for one in same["steps"]} == {"same"}
    await stoa("conversations", "rename", conversation, "Coffee")
    assert "Coffee" in await stoa("conversations", "list")
    receipt = json.loads(await stoa("conversations", "delete", conversation, "--yes"))
    assert receipt["stores"]["messages"]["rows"] == 2
    assert "There is no" in await stoa("conversations", "show", conversation, status=1)


async def test_asking(stoa: Terminal, shared_server: Running, tmp_path: Path) -> None:
    run = json.loads(await stoa("ask", "Hi", "--json"))
    assert (run["status"], run["output"]) == ("completed", "Hello there.")
    events = [json.loads(line) for line in (await stoa("ask", "Hi", "--events")).splitlines()]
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    (tmp_path / "note.md").write_text("# Note\n\nBees live in hives.")
    assert "Hello there." in await stoa("ask", "Read it", "--file", str(tmp_path / "note.md"), "--forget")
    refused = await stoa("ask", "Hi", "--model", "nothing", status=1)
    assert "There is no model nothing. These are there: stoa-extractive" in refused
    assert "Ask something" in await stoa("ask", " ", status=2)
    assert "needs a terminal" in await stoa("chat", status=2)


async def test_a_failed_run_ends_with_1_and_says_why(dsn: str, tmp_path: Path) -> None:
    from stoa.gateway import ModelError  # noqa: PLC0415 — for this test alone

    model = ScriptedModel([[ModelError("model_refused", "The model says no.", retryable=False)]])
    async with serving(dsn, tmp_path, model) as server:
        assert "The model says no." in await Terminal(server)("ask", "Hi", status=1)


async def test_an_approval_is_answered_by_command(dsn: str, tmp_path: Path) -> None:
    pay = ScriptedTool("pay", approval=True, editable_params=["amount"])
    scripts: list[Any] = [calling(("pay", '{"amount": 5}')), answer("Paid.")]
    model = ScriptedModel(scripts, Capabilities(images=True, tools=True, context_tokens=8_000))
    async with serving(dsn, tmp_path, model, toolbox=ScriptedToolbox(pay)) as server:
        stoa = Terminal(server)
        conversation = await server.conversation(agent={"tools": ["pay"]})
        said = await stoa("ask", "Pay 5", "--conversation", conversation, status=6)
        assert "waits for a person" in said
        (run,) = json.loads(await stoa("runs", "list", "--status", "awaiting_input", "--json"))
        assert "waits for an answer" in await stoa("runs", "show", run["id"])
        assert "--approve or --decline" in await stoa("runs", "answer", run["id"], status=2)
        assert "it goes on" in await stoa("runs", "answer", run["id"], "--approve")
        await server.status(run["id"], "completed")
        assert "Paid." in await stoa("runs", "follow", run["id"])
        assert "pay" in await stoa("runs", "tool-calls", run["id"])
        assert len(pay.made) == 1


async def test_keys_models_usage_and_people(stoa: Terminal) -> None:
    made = json.loads(await stoa("keys", "create", "ci", "--permission", "runs:read", "--json"))
    assert made["key"].startswith("stoa_acc_")
    assert made["id"] in await stoa("keys", "list")
    assert "stoa-extractive" in await stoa("models", "list")
    assert "stoa-extractive" in await stoa("models", "facts")
    assert "There are no connections" in await stoa("models", "connections")
    private = ("models", "connect", "mine", "openai", "--base-url", "http://127.0.0.1:9/v1")
    assert "private address" in await stoa(*private, status=1, STOA_SECRET_API_KEY="x")
    assert "There is no connection named mine" in await stoa("models", "disconnect", "mine", "--yes", status=1)
    await stoa("ask", "Hi")
    assert sum(one["calls"] for one in json.loads(await stoa("usage", "--json"))) >= 1
    assert "key_id" in await stoa("usage", "--by", "key_id")
    assert "cannot be 'moon'" in await stoa("usage", "--by", "moon", status=1)
    assert "Invite somebody" in await stoa("users", "list")
    assert (await stoa("users", "invite", "ada@example.com")).strip()
    narrow = made["key"]
    assert "may not" in (said := await stoa("conversations", "list", status=1, STOA_KEY=narrow)) or "permission" in said


async def test_tools(stoa: Terminal, tmp_path: Path) -> None:
    definition = {"name": "weather", "type": "http", "description": "It.", "config": {"url": "https://127.0.0.1:9/x"}}
    (tmp_path / "tool.json").write_text(json.dumps(definition))
    made = (await stoa("tools", "create", str(tmp_path / "tool.json"))).strip()
    assert made in await stoa("tools", "list")
    assert "127.0.0.1:9" in await stoa("tools", "show", "weather")
    assert "stoa: " in await stoa("tools", "test", "weather", "{}", status=1)
    assert "are no JSON" in await stoa("tools", "test", "weather", "{", status=2)
    document = {
        "openapi": "3.1.0",
        "info": {"title": "Pets", "version": "1"},
        "servers": [{"url": "https://pets.example.com"}],
        "paths": {"/pets": {"get": {"operationId": "listPets", "summary": "All.", "responses": {}}}},
    }
    (tmp_path / "pets.json").write_text(json.dumps(document))
    planned = await stoa("tools", "import", str(tmp_path / "pets.json"), "--prefix", "p_", "--dry-run")
    assert "p_listPets" in planned
    assert "1 tools would be made" in planned
    assert "deleted" in await stoa("tools", "delete", "weather", "--yes")
    assert "There is no tool named weather" in await stoa("tools", "show", "weather", status=1)


async def test_signing_in(shared_server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "config" / "stoa" / "credentials.json"
    stoa = Terminal(shared_server)
    key = (await stoa("keys", "create", "laptop")).strip()
    alone = {"STOA_CREDENTIALS": str(kept), "STOA_KEY": "", "STOA_URL": ""}
    assert "sign in with: stoa login" in await stoa("conversations", "list", status=4, **alone)
    refused = await stoa("login", "--url", shared_server.url, "--key-stdin", status=4, said=key + "x", **alone)
    assert "stoa: " in refused
    assert not kept.exists()
    url = shared_server.url + "/"
    said = await stoa("login", "--url", url, "--key-stdin", said=f"{key}\r\n", **alone)
    assert f"Signed in to {shared_server.url} with an access key." in said
    assert key not in said
    assert [stat.S_IMODE(path.stat().st_mode) for path in (kept, kept.parent)] == [0o600, 0o700]
    assert [path.name for path in kept.parent.iterdir()] == ["credentials.json"], "nothing half-written is left"
    await stoa("conversations", "list", **alone)
    elsewhere = {**alone, "STOA_URL": "http://127.0.0.1:9"}
    assert "no key for http://127.0.0.1:9" in await stoa("conversations", "list", status=4, **elsewhere)
    assert "No server answers at http://localhost:8080" in await stoa(
        "conversations", "list", status=3, **{**alone, "STOA_KEY": "stoa_acc_" + "z" * 64}
    ), "a key of the environment does not go to the server that was signed in to"
    assert "Signed out" in await stoa("logout", **alone)
    assert "no key" in await stoa("conversations", "list", status=4, **alone)
    kept.write_text("{")
    assert "cannot be read" in await stoa("conversations", "list", status=2, **alone)


@pytest.mark.parametrize(
    "url", ["localhost:8080", "ftp://x", "http://", "http://a b", "http://x:99999", "http://x/?a=1"]
)
async def test_urls_that_are_none(stoa: Terminal, url: str) -> None:
    assert "stoa: " in await stoa("runs", "list", "--url", url, status=2)


async def test_ids_that_would_be_paths(stoa: Terminal) -> None:
    assert "Traceback" not in await stoa("runs", "show", "../keys", status=1)
    assert "There is no" in await stoa("runs", "show", str(uuid.uuid4()), status=1)
