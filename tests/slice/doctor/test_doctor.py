"""Every promise is broken on purpose, counted, not shown to strangers, and repaired where that is safe."""

import asyncio
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from typer.testing import CliRunner

from stoa.app import open_doctor
from stoa.cli.main import app as command_line
from stoa.db.backup.rules import stamp
from stoa.db.checks import Scope
from stoa.doctor import Doctor, Report
from stoa.kernel.principal import Principal
from stoa.settings import Settings
from stoa.settings.tables import Backup
from tests.conftest import Running, serving
from tests.support import run_states
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel, ScriptedTool, ScriptedToolbox, answer, calling


@dataclass
class Patient:
    """A healthy database with some of everything, as a template; `ids` names what is in it."""

    template: str
    data_dir: Path
    ids: dict[str, Any]


@pytest.fixture(scope="module")
async def patient(cluster: Databases, room: Path) -> Patient:
    data_dir = room / "patient"
    tools = ScriptedToolbox(ScriptedTool("look"), ScriptedTool("pay", approval=True))
    model = ScriptedModel(
        [answer("One", " two", " three"), calling(("look", "{}")), answer("Seen"), calling(("pay", "{}"))]
    )
    async with serving(await cluster.copy("patient"), data_dir, model, toolbox=tools) as server:
        ids = await _live(server)
    return Patient("patient", data_dir, ids)


async def _live(server: Running) -> dict[str, Any]:
    talk = await server.conversation(agent={"tools": ["look", "pay"]})
    path = f"/v3/conversations/{talk}/messages"
    body = {"content": "Count", "stream": False}
    plain = (await server.call("POST", path, json=body, headers={"Idempotency-Key": "k"}))["data"]
    assert plain["status"] == "completed"
    looked = await server.ask(talk, "Look")
    assert looked["output"] == "Seen"
    upload = await server.call("POST", f"/v1/conversations/{talk}/files", 201, files={"file": ("a.txt", b"Some text.")})
    paused = await server.ask(talk, "Pay")
    assert paused["status"] == "paused"
    queued = await server.call("POST", path, 202, json={"content": "Then", "background": True, "on_busy": "queue"})
    async with asyncio.timeout(20):
        while (await server.call("GET", f"/v1/conversations/{talk}/files"))["data"][0]["status"] == "pending":
            await asyncio.sleep(0.02)
    await _share(server)
    await _publish(server)
    base, item = await _shelve(server)
    org = (await server.call("GET", "/v1/orgs"))["data"][0]["id"]
    return {
        "org": UUID(org),
        "talk": UUID(talk),
        "plain": UUID(plain["id"]),
        "looked": UUID(looked["id"]),
        "paused": UUID(paused["id"]),
        "queued": UUID(queued["data"]["id"]),
        "file": UUID(upload["data"]["id"]),
        "base": UUID(base),
        "item": UUID(item),
    }


async def _share(server: Running) -> None:
    """A fork that has outlived its origin, an answer made anew, a conversation that is gone: all of it is health."""
    server.model.scripts = [answer("Well")]
    origin = await server.conversation()
    await server.ask(origin, "Say something")
    fork = (await server.call("POST", f"/v1/conversations/{origin}/fork", 201, json={}))["data"]["id"]
    await server.ask(fork, "And more")
    again = await server.call("POST", f"/v1/conversations/{fork}/regenerate", json={"stream": False})
    assert again["data"]["status"] == "completed"
    await server.call("DELETE", f"/v1/conversations/{origin}")
    gone = await server.conversation()
    await server.ask(gone, "Forget me")
    await server.call("DELETE", f"/v1/conversations/{gone}")


async def _publish(server: Running) -> None:
    """An artifact, after one that was deleted."""
    body = {"file_name": "report.md", "name": "Report", "kind": "markdown", "content": "What we found."}
    gone = await server.call("POST", "/v1/artifacts", 201, json={**body, "file_name": "gone.md", "content": "Nothing."})
    await server.call("POST", "/v1/artifacts", 201, json=body)
    await server.call("DELETE", f"/v1/artifacts/{gone['data']['id']}")


