"""A backup is whole or not there; everything is in it while others write and delete; what was damaged is found and
named; what is restored keeps every promise."""

import asyncio
import dataclasses
import hashlib
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import asyncpg
import pytest
from typer.testing import CliRunner

from stoa.app import open_doctor
from stoa.app.backing_up import open_backups
from stoa.cli.backing_up import LIVE
from stoa.cli.main import app as command_line
from stoa.db.backup.checking import check
from stoa.db.backup.contents import directories
from stoa.db.backup.notes import check_whole
from stoa.db.backup.reading import LEFT_OUT
from stoa.db.backup.repository import Busy, Repository, make_repository, open_repository
from stoa.db.backup.restoring import begin, restore
from stoa.db.backup.scheduling import Backups
from stoa.db.backup.taking import Origin, take
from stoa.db.backup.types import BackupError, Keep, Manifest, Migrated, Taken, WrongSecret
from stoa.db.checks import Scope
from stoa.db.migrate import SchemaError, migrate, migrations
from stoa.http.component import Kit
from stoa.kernel.clock import SystemClock
from stoa.settings import Settings
from tests.conftest import Running, serving
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel, answer
from tests.support.knowledge import base_of, search, settled, upload
from tests.support.pages import ROOT, blocks

KEPT_UP = (
    "audit", "audit_heads", "key_uses", "nodes", "list_changes", "list_counts", "list_progress", "usage_progress",
    "usage_sums", "usage_totals",
)  # fmt: skip
"""What the server writes by itself while a test compares; audit lines are sealed a moment after they are written."""
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
        return await take(Origin(server.dsn, server.data_dir, directories(server.data_dir), **origin), repository)


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
            if table not in LEFT_OUT and table not in KEPT_UP
        }
    finally:
        await connection.close()


async def broken(dsn: str, data_dir: Path) -> dict[str, list[str]]:
    """What the doctor finds, but what waits for a server only."""
    async with open_doctor(Settings(data_dir=data_dir), dsn) as doctor:
        report = await doctor.examine(Scope(), full=True)
    assert report.complete
    assert set(LIVE) <= {one.name for one in report.diagnoses}
    return {one.name: [finding.detail for finding in one.findings] for one in report.diagnoses if one.count}


def files_of(data_dir: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(data_dir)): path.read_bytes()
        for directory in ("blobs", "knowledge", "artifacts")
        for path in (data_dir / directory).rglob("*")
        if path.is_file()
    }


async def test_a_restore_equals_the_original(lived: Lived, cluster: Databases, tmp_path: Path) -> None:
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


async def test_what_rows_name_is_there_while_others_upload_and_delete(cluster: Databases, tmp_path: Path) -> None:
    """Streams, uploads and deletions go on all the while."""
    name = f"busy_{uuid4().hex}"
    async with serving(await cluster.copy(name), tmp_path / "data", ScriptedModel([answer(*"busy" * 20)])) as server:
        stopping = asyncio.Event()

        async def churn(number: int) -> None:
            while not stopping.is_set():
                talk = await server.conversation(title=f"Talk {number}")
                path = f"/v1/conversations/{talk}/files"
                await server.call("POST", path, 201, files={"file": ("a.txt", os.urandom(20_000).hex().encode())})
                await server.ask(talk, "Hi")
                await server.call("DELETE", f"/v1/conversations/{talk}")

        async with asyncio.TaskGroup() as crew:
            for number in range(3):
                crew.create_task(churn(number))
            await server.ask(await server.conversation(), "Hi")
            taken = await backup(server, tmp_path / "backups")
            stopping.set()
    repository = open_repository(tmp_path / "backups", None)
    assert taken.manifest.contents.missing == []
    assert (await check(repository, taken.manifest)).damages == []
    dsn = await restored(cluster, repository, taken.manifest, tmp_path / "new")
    assert (await broken(dsn, tmp_path / "new")).keys() <= set(LIVE)


