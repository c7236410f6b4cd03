"""Skills over HTTP: versions, archives and their limits, what an agent reads of them."""

import io
import stat
import zipfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest

from stoa.gateway import Capabilities
from tests.conftest import Running, serving
from tests.support.apps import deployed
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel, answer, calling
from tests.support.graphs import flow, node

SKILL = """---
name: refunds
description: >
  Use when a customer
  asks for money back.
---

# Refunds

Ask first.
"""


@pytest.fixture(scope="module")
async def server(cluster: Databases, room: Path) -> AsyncIterator[Running]:
    name = f"skills_{uuid4().hex}"
    model = ScriptedModel(given_abilities=Capabilities(images=False, tools=True))
    async with serving(await cluster.copy(name), room / name, model) as made:
        yield made


def zipped(files: Mapping[str, bytes | str]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


async def create(server: Running, name: str, instructions: str = "Ask first.") -> dict[str, Any]:
    body = {"name": name, "description": "Use when asked.", "instructions": instructions}
    return dict((await server.call("POST", "/v1/skills", 201, json=body))["data"])


async def upload(server: Running, content: bytes, status: int = 201, path: str = "/v1/skills/upload") -> Any:
    return await server.call("POST", path, status, files={"file": ("skill.zip", content, "application/zip")})


async def test_a_skill_has_versions(server: Running) -> None:
    made = await create(server, "versions")
    path = f"/v1/skills/{made['id']}"
    assert made["latest_version"]["version"] == 1
    body = {"description": "Use more often.", "instructions": "Ask twice."}
    second = (await server.call("POST", f"{path}/versions", 201, json=body))["data"]
    assert second["version"] == 2
    changed = (await server.call("GET", path))["data"]
    assert changed["description"] == "Use more often."
    assert changed["latest_version_id"] == second["id"]
    listed = (await server.call("GET", f"{path}/versions"))["data"]
    assert [one["version"] for one in listed] == [2, 1]
    for named, said in ((second["id"], "Ask twice."), ("latest", "Ask twice."), ("1", "Ask first.")):
        read = await server.call("GET", f"{path}/versions/{named}/instructions")
        assert read["instructions"] == said
    await server.call("GET", f"{path}/versions/9/instructions", 404)
    await server.call("GET", f"{path}/versions/other/instructions", 400)
    archive = await server.client.get(f"{path}/versions/latest/download")
    with zipfile.ZipFile(io.BytesIO(archive.content)) as opened:
        assert b"Ask twice." in opened.read("SKILL.md")
    assert archive.headers["content-type"] == "application/zip"


async def test_names_are_taken_once(server: Running) -> None:
    made = await create(server, "taken")
    body = {"name": "taken", "description": "d", "instructions": "i"}
    assert (await server.call("POST", "/v1/skills", 409, json=body))["error"]["details"] == {"name": "is taken"}
    other = await create(server, "free")
    await server.call("PUT", f"/v1/skills/{other['id']}", 409, json={"name": "taken"})
    changed = (await server.call("PUT", f"/v1/skills/{made['id']}", json={"description": "Another."}))["data"]
    assert (changed["name"], changed["description"]) == ("taken", "Another.")
    for bad in ("", "../up", "a/b", "x" * 65, "-a"):
        await server.call("POST", "/v1/skills", 400, json={**body, "name": bad})


async def test_an_archive_is_kept_byte_for_byte(server: Running) -> None:
    content = zipped({"SKILL.md": SKILL, "scripts/run.py": "print(1)", "data.bin": b"\0\1"})
    made = (await upload(server, content))["data"]
    assert (made["name"], made["description"]) == ("refunds", "Use when a customer asks for money back.")
    files = {one["path"]: one["size"] for one in made["latest_version"]["files"]}
    assert files == {"SKILL.md": len(SKILL), "scripts/run.py": 8, "data.bin": 2}
    path = f"/v1/skills/{made['id']}/versions"
    assert (await server.client.get(f"{path}/1/download")).content == content
    read = await server.call("GET", f"{path}/latest/instructions")
    assert read["instructions"] == "# Refunds\n\nAsk first."
    second = (await upload(server, zipped({"SKILL.md": "No front matter."}), path=f"{path}/upload"))["data"]
    assert (second["version"], second["description"]) == (2, "No front matter.")


def _link() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("SKILL.md", SKILL)
        entry = zipfile.ZipInfo("link")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    return made.getvalue()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"no zip", "no ZIP archive"),
        (zipped({"refunds/SKILL.md": SKILL}), "no SKILL.md at its root"),
        (zipped({"SKILL.md": SKILL, "../up": "x"}), "outside"),
        (zipped({"SKILL.md": SKILL, "/etc/x": "x"}), "outside"),
        (zipped({"SKILL.md": b"\xff\xfe"}), "not UTF-8"),
        (zipped({"SKILL.md": "---\nname: a\n---\n"}), "empty"),
        (zipped({"SKILL.md": SKILL, "bomb": b"\0" * 17 * 1024 * 1024}), "unpacks to more"),
        (zipped({"SKILL.md": SKILL} | {f"f{number}": "" for number in range(500)}), "501 files"),
        (zipped({"SKILL.md": SKILL})[:-30], "no ZIP archive"),
        (_link(), "link"),
    ],
)
async def test_what_is_no_skill_is_refused(server: Running, content: bytes, why: str) -> None:
    refused = await upload(server, content, 400)
    assert why in refused["error"]["details"]["file"]