async def _shelve(server: Running) -> tuple[str, str]:
    """A base with an item, after one that was deleted."""
    base = (await server.call("POST", "/v1/knowledgebases", 201, json={"name": "Papers"}))["data"]["id"]
    gone = (
        await server.call(
            "POST", f"/v1/knowledgebases/{base}/upload", 201, files={"files": ("gone.txt", b"Nobody will read this.")}
        )
    )["data"][0]["id"]
    item = (
        await server.call(
            "POST", f"/v1/knowledgebases/{base}/upload", 201, files={"files": ("plan.txt", b"The plan is to go north.")}
        )
    )["data"][0]["id"]
    async with asyncio.timeout(60):
        while {one["status"] for one in (await server.call("GET", f"/v1/knowledgebases/{base}/items"))["data"]} != {
            "processed"
        }:
            await asyncio.sleep(0.05)
    await server.call("DELETE", f"/v1/knowledgebase-items/{gone}")
    return base, item


@dataclass
class Case:
    """How a promise is broken: statements over {ids}, or a deed in the data directory."""

    check: str
    statements: list[str] = field(default_factory=list)
    deed: Callable[[Path, dict[str, Any]], None] | None = None
    subject: str | None = None
    """By name in `ids`; the finding is about it."""
    repaired: bool = False
    after: list[str] = field(default_factory=list)
    """Statements that give true once it was repaired."""


def _lose(data_dir: Path, _: dict[str, Any], place: str = "blobs") -> None:
    (found,) = [path for path in (data_dir / place).rglob("*") if path.is_file()]
    found.unlink()


def _leave_behind(data_dir: Path, ids: dict[str, Any], place: str = "blobs") -> None:
    (found,) = [path for path in (data_dir / place).rglob("*") if path.is_file()]
    orphan = found.parent.parent / "ab" / ("ab" * 32)
    half = data_dir / place / "incoming" / "tmp123"
    for path in (orphan, half):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"nobody's")
        os.utime(path, (time.time() - 7200, time.time() - 7200))


