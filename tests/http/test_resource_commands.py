"""The commands of triggers, memories, memory stores, skills and artifacts: as tables, as JSON, and with their codes."""

import json
from pathlib import Path

import pytest

from tests.conftest import Running
from tests.support.apps import deployed
from tests.support.terminal import Terminal


@pytest.fixture
def stoa(shared_server: Running) -> Terminal:
    return Terminal(shared_server)


async def test_triggers(stoa: Terminal, shared_server: Running) -> None:
    await deployed(shared_server, {"agent": {"model": "stoa-extractive", "instructions": "x"}}, name="Report")
    assert "There are none" in await stoa("triggers", "list", "Report")
    daily = ["--schedule", "0 6 * * *", "--timezone", "Europe/Vienna", "--input", "Write it.", "--activate"]
    made = (await stoa("triggers", "create", "Report", "nightly", *daily)).strip()
    listed = await stoa("triggers", "list", "Report")
    assert all(words in listed for words in (made, "nightly", "active", "0 6 * * *"))
    assert len(json.loads(await stoa("triggers", "next", "Report", "nightly", "--count", "3", "--json"))) == 3
    assert "pending" in await stoa("triggers", "run", "Report", "nightly")
    assert "manual" in await stoa("triggers", "events", "Report", "nightly")
    assert "inactive" in await stoa("triggers", "deactivate", "Report", made)
    assert "active" in await stoa("triggers", "activate", "Report", made)
    hook = await stoa("triggers", "create", "Report", "deliveries")
    assert "shown this once" in hook
    assert (await stoa("triggers", "renew-url", "Report", "deliveries")).strip() not in hook
    assert '"provider": "webhook"' in await stoa("triggers", "show", "Report", "deliveries", "--json")
    assert "deleted" in await stoa("triggers", "delete", "Report", "nightly", "--yes")
    assert "There is no trigger named nightly" in await stoa("triggers", "show", "Report", "nightly", status=1)
    assert "There is no app named Nothing" in await stoa("triggers", "list", "Nothing", status=1)


async def test_memories(stoa: Terminal) -> None:
    memory = (await stoa("memory", "create", "support")).strip()
    assert memory in await stoa("memory", "list")
    await stoa("memory", "add", "support", "I prefer trains.", "--user", "u 1&x")
    await stoa("memory", "add", "support", "-", "--user", "u 1&x", said="And tea.")
    assert "And tea." in await stoa("memory", "items", "support", "--user", "u 1&x")
    assert len(json.loads(await stoa("memory", "items", "support", "--user", "u 1&x", "--json"))) == 2
    assert "Nothing is remembered" in await stoa("memory", "items", "support", "--user", "nobody")
    assert "memory_items" in await stoa("memory", "forget", "support", "--user", "u 1&x", "--yes")
    assert "support" in await stoa("memory", "show", memory)
    json.loads(await stoa("memory", "delete", "support", "--yes"))
    assert "There is no memory named support" in await stoa("memory", "show", "support", status=1)


async def test_memory_stores(stoa: Terminal) -> None:
    store = (await stoa("memory-stores", "create", "notes", "--description", "Of users")).strip()
    assert "Of users" in await stoa("memory-stores", "list")
    written = await stoa("memory-stores", "write", "notes", "plans/a b.md", "--user", "u", said="Trains & tea.\n")
    assert "written" in written
    assert "plans/a b.md" in await stoa("memory-stores", "files", "notes", "--user", "u")
    assert await stoa("memory-stores", "read", "notes", "plans/a b.md", "--user", "u") == "Trains & tea.\n"
    json.loads(await stoa("memory-stores", "remove", "notes", "plans/a b.md", "--user", "u", "--yes"))
    assert "There are no notes" in await stoa("memory-stores", "files", "notes", "--user", "u")
    assert "notes" in await stoa("memory-stores", "show", store)
    json.loads(await stoa("memory-stores", "delete", "notes", "--yes"))


async def test_skills(stoa: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "refunds.md"
    file.write_text("Ask for the number.")
    about = ["--description", "Use for refunds."]
    skill = (await stoa("skills", "create", "refunds", str(file), *about)).strip()
    listed = await stoa("skills", "list")
    assert all(words in listed for words in (skill, "refunds"))
    assert await stoa("skills", "read", "refunds") == "Ask for the number.\n"
    await stoa("skills", "release", "refunds", "-", *about, said="Ask twice.")
    assert await stoa("skills", "read", "refunds") == "Ask twice.\n"
    assert await stoa("skills", "read", "refunds", "--version", "1") == "Ask for the number.\n"
    assert len(json.loads(await stoa("skills", "versions", "refunds", "--json"))) == 2
    archive = tmp_path / "refunds.zip"
    await stoa("skills", "download", "refunds", str(archive))
    assert archive.read_bytes()[:2] == b"PK"
    json.loads(await stoa("skills", "delete", "refunds", "--yes"))
    again = (await stoa("skills", "upload", str(archive))).strip()
    assert "refunds" in await stoa("skills", "show", again)
    assert "No such file" in await stoa("skills", "upload", str(tmp_path / "none.zip"), status=2)
    assert "There is no skill named x" in await stoa("skills", "show", "x", status=1)


async def test_artifacts(stoa: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "report.md"
    file.write_text("# All is well")
    made = (await stoa("artifacts", "publish", str(file), "--name", "Weekly")).strip()
    listed = await stoa("artifacts", "list")
    assert all(words in listed for words in (made, "Weekly", "markdown"))
    await stoa("artifacts", "publish", "-", "--into", "Weekly", said="# All is better")
    assert len(json.loads(await stoa("artifacts", "versions", "Weekly", "--json"))) == 2
    assert await stoa("artifacts", "download", "Weekly", "-") == "# All is better"
    await stoa("artifacts", "download", "Weekly", str(tmp_path / "one.md"), "--version", "1")
    assert (tmp_path / "one.md").read_text() == "# All is well"
    assert "/v1/shared/" in await stoa("artifacts", "share", "Weekly")
    assert "no longer shared" in await stoa("artifacts", "unshare", "Weekly")
    assert "Weekly" in await stoa("artifacts", "show", made)
    assert "--name" in await stoa("artifacts", "publish", "-", said="x", status=2)
    json.loads(await stoa("artifacts", "delete", made, "--yes"))