async def test_a_file_deleted_between_snapshot_and_copy_leads_to_another_snapshot(lived: Lived, tmp_path: Path) -> None:
    """It comes after the first snapshot and is deleted right after the second."""
    server, talks, passes = lived.server, list[str](), list[str]()
    loop = asyncio.get_running_loop()

    async def upload_one() -> None:
        talks.append(await server.conversation())
        files = {"file": ("short.txt", b"Short is life.")}
        await server.call("POST", f"/v1/conversations/{talks[0]}/files", 201, files=files)

    def tell(said: str) -> None:
        if said.startswith("files, pass"):
            passes.append(said)
            if len(passes) == 1:
                asyncio.run_coroutine_threadsafe(upload_one(), loop).result(30)
            if len(passes) == 2:
                gone = server.call("DELETE", f"/v1/conversations/{talks[0]}")
                asyncio.run_coroutine_threadsafe(gone, loop).result(30)

    repository = make_repository(tmp_path / "backups", None)
    with repository.held(alone=True):
        origin = Origin(server.dsn, server.data_dir, directories(server.data_dir))
        # In a loop of its own, so that the server goes on while this one is in `tell`.
        taken = await asyncio.to_thread(asyncio.run, take(origin, repository, tell))
    assert len(passes) == 3
    digest = hashlib.sha256(b"Short is life.").hexdigest()
    names = [content.name for content in repository.contents(taken.manifest.contents.pieces)]
    assert digest not in {name.rpartition("/")[2] for name in names}
    assert taken.manifest.contents.missing == []


async def test_a_file_that_is_missing_at_its_origin_is_named(lived: Lived, tmp_path: Path) -> None:
    (path,) = (path for path in (lived.server.data_dir / "blobs").rglob("*") if path.is_file())
    content = path.read_bytes()
    for broken_file in (None, b"Rotten"):
        path.unlink()
        if broken_file is not None:
            path.write_bytes(broken_file)
        taken = await backup(lived.server, tmp_path / f"backups-{broken_file}")
        path.write_bytes(content)
        (missing,) = taken.manifest.contents.missing
        assert missing.endswith(path.name)
    assert (await backup(lived.server, tmp_path / "backups-None")).manifest.contents.missing == []