OF = "org_id = '{org}' AND run_id"
COPY_OF_ITEM = (
    "INSERT INTO knowledge_index_items SELECT org_id, project_id, index_id, gen_random_uuid(), metadata, 1000, 999, "
    "0, '{{}}' FROM knowledge_index_items"
    " WHERE item_id = '{item}'"
)
CASES = [
    Case(
        "knowledge.overdue",
        ["UPDATE knowledge_items SET status = 'processing', deadline = now() - interval '1 hour' WHERE id = '{item}'"],
        subject="item",
        repaired=True,
        after=["SELECT status = 'pending' FROM knowledge_items WHERE id = '{item}'"],
    ),
    Case(
        "knowledge.unserved",
        ["UPDATE knowledge_items SET chunks = 7 WHERE id = '{item}'"],
        subject="item",
        repaired=True,
    ),
    Case("knowledge.orphans", [COPY_OF_ITEM], repaired=True, after=["SELECT count(*) = 1 FROM knowledge_index_items"]),
    Case(
        "knowledge.stray_indexes",
        [
            (
                "INSERT INTO knowledge_indexes (org_id, project_id, knowledgebase_id, generation, embedder, "
                "dimensions, language)"
                " SELECT org_id, project_id, knowledgebase_id, 9, embedder, dimensions, language FROM knowledge_indexes"
            )
        ],
        repaired=True,
        after=["SELECT count(*) = 1 FROM knowledge_indexes"],
    ),
    Case("knowledge.miscounted", ["UPDATE knowledge_indexes SET words = words + 1"]),
    Case("knowledge.miscounted", ["DELETE FROM knowledge_vectors"]),
    Case(
        "traces.orphans",
        [
            (
                "INSERT INTO spans (org_id, project_id, trace_id, id, wire, name, type, started_at, body)"
                " SELECT org_id, id, 'gone', 's', 'sdk', 'n', 'node', now(), '{{}}' FROM projects"
                " WHERE org_id = '{org}'"
            )
        ],
    ),
    Case(
        "traces.sums",
        [
            (
                "INSERT INTO traces (org_id, project_id, id, wire, name, started_at, span_count, root_count)"
                " SELECT org_id, id, 'empty', 'sdk', 'n', now(), 3, 1 FROM projects WHERE org_id = '{org}'"
            )
        ],
    ),
    Case("knowledge_files.missing", deed=partial(_lose, place="knowledge")),
    Case("knowledge_files.orphans", deed=partial(_leave_behind, place="knowledge"), repaired=True),
    Case("journal.gaps", [f"DELETE FROM events WHERE {OF} = '{{plain}}' AND sequence = 2"], subject="plain"),
    Case(
        "journal.gaps",
        [f"UPDATE journals SET last_sequence = last_sequence + 1 WHERE {OF} = '{{plain}}'"],
        subject="plain",
    ),
    Case("journal.orphaned_events", [f"DELETE FROM journals WHERE {OF} = '{{plain}}'"], subject="plain"),
    Case(
        "journal.terminals",
        [
            (
                f"INSERT INTO events SELECT org_id, project_id, run_id, 1 + (SELECT max(sequence) FROM events WHERE "
                f"{OF} = '{{plain}}'), kind, payload"
                f" FROM events WHERE {OF} = '{{plain}}' AND kind = 16"
            )
        ],
        subject="plain",
    ),
    Case(
        "journal.after_the_end",
        [
            (
                f"INSERT INTO events SELECT org_id, project_id, run_id, 1 + (SELECT max(sequence) FROM events WHERE "
                f"{OF} = '{{plain}}'), kind, payload"
                f" FROM events WHERE {OF} = '{{plain}}' AND sequence = 2"
            )
        ],
        subject="plain",
    ),
    Case("journal.seals", [f"UPDATE journals SET sealed = true WHERE {OF} = '{{paused}}'"], subject="paused"),
    Case(
        "journal.seals",
        [f"UPDATE journals SET sealed = false WHERE {OF} = '{{plain}}'"],
        subject="plain",
        repaired=True,
        after=[f"SELECT sealed FROM journals WHERE {OF} = '{{plain}}'"],
    ),
    Case(
        "journal.hashes",
        [f"UPDATE events SET payload = payload || ' '::bytea WHERE {OF} = '{{plain}}' AND sequence = 2"],
        subject="plain",
    ),
    Case(
        "journal.hashes",
        [f"UPDATE events SET payload = 'no json' WHERE {OF} = '{{plain}}' AND kind = 16"],
        subject="plain",
    ),
    Case("runs.ends", ["UPDATE runs SET status = 'failed' WHERE id = '{plain}'"], subject="plain"),
    Case(
        "runs.ends",
        [
            "UPDATE runs SET status = 'canceled', queued_at = NULL WHERE id IN ('{queued}', '{paused}')",
            "UPDATE runs SET status = 'started', output = NULL, usage = NULL WHERE id = '{plain}'",
        ],
        subject="plain",
        repaired=False,
        after=[
            (
                "SELECT status = 'completed' AND output = 'One two three' "
                "AND usage ->> 'prompt_tokens' = '12' FROM runs "
                "WHERE id = '{plain}'"
            )
        ],
    ),
    Case("runs.journals", ["DELETE FROM runs WHERE id = '{plain}'"], subject="plain"),
    Case("runs.journals", [f"DELETE FROM journals WHERE {OF} = '{{plain}}'"], subject="plain"),
    Case("runs.starts", [f"UPDATE events SET kind = 1 WHERE {OF} = '{{plain}}' AND sequence = 2"], subject="plain"),
    Case(
        "runs.several_active",
        ["DROP INDEX runs_one_active", "UPDATE runs SET status = 'started' WHERE id IN ('{plain}', '{looked}')"],
        subject="talk",
    ),
    Case(
        "runs.stuck_queue",
        ["UPDATE runs SET status = 'canceled' WHERE id = '{paused}'"],
        subject="queued",
        repaired=True,
        after=[
            (
                "SELECT r.queued_at IS NULL AND m.position = r.message_position AND m.position = 6 FROM runs r JOIN "
                "messages m ON m.id = r.message_id"
                " WHERE r.id = '{queued}'"
            )
        ],
    ),
    Case(
        "runs.stuck_queue",
        ["UPDATE runs SET status = 'canceled' WHERE id = '{queued}'"],
        subject="queued",
        repaired=True,
    ),
    Case(
        "runs.paused_without_question",
        ["DELETE FROM input_requests"],
        subject="paused",
        repaired=True,
        after=["SELECT status = 'started' FROM runs WHERE id = '{paused}'"],
    ),
    Case(
        "runs.questions_of_ended_runs",
        [
            (
                "INSERT INTO input_requests (org_id, project_id, run_id, id, conversation_id, type, prompt, params, "
                "editable_params, expires_at)"
                " SELECT org_id, project_id, '{plain}', id, conversation_id, type, prompt, params, editable_params, "
                "expires_at FROM input_requests"
            )
        ],
        repaired=True,
        after=["SELECT bool_and((status = 'pending') = (run_id = '{paused}')) FROM input_requests"],
    ),
    Case(
        "runs.missing_answers",
        ["DELETE FROM messages WHERE role = 'assistant' AND run_id = '{plain}'"],
        subject="plain",
    ),
    Case(
        "runs.missing_answers", ["DELETE FROM messages WHERE role = 'user' AND run_id = '{paused}'"], subject="paused"
    ),
    Case("runs.calls_and_events", ["DELETE FROM tool_calls WHERE run_id = '{looked}'"], subject="looked"),
    Case(
        "runs.calls_and_events", ["UPDATE tool_calls SET status = 'failed' WHERE run_id = '{looked}'"], subject="looked"
    ),
    Case(
        "runs.calls_and_events",
        [
            (
                "INSERT INTO tool_calls (org_id, project_id, run_id, id, conversation_id, name, kind, input, "
                "idempotent, status)"
                " SELECT org_id, project_id, run_id, gen_random_uuid(), conversation_id, name, kind, input, "
                "idempotent, 'begun' FROM tool_calls"
                " WHERE run_id = '{looked}'"
            )
        ],
        subject="looked",
        repaired=True,
        after=["SELECT count(*) = 1 FROM tool_calls WHERE run_id = '{looked}' AND status = 'unknown'"],
    ),
    Case(
        "runs.wrong_bills",
        ["UPDATE model_calls SET completion_tokens = completion_tokens + 1 WHERE run_id = '{plain}'"],
        subject="plain",
    ),
    Case("runs.wrong_bills", ["UPDATE model_calls SET cost_usd = 1 WHERE run_id = '{plain}'"], subject="plain"),
    Case(
        "runs.idempotency_keys",
        ["UPDATE idempotency_keys SET subject_id = gen_random_uuid() WHERE key = 'k'"],
        repaired=True,
    ),
    Case(
        "runs.idempotency_keys",
        ["UPDATE idempotency_keys SET subject_id = NULL, answer = NULL WHERE key = 'k'"],
        repaired=True,
    ),
    Case("conversations.positions", ["UPDATE conversations SET message_count = message_count + 1"], subject="talk"),
    Case("conversations.runless", ["UPDATE messages SET run_id = gen_random_uuid() WHERE position = 2"]),
    Case(
        "conversations.unread_files",
        ["UPDATE files SET status = 'pending', created_at = now() - interval '1 hour'"],
        subject="file",
        repaired=True,
        after=["SELECT status = 'failed' AND error ->> 'code' = 'not_read' FROM files"],
    ),
    Case(
        "conversations.unproven",
        [
            (
                "INSERT INTO deletions (org_id, project_id, id, kind, subject_id, stores, created_at)"
                " SELECT org_id, project_id, '{queued}', 'conversation', '{queued}', '{{}}', now() - interval '1 "
                "hour' FROM conversations"
                " WHERE id = '{talk}'"
            )
        ],
        subject="queued",
    ),
    Case(
        "conversations.idempotency_keys",
        [
            (
                "INSERT INTO idempotency_keys (org_id, scope, key, route, body_sha256, answer, subject_id)"
                " VALUES ('{org}', 's', 'c', 'conversations', '', '1', gen_random_uuid()), ('{org}', 's', 'f', "
                "'files/1', '', NULL, NULL)"
            )
        ],
        repaired=True,
    ),
    Case(
        "knowledge.unbilled",
        [
            (
                "INSERT INTO knowledge_transcripts (org_id, project_id, knowledgebase_id, item_id, sha256, page, "
                "model, text, complete, prompt_tokens,"
                " completion_tokens) SELECT org_id, project_id, knowledgebase_id, id, sha256, 3, 'maker/model', "
                "'Text', true, 700, 30 FROM knowledge_items"
                " WHERE id = '{item}'"
            )
        ],
        repaired=True,
        after=[
            (
                "SELECT (kind, prompt_tokens, cost_usd IS NULL, knowledgebase_id) = ('ocr', 700, true, '{base}') FROM "
                "model_calls WHERE model = 'maker/model'"
            )
        ],
    ),
    Case(
        "nodes.loops",
        [
            (
                "INSERT INTO nodes (id, lock_key, expires_at, stuck)"
                " VALUES (gen_random_uuid(), 1, now() + interval '1 minute', '{{journal.writer}}')"
            )
        ],
    ),
    Case("artifacts.missing", deed=partial(_lose, place="artifacts")),
    Case("artifacts.orphans", deed=partial(_leave_behind, place="artifacts"), repaired=True),
    Case("blobs.missing", deed=_lose),
    Case("blobs.orphans", deed=_leave_behind, repaired=True),
    Case("backups.overdue", deed=lambda data_dir, _: shutil.rmtree(data_dir / "backups")),
]
SLOW = {"runs.abandoned"}


