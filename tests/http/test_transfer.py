"""A project moves to another server: what arrives is what left, to the byte, and nothing of a bad file stays."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import orjson
import pytest

from tests.conftest import Running, serving
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel
from tests.support.knowledge import search, settled
from tests.support.owned import Owned, owning
from tests.support.terminal import Terminal
from tests.support.transfers import entries, exported, made_up, manifest_of, packed, records, sent, sent_file


@dataclass
class Moved:
    """Two servers, the first one's project, its export, and the report of its import."""

    old: Running
    new: Running
    owned: Owned
    project: str
    file: bytes
    report: dict[str, Any]

    def __getitem__(self, name: str) -> str:
        return self.owned.ids[name]


@pytest.fixture(scope="module")
async def moved(cluster: Databases, room: Path) -> AsyncIterator[Moved]:
    names = [f"moved_{uuid4().hex}" for _ in range(2)]
    async with (
        serving(await cluster.copy(names[0]), room / names[0], ScriptedModel()) as old,
        serving(await cluster.copy(names[1]), room / names[1], ScriptedModel()) as new,
        owning(old) as owned,
    ):
        ids = owned.ids
        await settled(old, ids["knowledgebase_id"])
        last = (await old.call("GET", f"/v1/conversations/{ids['conversation_id']}/messages"))["data"][-1]["id"]
        fork = {"from_message_id": last, "title": "Forked"}
        ids["fork"] = (await old.call("POST", f"/v1/conversations/{ids['conversation_id']}/fork", 201, json=fork))[
            "data"
        ]["id"]
        await old.call("DELETE", f"/v1/conversations/{ids['conversation_id']}")
        ids["conversation_id"] = await old.conversation(title="Kept plans")
        ids["file_id"] = (
            await old.call(
                "POST",
                f"/v1/conversations/{ids['conversation_id']}/files",
                201,
                files={"file": ("plan.txt", b"The secret plan.")},
            )
        )["data"]["id"]
        ids["run_id"] = (await old.ask(ids["conversation_id"], 'Hi \N{SNOWMAN} \\ "quoted" \n and so on'))["id"]
        file = await exported(old, ids["project_id"])
        import_id = await sent_file(new, file)
        report = (await new.call("POST", f"/v1/imports/{import_id}/apply", json={}, timeout=60))["data"]
        ids["import_id"] = import_id
        yield Moved(old, new, owned, ids["project_id"], file, report)


async def test_every_check_passes_on_the_importing_server(moved: Moved) -> None:
    old, new = moved.old, moved.new
    for path in (
        f"/v1/conversations/{moved['conversation_id']}/messages",
        f"/v1/conversations/{moved['fork']}/messages",
        f"/v1/runs/{moved['run_id']}/events?page_size=500",
        f"/v1/knowledgebases/{moved['knowledgebase_id']}/items",
        f"/v1/workflows/{moved['workflow_id']}/versions",
        f"/v1/apps/{moved['app_id']}/deployments",
        f"/v1/memories/{moved['memory_id']}/items?user_id=u",
        f"/v1/memory-stores/{moved['store_id']}/files?user_id=u",
        f"/v1/skills/{moved['skill_id']}/versions/latest/instructions",
    ):
        assert await new.call("GET", path) == await old.call("GET", path), path
    for path in (
        f"/v1/runs/{moved['run_id']}/stream",
        f"/v1/files/{moved['file_id']}/content",
        f"/v1/knowledgebase-items/{moved['item_id']}/content",
    ):
        ours, theirs = await new.client.get(path), await old.client.get(path)
        assert (ours.status_code, theirs.status_code) == (200, 200), path
        assert ours.content == theirs.content, path
    for mode in ("keyword", "semantic", "hybrid"):
        ours, theirs = [
            await search(one, moved["knowledgebase_id"], "the secret plan", mode=mode) for one in (new, old)
        ]
        assert ours == theirs, mode
        assert ours, mode
    report = await new.call("GET", "/v1/doctor")
    assert [check for check in report["data"]["checks"] if check["count"]] == []
    assert (await new.ask(moved["conversation_id"], "And on this server?"))["status"] == "completed"


