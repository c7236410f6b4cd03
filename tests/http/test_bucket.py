"""A server whose files are in a bucket: everything that has to do with files, while the bucket answers and while it
does not; a wrong setting is said at the start."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from stoa.app import open_doctor, open_server
from stoa.cli.main import app as command_line
from stoa.db.checks import Scope
from stoa.settings import Settings, SettingsError
from tests.conftest import Running, serving
from tests.support.buckets import BucketServer, Fault, bucket_server, credentials
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel, answer
from tests.support.knowledge import SICK, base_of, search, settled, sources, upload
from tests.support.logs import logged

PREFIX = "stoa/files of ü"
DOWN = {0: Fault("503", forever=True)}


@pytest.fixture(scope="module")
def bucket() -> Iterator[BucketServer]:
    with credentials(), bucket_server() as made:
        yield made


@pytest.fixture(scope="module")
async def server(cluster: Databases, room: Path, bucket: BucketServer) -> AsyncIterator[Running]:
    name = f"bucket_{uuid4().hex}"
    settings = {"blobs": f"s3://files/{PREFIX}", "blobs_endpoint": bucket.url}
    async with serving(
        await cluster.copy(name), room / name, ScriptedModel([answer("Read.")] * 50), **settings
    ) as made:
        yield made
    assert not list((room / name).rglob("copies/*")), "copies are gone with the server"


@pytest.fixture(autouse=True)
def _answering(bucket: BucketServer) -> None:
    bucket.reset()


async def add(server: Running, conversation: str, content: bytes, status: int = 201) -> Any:
    path = f"/v1/conversations/{conversation}/files"
    return await server.call("POST", path, status, files={"file": ("a.txt", content, "text/plain")})


async def deleted(server: Running, conversation: str) -> Any:
    """The receipt."""
    gone = await server.call("DELETE", f"/v1/conversations/{conversation}")
    return (await server.call("GET", f"/v1/deletions/{gone['deletion_id']}"))["data"]


async def test_files_go_to_the_bucket_are_read_and_leave_it(server: Running, bucket: BucketServer) -> None:
    conversation, content = await server.conversation(), b"The password of the day is swordfish. " * 10
    file = (await add(server, conversation, content))["data"]
    [key] = [key for key in bucket.objects if key.startswith(f"{PREFIX}/blobs/")]
    assert bucket.objects[key].content == content
    answered = await server.client.get(f"/v1/files/{file['id']}/content")
    assert (answered.status_code, answered.content) == (200, content)
    said = await server.ask(conversation, content=[{"type": "file", "file": {"id": file["id"]}}])
    assert said["status"] == "completed"
    assert "swordfish" in str(server.model.requests[-1])
    assert not (server.data_dir / "blobs").exists()
    receipt = await deleted(server, conversation)
    assert receipt["stores"]["blobs"] == {"rows": 1, "bytes": len(content)}
    assert receipt["verified_at"]
    assert not any(content in one.content for one in bucket.objects.values())


async def test_a_knowledge_base_and_an_artifact(server: Running, bucket: BucketServer) -> None:
    base = await base_of(server)
    [item] = await upload(server, base["id"], ("sick.md", SICK))
    assert [one["status"] for one in await settled(server, base["id"])] == ["processed"]
    assert sources(await search(server, base["id"], "doctor's note")) == {"sick.md"}
    got = await server.client.get(f"/v1/knowledgebase-items/{item['id']}/content")
    assert got.content == SICK
    body = {"file_name": "r.md", "name": "R", "kind": "markdown", "content": "# One"}
    made = (await server.call("POST", "/v1/artifacts", 201, json=body))["data"]
    got = await server.client.get(f"/v1/artifacts/{made['id']}/versions/1/download")
    assert got.content == b"# One"
    assert {key.removeprefix(f"{PREFIX}/").split("/")[0] for key in bucket.objects} == {"knowledge", "artifacts"}
    await server.call("DELETE", f"/v1/artifacts/{made['id']}")
    await server.call("DELETE", f"/v1/knowledgebases/{base['id']}")
    assert bucket.objects == {}


async def test_while_the_bucket_is_down_chats_go_on_and_nothing_is_half_done(
    server: Running, bucket: BucketServer
) -> None:
    conversation, other = await server.conversation(), await server.conversation()
    file = (await add(server, conversation, b"kept"))["data"]
    artifact = {"file_name": "r.md", "name": "R", "kind": "markdown", "content": "# Down"}
    bucket.reset(DOWN)
    refused = await server.client.post(f"/v1/conversations/{other}/files", files={"file": ("b.txt", b"new")})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
    assert int(refused.headers["Retry-After"]) >= 1
    read, published, ready, run, receipt = await asyncio.gather(
        server.client.get(f"/v1/files/{file['id']}/content"),
        server.client.post("/v1/artifacts", json=artifact),
        server.client.get("/ready"),
        server.ask(other, "Hi"),
        deleted(server, conversation),
    )
    assert (read.status_code, published.status_code, ready.status_code) == (503, 503, 200)
    assert run["status"] == "completed"
    assert "verified_at" not in receipt
    found = (await server.call("GET", "/v1/doctor"))["data"]
    assert not found["complete"]
    bucket.reset()
    async with asyncio.timeout(30):
        while "verified_at" not in receipt:
            await asyncio.sleep(0.05)  # The sweep of any node goes on with it.
            receipt = (await server.call("GET", f"/v1/deletions/{receipt['id']}"))["data"]
    assert receipt["stores"]["blobs"] == {"rows": 1, "bytes": 4}
    assert bucket.objects == {}
    assert (await add(server, other, b"new"))["data"]["size"] == 3
    await server.call("DELETE", f"/v1/conversations/{other}")


async def test_a_download_of_damaged_content_breaks_off(server: Running, bucket: BucketServer) -> None:
    conversation, content = await server.conversation(), os.urandom(5 * 1024 * 1024)
    file = (await add(server, conversation, content))["data"]
    [key] = bucket.objects
    bucket.store(key, content[:-1] + b"?")
    with logged() as lines:
        with pytest.raises(httpx.RemoteProtocolError):
            await server.client.get(f"/v1/files/{file['id']}/content")
        async with asyncio.timeout(10):
            while not any("an answer broke off" in line for line in lines):
                await asyncio.sleep(0.01)
    assert not any('"bug"' in line for line in lines), lines
    bucket.objects.clear()
    lost = await server.client.get(f"/v1/files/{file['id']}/content")
    assert (lost.status_code, lost.json()["error"]["code"]) == (404, "not_found")
    await deleted(server, conversation)


async def test_the_doctor_of_the_operator_looks_into_the_bucket(server: Running, bucket: BucketServer) -> None:
    settings = Settings(data_dir=server.data_dir, blobs=f"s3://files/{PREFIX}", blobs_endpoint=bucket.url)
    conversation = await server.conversation()
    await add(server, conversation, b"will be lost")
    [key] = bucket.objects
    async with open_doctor(settings, server.dsn) as doctor:
        assert (await doctor.examine(Scope())).healthy
        lost = bucket.objects.pop(key)
        bucket.versioned = True
        bucket.store(f"{PREFIX}/blobs/{uuid4()}/x", b"of somebody else")
        broken = {one.name for one in (await doctor.examine(Scope())).diagnoses if one.findings}
    assert broken == {"blobs.missing", "storage.versions"}
    bucket.clear()
    bucket.objects[key] = lost
    await server.call("DELETE", f"/v1/conversations/{conversation}")


async def test_a_wrong_setting_is_an_error_at_the_start(
    server: Running, bucket: BucketServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def start(**settings: Any) -> str:
        given = {"blobs": "s3://files/x", "blobs_endpoint": bucket.url, "connections_max": 4, **settings}
        chosen = Settings(data_dir=tmp_path, bootstrap_key=SecretStr("stoa_acc_" + "k" * 64), **given)
        with pytest.raises(SettingsError) as error:
            async with open_server(chosen, server.dsn):
                pytest.fail("it started")
        return str(error.value)

    assert "STOA_BLOBS): s3://no-such-bucket/x at http" in (said := await start(blobs="s3://no-such-bucket/x"))
    assert "NoSuchBucket" in said
    assert "prefix with an empty part" in await start(blobs="s3://files/a//b")
    assert "STOA_BLOBS_ENDPOINT) is not encrypted" in await start(blobs_endpoint="http://s3.example.com")
    bucket.denied = {"put"}
    assert "s3:PutObject" in await start()
    bucket.denied = set()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert "STOA_BLOBS" in await start()


async def test_files_move_into_the_bucket_and_back(bucket: BucketServer, tmp_path: Path) -> None:
    org, project = uuid4(), uuid4()
    before = {}
    for kind in ("blobs", "knowledge", "artifacts"):
        content = os.urandom(100)
        digest = sha256(content).hexdigest()
        path = tmp_path / "data" / kind / str(org) / str(project) / digest[:2] / digest
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        before[f"moved/{kind}/{org}/{project}/{digest}"] = content
    environment = {"STOA_DATA_DIR": str(tmp_path / "data"), "STOA_BLOBS_ENDPOINT": bucket.url, "COLUMNS": "300"}

    async def stoa(*arguments: str) -> tuple[int, str]:
        result = await asyncio.to_thread(CliRunner(env=environment).invoke, command_line, ["blobs", "move", *arguments])
        return result.exit_code, result.output

    code, said = await stoa("s3://files/moved", "--dry-run")
    assert (code, "3 files would be copied" in said, bucket.objects) == (0, True, {}), said
    code, said = await stoa("s3://files/moved")
    assert (code, "3 files copied and verified" in said) == (0, True), said
    assert "set STOA_BLOBS to s3://files/moved" in said
    assert {key: one.content for key, one in bucket.objects.items()} == before
    code, said = await stoa("s3://files/moved")
    assert (code, "0 files copied" in said, "3 there already" in said) == (0, True, True), said
    code, said = await stoa(str(tmp_path / "back"), "--from", "s3://files/moved")
    assert code == 0
    assert sorted(path.read_bytes() for path in (tmp_path / "back").rglob("*") if path.is_file()) == sorted(
        before.values()
    )
    assert (await stoa(str(tmp_path / "data")))[0] == 2
    code, said = await stoa("s3://no-such-bucket/x")
    assert (code, "NoSuchBucket" in said) == (1, True), said
    bucket.reset(DOWN)
    code, said = await stoa("s3://files/moved", "--verify")
    assert code == 1
    bucket.clear()


async def test_a_backup_holds_the_files_of_the_bucket_where_it_is_asked_to(
    server: Running, bucket: BucketServer, cluster: Databases, tmp_path: Path
) -> None:
    conversation, content, backups = await server.conversation(), b"To be kept. " * 1_000, str(tmp_path / "backups")
    await add(server, conversation, content)

    async def stoa(*arguments: str, blobs: str = PREFIX, dsn: str = server.dsn) -> tuple[int, str]:
        environment = {
            "STOA_DATABASE_URL": dsn,
            "STOA_DATA_DIR": str(server.data_dir),
            "STOA_BLOBS": f"s3://files/{blobs}",
            "STOA_BLOBS_ENDPOINT": bucket.url,
            "COLUMNS": "300",
        }
        result = await asyncio.to_thread(CliRunner(env=environment).invoke, command_line, [*arguments])
        return result.exit_code, result.output

    code, said = await stoa("backup", backups)
    assert (code, "call this with --files" in said) == (0, True), said
    code, said = await stoa("backup", backups, "--files")
    assert (code, "missing" in said) == (0, False), said
    database = await cluster.copy(f"restored_{uuid4().hex}", "template1")
    code, said = await stoa("restore", backups, "--into", str(tmp_path / "new"), blobs="restored", dsn=database)
    assert (code, "s3://files/restored" in said) == (0, True), said
    restored = [one.content for key, one in bucket.objects.items() if key.startswith("restored/")]
    assert content in restored
    database = await cluster.copy(f"restored_{uuid4().hex}", "template1")
    other = {"STOA_DATABASE_URL": database}  # Without a bucket they go into the data directory.
    arguments = ["restore", backups, "--into", str(tmp_path / "here")]
    result = await asyncio.to_thread(CliRunner(env=other).invoke, command_line, arguments)
    assert result.exit_code == 0, result.output
    assert content in [path.read_bytes() for path in (tmp_path / "here").rglob("*") if path.is_file()]

    [stored] = [one for key, one in bucket.objects.items() if key.startswith(PREFIX) and one.content == content]
    stored.content = b"Rotten"
    code, said = await stoa("backup", str(tmp_path / "other"), "--files")
    assert "missing or damaged" in said or code == 1, said
    stored.content = content
    bucket.reset(DOWN)
    code, said = await stoa("backup", str(tmp_path / "third"), "--files")
    assert code == 1, said
    bucket.reset()
    await deleted(server, conversation)
    for key in [key for key in bucket.objects if key.startswith("restored/")]:
        del bucket.objects[key]