@dataclass
class Opened:
    """A copy of the patient, to be broken."""

    doctor: Doctor
    dsn: str
    data_dir: Path
    ids: dict[str, Any]

    async def execute(self, statement: str) -> None:
        await self._speak("execute", statement)

    async def value(self, statement: str) -> Any:
        return await self._speak("fetchval", statement)

    async def _speak(self, how: str, statement: str) -> Any:
        connection = await asyncpg.connect(self.dsn)
        try:
            await connection.execute(run_states.OFF)
            return await getattr(connection, how)(statement.format_map(self.ids))
        finally:
            await connection.close()


@pytest.fixture
async def opened(patient: Patient, cluster: Databases, tmp_path: Path) -> AsyncIterator[Opened]:
    name = f"copy_{uuid4().hex}"
    dsn = await cluster.copy(name, patient.template)
    for place in ("blobs", "knowledge", "artifacts"):
        shutil.copytree(patient.data_dir / place, tmp_path / place)
    taken = tmp_path / "backups" / "backups"  # A repository, as far as the doctor looks at it.
    taken.mkdir(parents=True)
    (taken / stamp(datetime.now(UTC), lambda: "00000000")).touch()
    backup = Backup(directory=tmp_path / "backups")
    async with open_doctor(Settings(data_dir=tmp_path, backup=backup), dsn) as doctor:
        yield Opened(doctor, dsn, tmp_path, patient.ids)
    await cluster.drop(name)