async def test_an_export_of_what_was_imported_is_the_same(moved: Moved) -> None:
    before, after = records(moved.file), records(await exported(moved.new, moved.project))
    anew = {"model_calls": {"id"}, "knowledge_indexes": {"index_id"}, "triggers": {"actor_id", "status"}}
    grown = {"conversations", "messages", "runs", "journals", "events", "model_calls"}
    assert set(before) == set(after)
    for table, rows in before.items():
        out = anew.get(table, set()) | ({"index_id"} if table.startswith("knowledge_") else set())
        shown = [
            {name: value for name, value in row.items() if name not in out | {"updated_at", "message_count"}}
            for row in rows
        ]
        there = [
            {name: value for name, value in row.items() if name not in out | {"updated_at", "message_count"}}
            for row in after[table]
        ]
        if table in grown:
            assert all(one in there for one in shown), table
        else:
            assert shown == there, table


async def test_what_an_export_leaves_out_is_named(moved: Moved) -> None:
    secrets = records(moved.file)
    assert all("secret" not in row for row in secrets["connections"])
    assert all("secrets" not in row for row in secrets["tools"])
    assert b"hush" not in b"".join(entries(moved.file).values())
    assert any("tool plan" in one for one in moved.report["to_fill_in"])
    assert any("trigger Secret nights" in one for one in moved.report["to_fill_in"])
    trigger = (await moved.new.call("GET", f"/v1/apps/{moved['app_id']}/triggers/{moved['trigger_id']}"))["data"]
    assert trigger["status"] == "inactive"
    activated = await moved.new.call("POST", f"/v1/apps/{moved['app_id']}/triggers/{moved['trigger_id']}/activate")
    assert activated["data"]["status"] == "active"
    await moved.new.call("POST", f"/v1/apps/{moved['app_id']}/triggers/{moved['trigger_id']}/deactivate")


async def test_an_import_is_applied_once(moved: Moved) -> None:
    again = (await moved.new.call("POST", "/v1/imports", 201, json=manifest_of(moved.file)))["data"]
    assert (again["id"], again["status"], again["parts"]["missing"]) == (moved["import_id"], "applied", [])
    assert (await moved.new.call("POST", f"/v1/imports/{again['id']}/apply", json={}))["data"] == moved.report
    refused = await moved.old.call("POST", "/v1/imports", 409, json=manifest_of(moved.file))
    assert "is here already" in refused["error"]["message"]
    await moved.new.call("DELETE", f"/v1/imports/{again['id']}", 409)
    listed = (await moved.new.call("GET", "/v1/imports"))["data"]
    assert moved["import_id"] in [one["id"] for one in listed]
    actions = [line["action"] for line in (await moved.new.call("GET", "/v1/audit?page_size=500"))["data"]]
    assert actions.count("project.import") == 1
    actions = [line["action"] for line in (await moved.old.call("GET", "/v1/audit?page_size=500"))["data"]]
    assert "project.export" in actions


async def test_an_export_resumes_in_its_snapshot(moved: Moved) -> None:
    path = f"/v1/projects/{moved.project}/export"
    async with moved.old.client.stream("GET", path) as answer:
        export_id = answer.headers["Stoa-Export-Id"]
        async for _ in answer.aiter_bytes(512):
            break  # The client is gone.
    await moved.old.ask(moved["conversation_id"], "Said after the snapshot")
    async with asyncio.timeout(20):
        while (rest := await moved.old.client.get(f"{path}?export_id={export_id}&after=0")).status_code == 503:
            await asyncio.sleep(0.05)
    assert rest.status_code == 200, rest.text
    held = entries(rest.content)
    manifest = orjson.loads(held["manifest.json"])
    assert manifest["tables"]["messages"]["records"] == manifest_of(moved.file)["tables"]["messages"]["records"]
    names = sorted(name for name in held if name.startswith("parts/"))
    for part, name in zip(manifest["parts"], names, strict=True):
        assert hashlib.sha256(held[name]).hexdigest() == part["sha256"]
    tail = await moved.old.client.get(f"{path}?export_id={export_id}&after={len(names) - 2}")
    assert sorted(entries(tail.content)) == sorted(["manifest.json", *names[-2:]])
    assert all(entries(tail.content)[name] == held[name] for name in names[-2:])
    await moved.old.call("GET", f"{path}?export_id={uuid4()}", 409)
    await moved.old.call("GET", f"{path}?export_id={export_id}&after=1000", 409)


