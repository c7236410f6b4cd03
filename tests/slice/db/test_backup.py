"""A backup is whole or not there; everything is in it while others write and delete; what was damaged is found and
named; what is restored keeps every promise."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import pytest

from stoa.app import open_doctor
from stoa.db.backup import (
    BackupError,
    Busy,
    Keep,
    Manifest,
    Origin,
    Repository,
    Taken,
    WrongSecret,
    begin,
    check,
    check_whole,
    make_repository,
    open_repository,
    restore,
    take,
)
from stoa.db.backup.reading import LEFT_OUT
from stoa.db.checks import Scope
from stoa.db.migrate import SchemaError, migrations
from stoa.settings import Settings
from tests.conftest import Running, serving
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel, answer
from tests.support.knowledge import base_of, search, settled, upload

SECRET = b"correct horse battery staple"


@dataclass(frozen=True)
class Lived:
    """A server at rest that has some of everything, and a backup of it."""

    server: Running
    talk: str
    run: str
    base: str
    root: Path
    taken: Taken


@pytest.fixture(scope="module")
async def lived(cluster: Databases, room: Path) -> AsyncIterator[Lived]:
    name = f"lived_{uuid4().hex}"
    model = ScriptedModel([answer("An", " answer", " to\tkeep\n\\N \N{PILE OF POO}")])
    async with serving(await cluster.copy(name), room / name, model) as server:
        talk = await server.conversation(title="Kept")
        run = await server.ask(talk, "Keep this")
        files = {"file": ("a.txt", b"Some text.")}
        await server.call("POST", f"/v1/conversations/{talk}/files", 201, files=files)
        body = {"file_name": "report.md", "name": "Report", "kind": "markdown", "content": "What we found. " * 400_000}
        await server.call("POST", "/v1/artifacts", 201, json=body)
        base = (await base_of(server))["id"]
        await upload(server, base, ("plan.txt", b"The plan is to go north."))
        await settled(server, base)
        root = room / f"backups-{name}"
        taken = await backup(server, root)
        yield Lived(server, talk, run["id"], base, root, taken)


async def backup(server: Running, root: Path, secret: bytes | None = None, **origin: bool) -> Taken:
    repository = await asyncio.to_thread(make_repository, root, secret)
    with repository.held(alone=True):
        return await take(Origin(server.dsn, server.data_dir, **origin), repository)


async def restored(cluster: Databases, repository: Repository, manifest: Manifest, data_dir: Path) -> str:
    dsn = await cluster.copy(f"restored_{uuid4().hex}", "template1")
    begun = begin(data_dir, manifest)
    assert not begun
    await restore(repository, manifest, dsn, data_dir, begun=begun)
    return dsn


async def rows_of(dsn: str) -> Mapping[str, tuple[int, str | None]]:
    """(count, a hash of all rows) by table."""
    connection = await asyncpg.connect(dsn)
    try:
        tables = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1"
        )
        return {
            table: tuple(
                await connection.fetchrow(
                    f"SELECT count(*), md5(string_agg(md5(t::text), '' ORDER BY md5(t::text))) FROM {table} AS t"
                )
            )
            for (table,) in tables
            if table not in LEFT_OUT and table != "nodes"  # The node of the server renews its lease meanwhile.
        }
    finally:
        await connection.close()


async def broken(dsn: str, data_dir: Path) -> dict[str, list[str]]:
    """What the doctor finds, but what waits for a server only."""
    async with open_doctor(Settings(data_dir=data_dir), dsn) as doctor:
        report = await doctor.examine(Scope(), full=True)
    assert report.complete
    return {one.name: [finding.detail for finding in one.findings] for one in report.diagnoses if one.count}


def files_of(data_dir: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(data_dir)): path.read_bytes()
        for directory in ("blobs", "knowledge", "artifacts")
        for path in (data_dir / directory).rglob("*")
        if path.is_file()
    }


async def test_what_is_restored_is_what_was_there(lived: Lived, cluster: Databases, tmp_path: Path) -> None:
    repository = open_repository(lived.root, None)
    manifest = repository.manifest(repository.backups()[-1])
    assert manifest == lived.taken.manifest
    assert (await check(repository, manifest)).damages == []
    assert manifest.contents.count == len(files_of(lived.server.data_dir)) == 3
    dsn = await restored(cluster, repository, manifest, tmp_path / "new")
    assert await rows_of(dsn) == await rows_of(lived.server.dsn)
    assert files_of(tmp_path / "new") == files_of(lived.server.data_dir)
    assert await broken(dsn, tmp_path / "new") == {}
    check_whole(tmp_path / "new")
    async with serving(dsn, tmp_path / "new", ScriptedModel([answer("Still here")])) as server:
        assert (await server.ask(lived.talk, "And now?"))["output"] == "Still here"
        assert await server.events(lived.run) == await lived.server.events(lived.run)
        assert len(await search(server, lived.base, "Where does the plan go?")) == 1
        assert (await server.call("GET", "/v1/audit"))["data"], "its numbers go on after those of the backup"


async def test_another_backup_stores_only_what_is_new(lived: Lived) -> None:
    whole = lived.taken.bytes_stored
    again = await backup(lived.server, lived.root)
    assert again.bytes_stored < whole / 2
    talk = await lived.server.conversation()
    files = {"file": ("b.bin", os.urandom(300_000))}
    await lived.server.call("POST", f"/v1/conversations/{talk}/files", 201, files=files)
    more = await backup(lived.server, lived.root)
    assert 300_000 < more.bytes_stored < 300_000 + whole
    assert more.manifest.contents.count == again.manifest.contents.count + 1
    await lived.server.call("DELETE", f"/v1/conversations/{talk}")