async def test_a_large_archive_is_refused(server: Running) -> None:
    await upload(server, b"x" * (1024 * 1024 + 4096), 413)


async def test_deleting_takes_every_version(server: Running) -> None:
    made = await create(server, "gone")
    gone = await server.call("DELETE", f"/v1/skills/{made['id']}")
    receipt = (await server.call("GET", f"/v1/deletions/{gone['deletion_id']}"))["data"]
    assert receipt["verified_at"]
    assert receipt["stores"]["skill_versions"] == {"rows": 1, "bytes": 10}
    await server.call("GET", f"/v1/skills/{made['id']}", 404)


async def test_an_agent_reads_its_skills(server: Running) -> None:
    content = zipped({"SKILL.md": SKILL.replace("refunds", "returns"), "guide.md": "Be kind.", "data.bin": b"\0\1"})
    made = (await upload(server, content))["data"]
    inline = await create(server, "greetings", "Say hello.")
    source = {"skills": [{"id": made["id"], "version_id": made["latest_version_id"], "name": "returns"},
                         {"id": inline["id"], "version_id": "latest", "name": "greetings"}]}  # fmt: skip
    app = await deployed(server, flow(node("agent", "a", "start", skills={"enabled": True, "source": source})))
    calls = [
        {"action": "get", "skill_name": "returns"},
        {"action": "read", "skill_name": "returns", "path": "guide.md"},
        {"action": "read", "skill_name": "returns", "path": "data.bin"},
        {"action": "read", "skill_name": "greetings", "path": "guide.md"},
        {"action": "get", "skill_name": "greetings"},
        {"action": "get", "skill_name": "another"},
    ]
    server.model.requests.clear()
    server.model.scripts = [*(calling(("skills", orjson.dumps(one).decode())) for one in calls), answer("Done.")]
    body = {"input": {"input": "Refund me."}}
    run = (await server.call("POST", f"/apps/{app['id']}/v1/runs", json=body))["data"]
    lines = (await server.call("GET", f"/v1/runs/{run['id']}/tool-calls"))["data"]
    said = [one.get("result") or one["error"]["message"] for one in lines]
    assert said[0] == "# Refunds\n\nAsk first.\n\nFiles of this skill:\n- guide.md\n- data.bin"
    assert said[1] == "Be kind."
    assert "is no text" in said[2]
    assert "has no file" in said[3]
    assert said[4] == "Say hello."
    (offered,) = server.model.requests[0].tools
    assert "- returns: Use when a customer asks for money back.\n- greetings: Use when asked." in offered.description
    await server.call("DELETE", f"/v1/skills/{made['id']}")
    server.model.requests.clear()
    server.model.scripts = [answer("Done.")]
    await server.call("POST", f"/apps/{app['id']}/v1/runs", json=body)
    (offered,) = server.model.requests[0].tools
    assert "returns" not in offered.description