async def test_only_who_has_the_whole_organization_may(moved: Moved) -> None:
    project_key = await moved.old.call(
        "POST", "/v1/access-keys", 201, json={"name": "one project", "project_id": moved.project}
    )
    headers = {"Authorization": f"Bearer {project_key['data']['key']}"}
    await moved.old.call("GET", f"/v1/projects/{moved.project}/export", 403, headers=headers)
    await moved.old.call("POST", "/v1/imports", 403, headers=headers, json=made_up()[0])
    await moved.old.call("GET", "/v1/imports", 403, headers=headers)
    for stranger in moved.owned.strangers[:1]:
        assert (await stranger.get(f"/v1/projects/{moved.project}/export")).status_code == 404


TOOL = {
    "name": "t",
    "type": "http",
    "description": "d",
    "config": "{}",
    "approval": "false",
    "editable_params": "{}",
    "timeout_seconds": "1",
    "output_bytes_max": "1",
}


def tool(**fields: str) -> bytes:
    return orjson.dumps({"id": str(uuid4()), **TOOL, **fields})


async def test_what_a_manifest_may_not_say(moved: Moved) -> None:
    good, _ = made_up(("tools", False, [tool()]))
    part = good["parts"][0]
    columns = good["tables"]["tools"]["columns"]
    for change, said in (
        ({"format": "zip"}, "no export of a Stoa project"),
        ({"version": 2}, "made by a newer Stoa; update this server first"),
        ({"version": "1"}, "version must be a whole number"),
        ({"tables": {"access_keys": {"columns": ["id"], "records": 0}}}, "no table of an export"),
        ({"tables": {"tools": {"columns": [*columns, "org_id"], "records": 1}}}, "org_id, which is not imported"),
        ({"tables": {"tools": {"columns": [*columns, "secrets"], "records": 1}}}, "secrets, which is not imported"),
        ({"tables": {"tools": {"columns": ['id"; --'], "records": 1}}}, "must be names"),
        ({"tables": {"tools": {"columns": columns, "records": 2}}}, "says 2 records, and its parts hold 1"),
        ({"parts": [{**part, "table": "../../etc"}]}, "no table of this export"),
        ({"parts": [{**part, "number": 2}]}, "not numbered"),
        ({"parts": [{**part, "contents": True}]}, "has no contents"),
        ({"parts": [{**part, "bytes": 1 << 40}]}, "bytes must be a whole number"),
        ({"parts": [{**part, "sha256": "x" * 64}]}, "hexadecimal"),
        ({"parts": {}}, "parts"),
        ({"project": {"id": "x", "name": "n", "visibility": "internal"}}, "project.id"),
    ):
        answer = await moved.new.call("POST", "/v1/imports", 400, json={**good, **change})
        assert said in answer["error"]["message"], answer


