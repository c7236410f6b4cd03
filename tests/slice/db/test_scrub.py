"""Canaries: a string of its own for every place in which a person, a tool or a model can put text. All are found in the
raw bytes of the database
before the deletion (else the search proves nothing), and none after deletion and scrub."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from stoa.db.scrub import ScrubError, scrub
from stoa.gateway import Capabilities, Finish, ModelError, ReasoningDelta, TextDelta, Usage
from stoa.tools import ToolResult
from tests.conftest import Running, serving
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel, ScriptedTool, ScriptedToolbox, answer, calling
from tests.support.knowledge import base_of, settled, upload

PLACES = (
    "title",
    "renamed",
    "metadata",
    "user",
    "instructions",
    "question",
    "messagemeta",
    "filename",
    "filecontent",
    "blobonly",
    "toolinput",
    "toolresult",
    "toolerror",
    "reasoning",
    "output",
    "modelerror",
    "feedback",
    "prompt",
    "declined",
    "idempotency",
    "forktitle",
    "queued",
    "subanswer",
)


BASE_PLACES = (
    "basename",
    "description",
    "itemname",
    "itemmeta",
    "heading",
    "itemtext",
    "replaced",
    "failedname",
    "sourcename",
    "sourcefile",
    "sourcetext",
    "idempotency",
)


def canary(place: str) -> str:
    """Letters and digits alone, in lower case: one word for full-text search, equal in every encoding."""
    return f"canary{place}q7x2z"


def found_in(root: Path, only: set[int]) -> dict[str, set[str]]:
    """Places whose canary the files hold, and in which. Of the databases of the cluster only those named are looked
    at."""
    pattern = re.compile(b"canary([a-z]+)q7x2z")
    found: dict[str, set[str]] = {}
    for path in root.rglob("*"):
        inside = path.relative_to(root).parts
        if "base" in inside and not only & {int(part) for part in inside if part.isdigit()}:
            continue
        try:
            content = path.read_bytes() if path.is_file() else b""
        except FileNotFoundError:  # PostgreSQL may remove files meanwhile.
            continue
        for place in set(pattern.findall(content)):
            found.setdefault(place.decode(), set()).add("/".join(inside))
    return found


async def plant(server: Running) -> list[str]:
    """Conversations with a canary in every place; gives their ids."""
    model, meta = server.model, {canary("metadata"): [canary("metadata")]}
    model.scripts = [
        calling(
            ("look", f'{{"q": "{canary("toolinput")}"}}'),
            ("break", "{}"),
            ("ask_human", f'{{"question": "{canary("prompt")}"}}'),
        ),
        [[ReasoningDelta(canary("reasoning"))], [TextDelta(canary("output"))], [Usage(1, 1), Finish("stop")]],
    ]
    agent = {"instructions": canary("instructions"), "tools": ["look", "break", "pay"], "human_feedback": True}
    first = await server.conversation(title=canary("title"), metadata=meta, user_id=canary("user"), agent=agent)
    await server.call("PATCH", f"/v1/conversations/{first}", json={"title": canary("renamed")})
    upload = (
        f"{canary('filename')}.txt",
        f"A text that holds {canary('filecontent')} and {canary('blobonly')}.".encode(),
    )
    file = (
        await server.call(
            "POST",
            f"/v1/conversations/{first}/files",
            201,
            files={"file": upload},
            headers={"Idempotency-Key": canary("idempotency")},
        )
    )["data"]
    content = [{"type": "text", "text": canary("question")}, {"type": "file", "file": {"id": file["id"]}}]
    headers = {"Idempotency-Key": f"{canary('idempotency')}2"}
    body = {"content": content, "stream": False, "metadata": {"note": canary("messagemeta")}}
    run = (await server.call("POST", f"/v3/conversations/{first}/messages", json=body, headers=headers))["data"]
    (request,) = run["input_requests"]
    given = {"type": "human_feedback", "data": {"request_id": request["id"], "feedback": canary("feedback")}}
    await server.call("POST", f"/v1/runs/{run['id']}/input", json=given)
    assert (await server.status(run["id"], "completed"))["output"] == canary("output")
    # A call that a person declines; a message that waits behind it.
    model.scripts = [*model.scripts[:1] * len(model.requests), calling(("pay", "{}")), answer("Not paid.")]
    run = await server.ask(first, "Pay")
    waiting = {"content": canary("queued"), "on_busy": "queue", "background": True}
    queued = (await server.call("POST", f"/v3/conversations/{first}/messages", 202, json=waiting))["data"]
    answered = {
        "type": "approval",
        "data": {"request_id": run["input_requests"][0]["id"], "approved": False, "feedback": canary("declined")},
    }
    await server.call("POST", f"/v1/runs/{run['id']}/input", json=answered)
    await server.status(queued["id"], "completed")
    # A model that fails with words of its own; a fork that has its own title and answer.
    model.scripts = [[ModelError("model_refused_request", canary("modelerror"), retryable=False)]]
    assert (await server.ask(first))["status"] == "failed"
    forked = (await server.call("POST", f"/v1/conversations/{first}/fork", 201, json={"title": canary("forktitle")}))[
        "data"
    ]["id"]
    model.scripts = [answer(canary("subanswer"))]
    await server.ask(forked, "And now?")
    return [first, forked]


async def oid(dsn: str) -> int:
    database = await asyncpg.connect(dsn)
    try:
        await database.execute("ANALYZE")
        await database.execute("CHECKPOINT")
        return int(await database.fetchval("SELECT oid FROM pg_database WHERE datname = current_database()"))
    finally:
        await database.close()


def shelf() -> ScriptedToolbox:
    look, broken = (
        ScriptedTool("look", [ToolResult(canary("toolresult"))]),
        ScriptedTool("break", [ToolResult(canary("toolerror"), "tool_failed")]),
    )
    return ScriptedToolbox(look, broken, ScriptedTool("pay", approval=True))


async def test_no_byte_is_left(cluster: Databases, dsn: str, room: Path, tmp_path: Path) -> None:
    model = ScriptedModel(given_abilities=Capabilities(images=True, tools=True, context_tokens=8_000))
    async with serving(dsn, tmp_path, model, toolbox=shelf()) as server:
        first, forked = await plant(server)
        files, blobs = room / "cluster", tmp_path / "blobs"
        only = {await oid(dsn)}
        planted = found_in(files, only)
        assert set(planted) == set(PLACES)
        assert set(found_in(blobs, set())) == {"filecontent", "blobonly"}
        # The first reader goes: what the fork shows stays, everything else of it goes.
        receipts = [await delete(server, first)]
        await scrub(dsn, lambda _: None)
        await oid(dsn)
        shown = {
            "question",
            "filename",
            "filecontent",
            "blobonly",
            "output",
            "queued",
            "toolinput",
            "toolresult",
            "toolerror",
            "prompt",
            "feedback",
            "declined",
            "messagemeta",
            "forktitle",
            "subanswer",
            "metadata",
            "user",
            "instructions",
        }
        left = found_in(files, only)
        assert set(left) == shown, {place: left.get(place) for place in set(left) ^ shown}
        # The last reader goes: nothing is left.
        receipts.append(await delete(server, forked))
        lines: list[str] = []
        scrubbed = await scrub(dsn, lines.append)
        assert (scrubbed.left, scrubbed.deletions) == ([], 1)
        assert any(line.startswith("messages:") for line in lines)
        await oid(dsn)
        assert found_in(files, only) == {}
        assert found_in(blobs, set()) == {}
        for receipt in receipts:
            again = (await server.call("GET", f"/v1/deletions/{receipt['id']}"))["data"]
            assert again["scrubbed_at"] >= again["verified_at"] >= again["created_at"]
        # The bill is still there, and names nobody.
        database = await asyncpg.connect(dsn)
        bill = await database.fetch("SELECT run_id, conversation_id, user_id, prompt_tokens FROM model_calls")
        await database.close()
        assert len(bill) >= 7
        assert all((row["run_id"], row["conversation_id"], row["user_id"]) == (None, None, None) for row in bill)
        # And the server goes on as if nothing had been.
        assert (await server.ask(await server.conversation()))["status"] == "completed"


async def plant_base(server: Running, folder: Path) -> str:
    """A knowledge base with a canary in every place; gives its id."""
    base = str((await base_of(server, name=canary("basename"), description=canary("description")))["id"])
    name, text = f"{canary('itemname')}.md", f"# About {canary('heading')}\n\nWhat stands here is {canary('itemtext')}."
    first, _ = await upload(
        server, base, (name, f"An old text: {canary('replaced')}.".encode()), ("b.md", b"Another one.")
    )
    await settled(server, base)
    new = {"ids": json.dumps([first["id"]]), "input": json.dumps({"metadata": [{"team": canary("itemmeta")}]})}
    await upload(server, base, (name, text.encode()), **new)
    await upload(server, base, (f"{canary('failedname')}.pdf", b"%PDF-1.7 no more than that"))
    (folder / f"{canary('sourcefile')}.md").write_text(f"A file of a source: {canary('sourcetext')}.")
    source = {"name": canary("sourcename"), "provider": "directory", "config": {"path": str(folder)}}
    headers = {"Idempotency-Key": canary("idempotency")}
    made = (await server.call("POST", f"/v1/knowledgebases/{base}/sources", 201, json=source, headers=headers))["data"]
    await server.call("POST", f"/v1/knowledgebase-sources/{made['id']}/sync", 202)
    async with asyncio.timeout(60):
        while len(await settled(server, base)) < 4:
            await asyncio.sleep(0.05)
    return base


async def test_no_byte_of_a_knowledge_base_is_left(cluster: Databases, dsn: str, room: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    async with serving(dsn, tmp_path / "data", ScriptedModel(), source_directories=(folder,)) as server:
        base = await plant_base(server, folder)
        files, blobs = room / "cluster", tmp_path / "data"
        only = {await oid(dsn)}
        assert set(BASE_PLACES) <= set(found_in(files, only))
        assert {"itemtext", "sourcetext"} <= set(found_in(blobs, set()))
        # What the planner remembers of a column outlives its rows: it may remember nothing of these.
        database = await asyncpg.connect(dsn)
        remembered = await database.fetchval(
            "SELECT string_agg(s::text, '') FROM pg_stats s WHERE tablename LIKE 'knowledge%'"
        )
        await database.close()
        assert remembered
        assert "canary" not in remembered
        deleted = await server.call("DELETE", f"/v1/knowledgebases/{base}")
        assert (await server.call("GET", f"/v1/deletions/{deleted['deletion_id']}"))["data"]["verified_at"]
        await scrub(dsn, lambda _: None)
        await oid(dsn)
        left = found_in(files, only)  # The log may hold what other tests have planted.
        assert not set(BASE_PLACES) & set(left), left
        assert found_in(blobs, set()) == {}


KEPT_PLACES = (
    "memoryuser",
    "memorysession",
    "memorytext",
    "memorymeta",
    "cleared",
    "notepath",
    "notetext",
    "noteuser",
    "skilldescription",
    "skillinstructions",
    "idempotency",
)


async def plant_kept(server: Running) -> dict[str, str]:
    """A memory, a memory store and a skill with a canary in every place; gives their paths."""
    memory = (await server.call("POST", "/v1/memories", 201, json={"name": "m"}))["data"]["id"]
    item = {
        "user_id": canary("memoryuser"),
        "session_id": canary("memorysession"),
        "data": {"role": "user", "content": [{"type": "text", "text": canary("memorytext")}]},
        "metadata": {"note": canary("memorymeta")},
    }
    headers = {"Idempotency-Key": canary("idempotency")}
    await server.call("POST", f"/v1/memories/{memory}/items", 201, json=item, headers=headers)
    short = {"user_id": "u", "data": {"role": "user", "content": [{"type": "text", "text": canary("cleared")}]}}
    await server.call("POST", f"/v1/memories/{memory}/items", 201, json=short)
    store = (await server.call("POST", "/v1/memory-stores", 201, json={"name": "s"}))["data"]["id"]
    note = {"user_id": canary("noteuser"), "path": f"{canary('notepath')}.md", "content": canary("notetext")}
    await server.call("PUT", f"/v1/memory-stores/{store}/files", json=note)
    taught = {"name": "k", "description": canary("skilldescription"), "instructions": canary("skillinstructions")}
    skill = (await server.call("POST", "/v1/skills", 201, json=taught))["data"]["id"]
    return {
        "items": f"/v1/memories/{memory}/items?user_id=u",
        "memory": f"/v1/memories/{memory}",
        "store": f"/v1/memory-stores/{store}",
        "skill": f"/v1/skills/{skill}",
    }


async def test_no_byte_of_what_agents_keep_is_left(cluster: Databases, dsn: str, room: Path, tmp_path: Path) -> None:
    async with serving(dsn, tmp_path / "data", ScriptedModel()) as server:
        kept = await plant_kept(server)
        files, only = room / "cluster", {await oid(dsn)}
        assert set(KEPT_PLACES) <= set(found_in(files, only))
        database = await asyncpg.connect(dsn)
        remembered = await database.fetchval(
            "SELECT string_agg(s::text, '') FROM pg_stats s WHERE tablename LIKE 'memor%' OR tablename LIKE 'skill%'"
        )
        await database.close()
        assert remembered
        assert "canary" not in remembered
        for path in (kept["items"], kept["memory"], kept["store"], kept["skill"]):
            gone = await server.call("DELETE", path)
            assert (await server.call("GET", f"/v1/deletions/{gone['deletion_id']}"))["data"]["verified_at"]
        scrubbed = await scrub(dsn, lambda _: None)
        assert (scrubbed.left, scrubbed.deletions) == ([], 4)
        await oid(dsn)
        left = found_in(files, only)  # The log may hold what other tests have planted.
        assert not set(KEPT_PLACES) & set(left), left


async def delete(server: Running, conversation_id: str) -> Any:
    deleted = await server.call("DELETE", f"/v1/conversations/{conversation_id}")
    receipt = (await server.call("GET", f"/v1/deletions/{deleted['deletion_id']}"))["data"]
    assert receipt["verified_at"]
    return receipt


async def test_a_scrub_waits_for_who_may_still_see(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stoa.db.scrub.SNAPSHOT_SECONDS_MAX", 0.2)
    reader = await asyncpg.connect(dsn)
    other = await asyncpg.connect(dsn)
    try:
        transaction = reader.transaction(isolation="repeatable_read")
        await transaction.start()
        await reader.fetch("SELECT 1 FROM conversations")
        await other.execute("SELECT pg_current_xact_id()")  # Any write that the reader does not see.
        with pytest.raises(ScrubError, match="A transaction of process"):
            await scrub(dsn, lambda _: None)
        await transaction.rollback()
        assert (await scrub(dsn, lambda _: None)).left == []
    finally:
        await reader.close()
        await other.close()
