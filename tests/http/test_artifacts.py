"""Artifacts over HTTP: versions, links, deletion, what agents publish."""

import io
import json
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest

from stoa.gateway import Capabilities
from tests.conftest import Running, serving
from tests.support.apps import deployed
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel, answer, calling
from tests.support.graphs import flow, node
from tests.support.running import NO_AUTHORITIES

MARKDOWN = {"file_name": "report.md", "name": "Report", "kind": "markdown", "content": "# One"}


@pytest.fixture(scope="module")
async def server(cluster: Databases, room: Path) -> AsyncIterator[Running]:
    name = f"artifacts_{uuid4().hex}"
    model = ScriptedModel(given_abilities=Capabilities(images=False, tools=True))
    async with serving(await cluster.copy(name), room / name, model) as made:
        yield made


@pytest.fixture
async def anybody(server: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(verify=NO_AUTHORITIES, base_url=server.url) as client:
        yield client


async def create(server: Running, **fields: Any) -> dict[str, Any]:
    return dict((await server.call("POST", "/v1/artifacts", 201, json=MARKDOWN | fields))["data"])


async def upload(server: Running, content: bytes, status: int = 201, **fields: Any) -> Any:
    data = {"file_name": "data.bin", "name": "Data", "kind": "file", **fields}
    files = {"file": ("data.bin", content, "application/octet-stream")}
    return await server.call("POST", "/v1/artifacts/upload", status, data={"data": json.dumps(data)}, files=files)


def bundle(**files: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("_", "."), content)
    return made.getvalue()


def stored(server: Running) -> int:
    return sum(1 for path in (server.data_dir / "artifacts").rglob("*") if path.is_file())


async def test_an_artifact_has_versions(server: Running) -> None:
    made = await create(server, description="First")
    path = f"/v1/artifacts/{made['id']}"
    first = made["latest_version"]
    assert (first["version"], made["visibility"], made["mime_type"], first["size"]) == (
        1,
        "private",
        "text/markdown",
        5,
    )
    assert made["url"].endswith(f"{path}/versions/latest/download")
    body = {"content": "# Two", "description": "Second", "name": "Report II"}
    second = (await server.call("POST", f"{path}/versions", 201, json=body))["data"]
    assert (second["version"], second["name"]) == (2, "Report II")
    same = (await server.call("POST", f"{path}/versions", 201, json={"content": "# Two"}))["data"]
    assert same["id"] == second["id"]
    now = (await server.call("GET", path))["data"]
    assert (now["name"], now["description"], now["latest_version"]["id"]) == ("Report II", "Second", second["id"])
    listed = await server.call("GET", f"{path}/versions", params={"page_size": 50})
    assert [one["version"] for one in listed["data"]] == [2, 1]
    for named, said in ((first["id"], b"# One"), ("1", b"# One"), ("latest", b"# Two")):
        got = await server.client.get(f"{path}/versions/{named}/download")
        assert got.content == said
        assert got.headers["content-disposition"] == "attachment; filename*=UTF-8''report.md"
    assert (await server.call("GET", f"{path}/versions/{first['id']}"))["data"] == first
    await server.call("GET", f"{path}/versions/9", 404)


async def test_a_version_follows_the_one_that_was_read(server: Running) -> None:
    made = await create(server)
    path = f"/v1/artifacts/{made['id']}/versions"
    match = {"If-Match": f'"{made["latest_version"]["id"]}"'}
    await server.call("POST", path, 201, json={"content": "# Two"}, headers=match)
    refused = await server.call("POST", path, 412, json={"content": "# Three"}, headers=match)
    assert refused["error"]["code"] == "precondition_failed"
    await server.call("POST", path, 400, json={"content": "# Three"}, headers={"If-Match": '"x"'})


async def test_any_file_is_kept_byte_for_byte(server: Running) -> None:
    made = (await upload(server, b"\0\1\2", mime_type="application/x-thing"))["data"]
    assert made["mime_type"] == "application/x-thing"
    got = await server.client.get(f"/v1/artifacts/{made['id']}/versions/latest/download")
    assert got.content == b"\0\1\2"
    files = {"file": ("x", b"\0\1\2\3")}
    path = f"/v1/artifacts/{made['id']}/versions/upload"
    again = await server.call("POST", path, 201, files=files, data={"data": "{}"})
    assert again["data"]["size"] == 4
    site = (await upload(server, bundle(index_html="<h1>Hi</h1>"), kind="bundle"))["data"]
    assert site["latest_version"]["entry_path"] == "index.html"


@pytest.mark.parametrize(
    ("content", "fields", "field"),
    [
        (b"", {}, "content"),
        (b"\xff\xfe", {"kind": "markdown"}, "content"),
        (b"no zip", {"kind": "bundle"}, "file"),
        (bundle(other_html="x"), {"kind": "bundle"}, "entry_path"),
        (b"x", {"kind": "other"}, "data.kind"),
        (b"x", {"file_name": "../up"}, "data.file_name"),
        (b"x", {"entry_path": "a"}, "entry_path"),
        (b"x", {"mime_type": "no type"}, "mime_type"),
        (b"x", {"kind": "image", "mime_type": "text/html"}, "mime_type"),
    ],
)
async def test_what_cannot_be_published(server: Running, content: bytes, fields: dict[str, str], field: str) -> None:
    before = stored(server)
    refused = await upload(server, content, 400, **fields)
    assert field in refused["error"]["details"], refused
    assert stored(server) == before


async def test_lists_are_filtered(server: Running) -> None:
    store = str(uuid4())
    await create(server, store_id=store, user_id="u", name="Of u")
    await create(server, store_id=store, name="Of nobody")
    found = (await server.call("GET", "/v1/artifacts", params={"store_id": store, "sort": "-updated_at"}))["data"]
    assert [one["name"] for one in found] == ["Of nobody", "Of u"]
    found = (await server.call("GET", "/v1/artifacts", params={"store_id": store, "user_id": "u"}))["data"]
    assert [one["name"] for one in found] == ["Of u"]
    found = (await server.call("GET", "/v1/artifacts", params={"store_id": store, "kind": "html"}))["data"]
    assert found == []
    await server.call("GET", "/v1/artifacts", 404, params={"org_id": str(uuid4())})


async def test_a_link_shows_it_to_anybody_until_it_is_revoked(server: Running, anybody: httpx.AsyncClient) -> None:
    made = await create(server, kind="html", file_name="page.html", content="<script>1</script>")
    path = f"/v1/artifacts/{made['id']}"
    link = (await server.call("POST", f"{path}/share", json={}))["data"]
    shown = await anybody.get(link["url"])
    assert shown.text == "<script>1</script>"
    policy = shown.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts; default-src 'none'")
    assert shown.headers["content-type"] == "text/html; charset=utf-8"
    assert (await server.call("GET", path))["data"]["visibility"] == "link"
    await server.call("POST", f"{path}/versions", 201, json={"content": "<p>2</p>"})
    assert (await anybody.get(link["url"])).text == "<p>2</p>"
    pinned = {"pinned_version_id": made["latest_version"]["id"], "expires_at": "2099-01-01T00:00:00Z"}
    again = (await server.call("POST", f"{path}/share", json=pinned))["data"]
    assert (again["id"], again["url"]) == (link["id"], link["url"])
    assert (await anybody.get(link["url"])).text == "<script>1</script>"
    await server.call("POST", f"{path}/share", 400, json={"expires_at": "2001-01-01T00:00:00Z"})
    await server.call("POST", f"{path}/share", 404, json={"pinned_version_id": str(uuid4())})
    assert await server.call("DELETE", f"{path}/share") == {"message": "deleted"}
    assert (await anybody.get(link["url"])).status_code == 404
    await server.call("DELETE", f"{path}/share", 404)
    other = (await server.call("POST", f"{path}/share", json={}))["data"]
    assert other["url"] != link["url"]
    assert (await anybody.get("/v1/shared/none")).status_code == 404
    binary = (await upload(server, b"\0", mime_type="text/html"))["data"]
    link = (await server.call("POST", f"/v1/artifacts/{binary['id']}/share", json={}))["data"]
    assert (await anybody.get(link["url"])).headers["content-disposition"].startswith("attachment")


async def test_the_oldest_versions_make_room(server: Running) -> None:
    made = await create(server)
    for number in range(50):
        await server.call("POST", f"/v1/artifacts/{made['id']}/versions", 201, json={"content": f"unique {number}"})
    listed = await server.call("GET", f"/v1/artifacts/{made['id']}/versions", params={"page_size": 50})
    assert listed["pagination"]["total_count"] == 50
    assert listed["data"][-1]["version"] == 2


async def test_deleting_takes_the_content(server: Running) -> None:
    before = stored(server)
    made = await create(server, content="only here")
    await server.call("POST", f"/v1/artifacts/{made['id']}/share", json={})
    assert stored(server) == before + 1
    gone = await server.call("DELETE", f"/v1/artifacts/{made['id']}")
    receipt = (await server.call("GET", f"/v1/deletions/{gone['deletion_id']}"))["data"]
    assert receipt["verified_at"]
    assert receipt["stores"]["blobs"] == {"rows": 1, "bytes": 9}
    assert stored(server) == before


async def test_a_repeated_request_publishes_once(server: Running) -> None:
    headers = {"Idempotency-Key": uuid4().hex}
    first = await server.call("POST", "/v1/artifacts", 201, json=MARKDOWN, headers=headers)
    assert await server.call("POST", "/v1/artifacts", 201, json=MARKDOWN, headers=headers) == first


async def test_an_agent_publishes(server: Running, anybody: httpx.AsyncClient) -> None:
    others = await create(server, user_id="v")
    app = await deployed(server, flow(node("agent", "a", "start", artifacts={"enabled": True})))
    server.model.requests.clear()

    def call(**arguments: Any) -> Any:
        return calling(("artifact", orjson.dumps(arguments).decode()))

    server.model.scripts = [
        call(action="create", name="Q3", kind="markdown", content="# Q3"),
        call(action="list"),
        call(action="get", artifact_id=others["id"]),
        call(action="update", artifact_id=others["id"], content="mine now"),
        answer("Published."),
    ]
    body = {"input": {"input": "Report"}, "user_id": "w"}
    run = (await server.call("POST", f"/apps/{app['id']}/v1/runs", json=body))["data"]
    lines = (await server.call("GET", f"/v1/runs/{run['id']}/tool-calls"))["data"]
    assert [one["status"] for one in lines] == ["completed", "completed", "failed", "failed"]
    made = orjson.loads(lines[0]["result"])
    assert [one["id"] for one in orjson.loads(lines[1]["result"])] == [made["id"]]
    held = (await server.call("GET", f"/v1/artifacts/{made['id']}"))["data"]
    assert (held["user_id"], held["run_id"], held["file_name"]) == ("w", run["id"], "Q3.md")
    listed = (await server.call("GET", f"/v1/apps/{app['id']}/runs/{run['id']}/artifacts"))["data"]
    assert [(one["name"], one["kind"], one["version"]) for one in listed] == [("Q3", "markdown", 1)]
    assert (await anybody.get(listed[0]["url"])).text == "# Q3"
    assert (await anybody.get(listed[0]["url"][:-4] + "AAAA")).status_code == 401
    server.model.requests.clear()
    server.model.scripts = [
        call(action="update", artifact_id=made["id"], content="# Q3, corrected"),
        call(action="get", artifact_id=made["id"]),
        call(action="update", artifact_id=made["id"]),
        answer("Done."),
    ]
    run = (await server.call("POST", f"/apps/{app['id']}/v1/runs", json=body))["data"]
    lines = (await server.call("GET", f"/v1/runs/{run['id']}/tool-calls"))["data"]
    assert orjson.loads(lines[0]["result"])["version"] == 2
    assert lines[1]["result"].endswith("# Q3, corrected")
    assert lines[2]["status"] == "failed"
    conversation = run["conversation_id"]
    await server.call("DELETE", f"/v1/conversations/{conversation}")
    assert "run_id" in (await server.call("GET", f"/v1/artifacts/{made['id']}"))["data"]