async def test_a_part_is_what_its_manifest_says(moved: Moved) -> None:
    lines = [tool()]
    manifest, (content,) = made_up(("tools", False, lines))
    bomb = packed([b" " * 50_000_000])
    manifest["parts"].append(
        {**manifest["parts"][0], "number": 2, "records": 0, "size": len(bomb), "sha256": _sha256(bomb)}
    )
    cut = content[:-4]
    manifest["parts"].append(
        {**manifest["parts"][0], "number": 3, "records": 0, "size": len(cut), "sha256": _sha256(cut)}
    )
    made = (await moved.new.call("POST", "/v1/imports", 201, json=manifest))["data"]
    path = f"/v1/imports/{made['id']}"
    for number, sent_bytes, said in (
        (1, content[:-1], "Was it cut off"),
        (1, bytes([content[0] ^ 1]) + content[1:], "changed on its way"),
        (2, bomb, "unpacks to more than"),
        (3, cut, "is cut off"),
        (1, b"", "is required"),
        (4, content, "none of the 3 parts"),
    ):
        answer = await moved.new.call("PUT", f"{path}/parts/{number}", 400, content=sent_bytes)
        assert said in answer["error"]["message"], answer
    await moved.new.call("PUT", f"{path}/parts/1", 413, content=content + b"x")
    await moved.new.call("PUT", f"{path}/parts/1", content=content)
    await moved.new.call("PUT", f"{path}/parts/1", content=content)
    shown = (await moved.new.call("GET", path))["data"]["parts"]
    assert shown == {"total": 3, "received": 1, "missing": [2, 3]}
    assert "2 parts are missing" in (await moved.new.call("POST", f"{path}/apply", 409, json={}))["error"]["message"]
    await moved.new.call("DELETE", path)
    await moved.new.call("GET", path, 404)


async def test_a_refused_import_leaves_nothing(moved: Moved) -> None:
    plan = b"The plan."
    item = {"sha256": _sha256(plan), "at": 0, "bytes": base64.b64encode(plan).decode(), "last": True}
    artifact = {"id": str(uuid4()), "file_name": "f", "name": "n", "kind": "markdown"}
    version = {"id": str(uuid4()), "artifact_id": artifact["id"], "version": "1", "name": "n", "mime_type": "a/b"}
    version |= {"size": "9", "sha256": "\\x" + _sha256(plan)}
    held = ("artifacts", False, [orjson.dumps(artifact)]), ("artifact_versions", False, [orjson.dumps(version)])
    one = tool()
    cases: list[tuple[Any, int, str]] = [
        ([("tools", False, [tool(config="{")])], 400, "a record of tools is refused"),
        ([("tools", False, [tool(type="shell")])], 400, "a record of tools is refused"),
        ([("tools", False, [tool(name="\x00")])], 400, "a record of tools is refused"),
        ([("tools", False, [one, one])], 409, "is here already"),
        ([("tools", False, [b'{"id": 5}'])], 400, "a record of tools"),
        ([("skill_versions", False, [_skill_version()])], 400, "names something that is not in the export"),
        ([*held], 400, "is in no part of the export"),
        ([*held, _contents({**item, "bytes": "VGhl"})], 400, "and says"),
        ([*held, _contents({**item, "at": 5})], 400, "its pieces must follow"),
        ([*held, _contents({**item, "last": False})], 400, "its last piece is missing"),
        ([*held, _contents({"sha256": "../../x", "at": 0, "bytes": ""})], 400, "no piece of a content"),
        ([("tools", False, [_tool_of(moved["tool_id"])])], 409, "is here already"),
    ]
    for parts, status, said in cases:
        manifest, contents = made_up(*parts)
        import_id = await sent(moved.new, manifest, contents)
        answer = await moved.new.call("POST", f"/v1/imports/{import_id}/apply", status, json={})
        assert said in answer["error"]["message"], (said, answer)
        assert await _rows_of(moved.new, manifest["project"]["id"]) == {"imports", "import_parts"}
        await moved.new.call("DELETE", f"/v1/imports/{import_id}")
        assert not list((moved.new.data_dir / "artifacts").glob(f"*/{manifest['project']['id']}/*/*"))