def found(report: Report) -> dict[str, list[str]]:
    assert {diagnosis.name: diagnosis.status for diagnosis in report.diagnoses if diagnosis.status != "complete"} == {}
    return {
        diagnosis.name: [finding.subject for finding in diagnosis.findings]
        for diagnosis in report.diagnoses
        if diagnosis.findings
    }


async def test_a_healthy_database_is_all_zeros(opened: Opened) -> None:
    report = await opened.doctor.examine(Scope())
    assert found(report) == {}
    assert report.healthy
    assert {diagnosis.name for diagnosis in report.diagnoses} == {case.check for case in CASES} | SLOW, (
        "a check that no test breaks is decoration"
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.check)
async def test_a_broken_promise_is_counted_and_repaired(opened: Opened, case: Case) -> None:
    for statement in case.statements:
        await opened.execute(statement)
    if case.deed is not None:
        case.deed(opened.data_dir, opened.ids)
    report = await opened.doctor.examine(Scope())
    assert not report.healthy
    subjects = found(report)[case.check]
    assert case.subject is None or str(opened.ids[case.subject]) in subjects
    stranger = Principal(uuid4(), None, uuid4())
    assert found(await opened.doctor.ask(stranger, Scope())) == {}, "another organization sees it"
    done = [one async for one in opened.doctor.repair(report) if one.check == case.check]
    if case.repaired:
        assert [one.done for one in done] == [True] * len(subjects)
        assert case.check not in found(await opened.doctor.examine(Scope()))
    for statement in case.after:
        assert await opened.value(statement)


async def test_an_abandoned_run_is_released_and_continues(opened: Opened) -> None:
    await opened.execute("UPDATE input_requests SET status = 'answered', answer = '{{\"approved\": true}}'")
    await opened.execute("UPDATE runs SET status = 'started', node_id = gen_random_uuid() WHERE id = '{paused}'")
    report = await opened.doctor.examine(Scope())
    assert found(report) == {"runs.abandoned": [str(opened.ids["paused"])]}
    done = [one async for one in opened.doctor.repair(report)]
    assert [one.done for one in done] == [True]
    assert await opened.value("SELECT node_id IS NULL FROM runs WHERE id = '{paused}'")
    tools = ScriptedToolbox(ScriptedTool("look"), ScriptedTool("pay", approval=True))
    async with serving(opened.dsn, opened.data_dir, ScriptedModel([answer("Done")]), toolbox=tools) as server:
        await server.status(str(opened.ids["paused"]), "completed")
        await server.status(str(opened.ids["queued"]), "completed")
        assert (await server.call("GET", "/v1/doctor"))["data"]["healthy"]