async def test_whatever_is_cut_changed_or_missing_is_found_and_named(lived: Lived, tmp_path: Path) -> None:
    root = tmp_path / "backups"
    for secret in (None, SECRET):
        shutil.rmtree(root, ignore_errors=True)
        taken = await backup(lived.server, root, secret)
        repository, manifest = open_repository(root, secret), taken.manifest
        pieces = sorted((root / "pieces").glob("??/*"))
        for path in pieces[:: max(1, len(pieces) // 3)]:
            content = path.read_bytes()
            flipped = bytes([content[0], content[1] ^ 1, *content[2:]])
            for damaged in (content[:-1], content[: len(content) // 2], b"", flipped, content + b"x", None):
                path.unlink()
                if damaged is not None:
                    path.write_bytes(damaged)
                found = (await check(repository, manifest)).damages
                assert {one.path for one in found} == {str(path)}, (path, damaged and len(damaged))
                assert all(one.of for one in found)
            path.write_bytes(content)
        assert (await check(repository, manifest)).damages == []
        listed = root / "backups" / manifest.id
        content = listed.read_bytes()
        listed.write_bytes(content[:-10] + b"x" + content[-9:])
        with pytest.raises(BackupError, match=manifest.id):
            repository.manifest(manifest.id)


async def test_a_damaged_piece_is_stored_again_once_it_is_gone(lived: Lived, tmp_path: Path) -> None:
    first = await backup(lived.server, tmp_path / "backups")
    repository = open_repository(tmp_path / "backups", None)
    for path in (tmp_path / "backups" / "pieces").glob("??/*"):
        path.unlink()
    assert len((await check(repository, first.manifest)).damages) > 3
    second = await backup(lived.server, tmp_path / "backups")
    assert (await check(repository, second.manifest)).damages == []


async def test_a_backup_does_not_rely_on_damaged_pieces(
    lived: Lived, cluster: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each day another share of what is there already is read again; here all of it."""
    root = tmp_path / "backups"
    first = await backup(lived.server, root)
    for path in (root / "pieces").glob("??/*"):
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    repository = open_repository(root, None)
    with pytest.raises(BackupError, match=r"is damaged .* same command again"):
        await restored(cluster, repository, first.manifest, tmp_path / "broken")
    monkeypatch.setattr("stoa.db.backup.repository.READ_AGAIN_DAYS", 1)
    second = await backup(lived.server, root)
    assert len(second.damaged) > 3
    assert (await check(repository, second.manifest)).damages == []
    assert not (await backup(lived.server, root)).damaged


async def test_encrypted(lived: Lived, cluster: Databases, tmp_path: Path) -> None:
    root = tmp_path / "backups"
    await asyncio.to_thread((lived.server.data_dir / "secret.key").touch)
    taken = await backup(lived.server, root, SECRET, with_secret_key=True)
    for wrong in (None, b"something else"):
        with pytest.raises(WrongSecret):
            open_repository(root, wrong)
    for path in root.rglob("*"):
        if path.is_file():
            assert b"What we found" not in path.read_bytes()
            assert b"CREATE" not in path.read_bytes()
    assert not {path.name for path in (root / "pieces").glob("??/*")} & {
        path.name for path in (lived.root / "pieces").glob("??/*")
    }, "a name does not tell what it names"
    home = tmp_path / "new"
    dsn = await restored(cluster, open_repository(root, SECRET), taken.manifest, home)
    assert await rows_of(dsn) == await rows_of(lived.server.dsn)
    assert (home / "secret.key").read_bytes() == (lived.server.data_dir / "secret.key").read_bytes()
    with pytest.raises(BackupError, match="encrypted"):
        await backup(lived.server, lived.root, with_secret_key=True)
    with pytest.raises(BackupError, match="not encrypted"):
        make_repository(lived.root, SECRET)


async def test_nothing_that_is_there_is_overwritten(lived: Lived, cluster: Databases, tmp_path: Path) -> None:
    repository, manifest = open_repository(lived.root, None), lived.taken.manifest
    with pytest.raises(BackupError, match="holds data already"):
        begin(lived.server.data_dir, manifest)
    begun = begin(tmp_path, manifest)
    with pytest.raises(BackupError, match="database holds a Stoa already"):
        await restore(repository, manifest, lived.server.dsn, tmp_path, begun=begun)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BackupError, match="holds other things"):
        make_repository(tmp_path, None)
    with pytest.raises(BackupError, match="Is its disk mounted"):
        make_repository(tmp_path / "not" / "there", None)


async def test_a_restore_that_broke_off_goes_on(lived: Lived, cluster: Databases, tmp_path: Path) -> None:
    manifest = (await backup(lived.server, tmp_path / "backups")).manifest
    repository, tmp_path = open_repository(tmp_path / "backups", None), tmp_path / "new"
    dsn = await cluster.copy(f"again_{uuid4().hex}", "template1")
    name = next(table.pieces[-1].id for table in reversed(manifest.tables) if table.pieces)
    last = repository.root / "pieces" / name[:2] / name
    content = last.read_bytes()
    assert not begin(tmp_path, manifest)
    try:
        last.unlink()
        with pytest.raises(BackupError, match=str(last)):
            await restore(repository, manifest, dsn, tmp_path, begun=False)
    finally:
        last.write_bytes(content)
    with pytest.raises(SchemaError, match="has not ended"):
        check_whole(tmp_path)
    connection = await asyncpg.connect(dsn)
    assert await connection.fetchval("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == 0
    await connection.close()
    another = dataclasses.replace(manifest, id="20200101T000000.000Z-1a2b3c4d")
    with pytest.raises(BackupError, match="another backup"):
        begin(tmp_path, another)
    assert begin(tmp_path, manifest)
    await restore(repository, manifest, dsn, tmp_path, begun=True)
    assert await rows_of(dsn) == await rows_of(lived.server.dsn)


async def test_a_backup_of_an_older_schema_is_brought_to_this_one(
    cluster: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = await cluster.copy(f"old_{uuid4().hex}", "template1")
    with monkeypatch.context() as then:
        then.setattr("stoa.db.migrate.migrations", lambda: [one for one in migrations() if one.number <= 30])
        await migrate(dsn)
    connection = await asyncpg.connect(dsn)
    await connection.execute("INSERT INTO orgs (id, name) VALUES (gen_random_uuid(), 'Old')")
    await connection.close()
    repository = make_repository(tmp_path / "backups", None)
    with repository.held(alone=True):
        taken = await take(Origin(dsn, tmp_path / "data", directories(tmp_path / "data")), repository)
    assert taken.manifest.schema[-1].number == 30
    new = await restored(cluster, repository, taken.manifest, tmp_path / "new")
    connection = await asyncpg.connect(new)
    assert await connection.fetchval("SELECT max(number) FROM stoa_migrations") == migrations()[-1].number
    assert await connection.fetchval("SELECT name FROM orgs") == "Old"
    await connection.close()
    newer = [*taken.manifest.schema, Migrated(9999, "9999_later", "x")]
    with pytest.raises(BackupError, match="made by a newer Stoa"):
        begin(tmp_path / "other", dataclasses.replace(taken.manifest, schema=newer))


async def test_old_backups_go_with_what_only_they_name(lived: Lived, tmp_path: Path) -> None:
    root = tmp_path / "backups"
    talk = await lived.server.conversation()
    files = {"file": ("c.bin", os.urandom(100_000))}
    await lived.server.call("POST", f"/v1/conversations/{talk}/files", 201, files=files)
    first = await backup(lived.server, root)
    await lived.server.call("DELETE", f"/v1/conversations/{talk}")
    second = await backup(lived.server, root)
    repository = open_repository(root, None)
    with repository.held(alone=True):
        assert repository.prune(Keep(last=2)) == ((), 0)
        gone, freed = repository.prune(Keep(last=1))
        with pytest.raises(Busy):
            await backup(lived.server, root)
    assert gone == [first.manifest.id]
    assert freed > 100_000
    assert repository.backups() == [second.manifest.id]
    assert (await check(repository, second.manifest)).damages == []


async def died(what: str, dsn: str, data_dir: Path, root: Path, *steps: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.crashes.dying_backup", what, dsn, str(data_dir), str(root), *steps),
        cwd=Path(__file__).parents[3],
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    return said.decode()


async def test_killed_at_any_step(lived: Lived, cluster: Databases, tmp_path: Path) -> None:
    """Of a backup nothing remains that looks like one; a restore leaves nothing that a server starts with, and goes
    on."""
    root, new, server = tmp_path / "backups", tmp_path / "new", lived.server
    steps = ("files, pass 1", "files, pass 2", "table audit", "table users")
    assert await died("backup", server.dsn, server.data_dir, root, *steps) == "".join(
        f"{one} died 0\n" for one in steps
    )
    taken = await backup(server, root)
    repository = open_repository(root, None)
    assert (await check(repository, taken.manifest)).damages == []
    assert not list(root.rglob("*.new"))
    dsn = await cluster.copy(f"killed_{uuid4().hex}", "template1")
    steps = ("3 of", "table audit", "index", "schema")
    assert await died("restore", dsn, new, root, *steps) == "".join(f"{one} died 1\n" for one in steps)
    with pytest.raises(SchemaError, match="has not ended"):
        check_whole(new)
    assert begin(new, taken.manifest)
    await restore(repository, taken.manifest, dsn, new, begun=True)
    check_whole(new)
    assert await rows_of(dsn) == await rows_of(server.dsn)
    assert files_of(new) == files_of(server.data_dir)


async def stoa(*arguments: str, status: int = 0, **environment: str) -> str:
    result = await asyncio.to_thread(
        CliRunner().invoke, command_line, arguments, env={"COLUMNS": "60", "NO_COLOR": "1", **environment}
    )
    assert result.exit_code == status, (arguments, result.output)
    return result.output


async def test_the_commands(lived: Lived, cluster: Databases, tmp_path: Path) -> None:
    root = str(tmp_path / "backups")
    here = {"STOA_DATABASE_URL": lived.server.dsn, "STOA_DATA_DIR": str(lived.server.data_dir)}
    assert "Name a directory" in await stoa("backup", status=2, **here)
    assert "inside the data directory" in await stoa("backup", f"{lived.server.data_dir}/b", status=1, **here)
    assert "3 files, as of" in await stoa("backup", root, STOA_BACKUP_PASSPHRASE="long enough", **here)
    encrypted = {"STOA_BACKUP_PASSPHRASE": "long enough"}
    own = {**here, **encrypted, "STOA_BACKUP_DIRECTORY": root, "STOA_BACKUP_KEEP_DAILY": "0"}
    own |= {"STOA_BACKUP_KEEP": "1", "STOA_BACKUP_KEEP_WEEKLY": "0", "STOA_BACKUP_KEEP_MONTHLY": "0"}
    shown = json.loads(await stoa("backup", "--json", **own))
    assert len(shown["removed"]) == 1
    assert "is encrypted" in await stoa("restore", root, "--list", status=1)
    assert "not the one" in await stoa("restore", root, "--list", status=1, STOA_BACKUP_PASSPHRASE="long enougj")
    (listed,) = json.loads(await stoa("restore", root, "--list", "--json", **encrypted))
    assert listed["id"] == shown["id"]
    new = await cluster.copy(f"command_{uuid4().hex}", "template1")
    there = {"STOA_DATABASE_URL": new, **encrypted}
    assert "no id of a backup" in await stoa("restore", root, "--backup", "../x", status=1, **there)
    said = await stoa("restore", root, "--into", str(tmp_path / "new"), **there)
    assert "which is this one's" in said
    assert "Put secret.key" in said
    assert await rows_of(new) == await rows_of(lived.server.dsn)
    assert "holds data already" in await stoa("restore", root, "--into", str(tmp_path / "new"), status=1, **there)
    (damaged, *_) = (tmp_path / "backups" / "pieces").glob("??/*")
    damaged.unlink()
    said = await stoa("restore", root, "--check", "--checksums-only", status=1, **encrypted)
    assert f"{damaged} is missing; it holds" in said
    assert "is NOT whole" in said


async def test_the_commands_of_the_guide(
    lived: Lived, cluster: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "backup.key").write_text("c29tZSByYW5kb20gYnl0ZXMgb2YgYSBrZXkgZmlsZQ==\n")
    here = {"STOA_DATABASE_URL": lived.server.dsn, "STOA_DATA_DIR": str(lived.server.data_dir)}
    there = {"STOA_DATABASE_URL": await cluster.copy(f"guide_{uuid4().hex}", "template1")}
    said = []
    for line in "\n".join(blocks(ROOT / "docs/guide/backups.md", "sh")).splitlines():
        command, _, arguments = line.partition(" ")
        if command == "stoa" and not arguments.startswith("serve"):
            said.append(await stoa(*arguments.split(), **(there if "--into" in arguments else here)))
    _, _, checked, restored_into, _, read = said
    assert "is whole" in checked
    assert "it keeps all" in checked
    assert "files into" in restored_into
    assert "It was not restored on trial" in read
    assert not list(tmp_path.glob("stoa-check-*"))


async def test_the_server_takes_one_by_itself(lived: Lived, tmp_path: Path) -> None:
    backup = {"directory": tmp_path / "backups", "passphrase": "long enough", "include_secret_key": True}
    (lived.server.data_dir / "secret.key").touch()
    settings = Settings.model_validate({"data_dir": lived.server.data_dir, "backup": backup})
    nothing: Any = None
    kit = Kit(nothing, lived.server.dsn, SystemClock(), nothing, nothing, nothing, b"")
    component = open_backups(settings, kit)
    (part,) = component.background
    await cast("Backups", part).turn()
    repository = open_repository(tmp_path / "backups", b"long enough")
    (identity,) = repository.backups()
    assert repository.manifest(identity).secret_key is not None
    async with open_doctor(settings, lived.server.dsn) as doctor:
        report = await doctor.examine(Scope())
    assert {one.name: one.count for one in report.diagnoses}["backups.overdue"] == 0


async def test_a_database_user_without_privileges_suffices(lived: Lived, cluster: Databases, tmp_path: Path) -> None:
    """As managed services have it: the owner of the tables is no superuser, and somebody else made the extension."""
    name, role = f"managed_{uuid4().hex}", f"plain_{uuid4().hex}"
    await cluster.execute(f"CREATE ROLE {role} LOGIN NOSUPERUSER; GRANT stoa_tenant TO {role}")
    connection = await asyncpg.connect(await cluster.copy(name, "template1"))
    await connection.execute(f"CREATE EXTENSION vector; GRANT ALL ON SCHEMA public TO {role}")
    await connection.close()
    dsn, manifest, home = cluster(name).replace("//stoa@", f"//{role}@"), lived.taken.manifest, tmp_path / "new"
    await restore(open_repository(lived.root, None), manifest, dsn, home, begun=begin(home, manifest))
    again = await asyncio.to_thread(make_repository, tmp_path / "backups", None)
    with again.held(alone=True):
        taken = await take(Origin(dsn, home, directories(home)), again)
    assert {one.name: one.pieces for one in taken.manifest.tables} == {one.name: one.pieces for one in manifest.tables}
    await cluster.drop(name)
    await cluster.execute(f"DROP ROLE {role}")


def test_a_damaged_description_is_an_error(tmp_path: Path) -> None:
    make_repository(tmp_path / "backups", SECRET)
    description = tmp_path / "backups" / "repository.json"
    whole = json.loads(description.read_text())
    costly = {**whole["encryption"], "kdf": {**whole["encryption"]["kdf"], "memory_cost": 2**40}}
    for damaged in ("{", "[]", "{}", '{"format": 1}', json.dumps({**whole, "encryption": costly})):
        description.write_text(damaged)
        with pytest.raises(BackupError, match=r"repository\.json"):
            open_repository(tmp_path / "backups", SECRET)