async def test_an_id_of_another_organization_is_refused(moved: Moved) -> None:
    """Also by the bytes of a file that anybody could have made: nothing is written over, and nothing beside it."""
    database = await asyncpg.connect(moved.new.dsn)
    org_id, project_id, tool_id = uuid4(), uuid4(), uuid4()
    await database.execute("INSERT INTO orgs (id, name) VALUES ($1, 'Others')", org_id)
    await database.execute("INSERT INTO projects (org_id, id, name) VALUES ($1, $2, 'Theirs')", org_id, project_id)
    await database.execute(
        "INSERT INTO tools (org_id, project_id, id, name, type, description, config, approval, editable_params,"
        " timeout_seconds, output_bytes_max) VALUES ($1, $2, $3, 'theirs', 'http', 'd', '{}', false, '{}', 1, 1)",
        org_id,
        project_id,
        tool_id,
    )
    await database.close()
    manifest, contents = made_up(("tools", False, [tool(id=str(tool_id), org_id=str(org_id))]))
    manifest["tables"]["tools"]["columns"].remove("org_id")
    import_id = await sent(moved.new, manifest, contents)
    answer = await moved.new.call("POST", f"/v1/imports/{import_id}/apply", 409, json={"dry_run": True})
    assert "taken on this server outside of your organization" in answer["error"]["message"]
    await moved.new.call("DELETE", f"/v1/imports/{import_id}")
    theirs = {"id": str(project_id), "name": "Mine now", "description": None, "visibility": "internal"}
    refused = await moved.new.call("POST", "/v1/imports", 409, json=made_up(project=theirs)[0])
    assert "in another organization" in refused["error"]["message"]


async def test_a_model_that_is_not_here_is_named_and_can_be_replaced(moved: Moved) -> None:
    model_id = str(uuid4())
    talk = orjson.dumps({"id": str(uuid4()), "model_id": model_id, "family": str(uuid4()), "title": "T"})
    manifest, contents = made_up(("conversations", False, [talk]), models=[{"id": model_id, "slug": "far-away"}])
    import_id = await sent(moved.new, manifest, contents)
    path = f"/v1/imports/{import_id}/apply"
    assert "far-away" in (await moved.new.call("POST", path, 400, json={}))["error"]["message"]
    tried = await moved.new.call("POST", path, json={"models": {"far-away": "stoa-extractive"}, "dry_run": True})
    assert tried["data"]["created"] == {"conversations": 1}
    assert await _rows_of(moved.new, manifest["project"]["id"]) == {"imports", "import_parts"}
    applied = [
        moved.new.client.post(path, json={"models": {"far-away": "stoa-extractive"}}, timeout=60) for _ in range(2)
    ]
    statuses = sorted([answer.status_code for answer in await asyncio.gather(*applied)])
    assert statuses in ([200, 200], [200, 409], [200, 503])
    shown = (await moved.new.call("GET", f"/v1/conversations/{orjson.loads(talk)['id']}"))["data"]
    assert shown["model_id"] == await moved.new.model_id()


async def test_a_run_that_had_not_ended_is_canceled(moved: Moved) -> None:
    """By the server that imports it, in its own journal, and with its question withdrawn."""
    talk, run, message = str(uuid4()), str(uuid4()), str(uuid4())
    model = await moved.new.model_id()
    started = {"id": run, "object": "run", "status": "started", "conversation_id": talk, "message_id": message}
    manifest, contents = made_up(
        ("journals", False, [orjson.dumps({"run_id": run, "epoch": "1", "last_sequence": "1", "sealed": "false"})]),
        (
            "events",
            False,
            [
                orjson.dumps(
                    {"run_id": run, "sequence": "1", "kind": "1", "payload": "\\x" + json.dumps(started).encode().hex()}
                )
            ],
        ),
        (
            "conversations",
            False,
            [orjson.dumps({"id": talk, "model_id": model, "family": str(uuid4()), "message_count": "1"})],
        ),
        (
            "messages",
            False,
            [
                orjson.dumps(
                    {
                        "conversation_id": talk,
                        "position": "1",
                        "id": message,
                        "role": "user",
                        "content": '[{"type": "text", "text": "Hi"}]',
                        "text": "Hi",
                        "status": "completed",
                        "run_id": run,
                    }
                )
            ],
        ),
        (
            "runs",
            False,
            [
                orjson.dumps(
                    {
                        "id": run,
                        "conversation_id": talk,
                        "message_id": message,
                        "message_position": "1",
                        "model_id": model,
                        "status": "paused",
                        "options": "{}",
                        "input": '{"content": [{"type": "text", "text": "Hi"}]}',
                        "attempt": "1",
                        "checkpoint_sequence": "0",
                        "interrupting": "false",
                    }
                )
            ],
        ),
        models=[{"id": model, "slug": "stoa-extractive"}],
    )
    import_id = await sent(moved.new, manifest, contents)
    await moved.new.call("POST", f"/v1/imports/{import_id}/apply", json={})
    ended = await moved.new.status(run, "canceled")
    assert ended["status"] == "canceled"
    assert (await moved.new.events(run))[-1]["type"] == "run.canceled"