async def test_since_limits_a_check_to_later_rows(opened: Opened) -> None:
    for statement in ("UPDATE model_calls SET prompt_tokens = 1", "DELETE FROM events WHERE sequence = 2"):
        await opened.execute(statement)
    moment = await opened.value("SELECT now() + interval '1 second'")
    assert found(await opened.doctor.examine(Scope(since=moment))) == {}
    assert {"journal.gaps", "journal.hashes", "runs.wrong_bills"} <= set(found(await opened.doctor.examine(Scope())))


async def test_a_check_has_its_time(opened: Opened) -> None:
    report = await opened.doctor.examine(Scope(), seconds_max=0)
    assert {diagnosis.status for diagnosis in report.diagnoses} == {"stopped"}
    assert not report.healthy


async def test_a_check_that_cannot_be_made_does_not_hide_the_others(opened: Opened) -> None:
    await opened.execute("UPDATE runs SET usage = usage || '{{\"prompt_tokens\": \"many\"}}' WHERE id = '{plain}'")
    await opened.execute("DELETE FROM messages WHERE role = 'assistant' AND run_id = '{plain}'")
    report = await opened.doctor.examine(Scope())
    assert {diagnosis.name: diagnosis.status for diagnosis in report.diagnoses}["runs.wrong_bills"] == "failed"
    assert next(diagnosis for diagnosis in report.diagnoses if diagnosis.name == "runs.missing_answers").count == 1
    assert not report.complete


async def test_over_http(opened: Opened) -> None:
    async with serving(opened.dsn, opened.data_dir, ScriptedModel()) as server:
        healthy = (await server.call("GET", "/v1/doctor"))["data"]
        assert (healthy["healthy"], healthy["broken"], healthy["complete"]) == (True, 0, True)
        await opened.execute("UPDATE model_calls SET prompt_tokens = 1 WHERE run_id = '{plain}'")
        broken = (await server.call("GET", "/v1/doctor?since=2020-01-01T00:00:00Z"))["data"]
        (check,) = [check for check in broken["checks"] if check["count"]]
        assert (check["name"], check["examples"][0]["subject"], broken["healthy"]) == (
            "runs.wrong_bills",
            str(opened.ids["plain"]),
            False,
        )
        refused = await server.call("GET", "/v1/doctor?since=0001-01-01T00:00:00%2B14:00", 400)
        assert list(refused["error"]["details"]) == ["since"]
        project = (await server.call("GET", "/v1/projects"))["data"][0]["id"]
        for fields in ({"project_id": project}, {"permissions": ["runs:read"]}):
            key = (await server.call("POST", "/v1/access-keys", 201, json={"name": "small", **fields}))["data"]["key"]
            await server.call("GET", "/v1/doctor", 403, headers={"Authorization": f"Bearer {key}"})


async def test_by_command_line(opened: Opened) -> None:
    environment = {"STOA_DATABASE_URL": opened.dsn, "STOA_DATA_DIR": str(opened.data_dir), "COLUMNS": "200"}

    async def stoa(*arguments: str) -> tuple[int, str]:
        result = await asyncio.to_thread(CliRunner(env=environment).invoke, command_line, ["doctor", *arguments])
        return result.exit_code, result.stdout

    code, said = await stoa()
    assert (code, "Nothing is broken." in said) == (0, True), said
    await opened.execute(f"UPDATE journals SET sealed = false WHERE {OF} = '{{plain}}'")
    code, said = await stoa("--json")
    report = json.loads(said)
    assert (code, report["broken"], report["repaired"]) == (1, 1, [])
    code, said = await stoa("--repair")
    assert code == 0
    assert f"repaired: journal.seals, {opened.ids['plain']}" in said
    assert (await stoa("--url", "http://127.0.0.1:9", "--key", "x"))[0] == 3
    assert (await stoa("--url", "http://127.0.0.1:9", "--key", "x", "--repair"))[0] == 1


def test_without_data_it_says_so(tmp_path: Path) -> None:
    result = CliRunner().invoke(command_line, ["doctor", "--data-dir", str(tmp_path / "nowhere")])
    assert result.exit_code == 1
    assert "There is no data" in result.stderr