async def test_the_commands(moved: Moved, tmp_path: Path) -> None:
    old, new = Terminal(moved.old), Terminal(moved.new)
    project = (await moved.old.call("POST", "/v1/projects", 201, json={"name": "Small"}))["data"]["id"]
    fact = {"name": "Facts", "project_id": project}
    base = (await moved.old.call("POST", "/v1/knowledgebases", 201, json=fact))["data"]["id"]
    file = tmp_path / "small.tar"
    said = await old("export", "Small", str(file))
    assert "knowledgebases" in said
    assert "is there already" in await old("export", "Small", str(file), status=2)
    assert [one.name for one in tmp_path.iterdir()] == ["small.tar"]
    part = tmp_path / "again.tar.part"
    part.write_bytes(file.read_bytes()[:1500])  # Of a snapshot that may be gone: it begins anew, or goes on.
    await old("export", project, str(tmp_path / "again.tar"))
    tried = await new("import", str(file), "--dry-run")
    assert f"The project Small would be made: {project}" in tried
    await moved.new.call("GET", f"/v1/projects/{project}", 404)
    assert (await moved.new.call("GET", "/v1/imports?page_size=500"))["pagination"]["total_count"] >= 1
    assert "is here" in await new("import", str(file))
    assert "is here" in await new("import", str(file)), "again, it says the same"
    assert (await moved.new.call("GET", f"/v1/knowledgebases/{base}"))["data"]["name"] == "Facts"
    assert "applied" in await new("imports", "list")
    content = bytearray(file.read_bytes())
    content[content.index(b"\x1f\x8b") + 12] ^= 1
    (tmp_path / "damaged.tar").write_bytes(content)
    assert "was damaged" in await new("import", str(tmp_path / "damaged.tar"), status=1)
    (tmp_path / "cut.tar").write_bytes(content[:-4096])
    assert "cut off" in await new("import", str(tmp_path / "cut.tar"), status=1)
    (tmp_path / "text.tar").write_text("x" * 2000)
    assert "is no export" in await new("import", str(tmp_path / "text.tar"), status=1)
    assert "THEIRS=OURS" in await new("import", str(file), "--model", "x", status=2)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _contents(record: dict[str, Any]) -> tuple[str, bool, list[bytes]]:
    return "artifact_versions", True, [orjson.dumps(record)]


def _skill_version() -> bytes:
    one = {"id": str(uuid4()), "skill_id": str(uuid4()), "version": "1", "description": "d", "instructions": "i"}
    return orjson.dumps(one)


def _tool_of(tool_id: str) -> bytes:
    return tool(id=tool_id)


async def _rows_of(server: Running, project: str) -> set[str]:
    """The tables that hold anything of a project."""
    database = await asyncpg.connect(server.dsn)
    try:
        tables = await database.fetch(
            "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'project_id'"
            " WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace"
        )
        found = {
            row[0]
            for row in tables
            if await database.fetchval(
                f"SELECT EXISTS (SELECT FROM {row[0]} WHERE project_id = $1::text::uuid)", project
            )
        }
        if await database.fetchval("SELECT EXISTS (SELECT FROM projects WHERE id = $1::text::uuid)", project):
            found.add("projects")
        return found
    finally:
        await database.close()
