"""The data is where the server says it is; all of it is moved and removed, and what removed installations left behind
is found."""

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stoa.cli.main import app as command_line
from stoa.db.embedded import EmbeddedError, leftovers, locate, move, remove, remove_leftover, start_embedded
from stoa.db.embedded import places as layout
from tests.support.embedded import as_root, ask, open_room


@pytest.fixture
def room() -> Iterator[Path]:
    yield from open_room()


async def make(data_dir: Path, elsewhere: Path) -> None:
    """An installation with a table, a blob and a secret."""
    server = await start_embedded(data_dir, elsewhere=elsewhere)
    await ask(server.dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
    await server.stop()
    (data_dir / "blobs" / "org").mkdir(parents=True, exist_ok=True)
    (data_dir / "blobs" / "org" / "blob").write_bytes(b"content")
    (data_dir / "secret.key").write_bytes(b"secret")


async def holds(data_dir: Path, elsewhere: Path) -> bool:
    server = await start_embedded(data_dir, elsewhere=elsewhere)
    try:
        return (
            await ask(server.dsn, "SELECT answer FROM kept") == 42
            and (data_dir / "blobs/org/blob").read_bytes() == b"content"
        )
    finally:
        await server.stop()


def closed(room: Path) -> Path:
    """A directory that only root may enter, like /root."""
    private = room / "private"
    private.mkdir(mode=0o700, exist_ok=True)
    return private


@as_root
async def test_a_private_data_directory_lets_the_account_through_and_nobody_else(room: Path) -> None:
    data, elsewhere = room / "data", room / "elsewhere"
    data.mkdir(mode=0o700)
    await make(data, elsewhere)
    assert locate(data).database == data / "postgres"
    assert not elsewhere.exists()
    assert data.stat().st_mode & 0o007 == 0
    assert (data / "blobs").stat().st_mode & 0o077 == 0
    stranger = layout.Account(name="daemon", uid=1, gid=1, launcher="root", dropped=True)
    assert not stranger.can_enter(data)
    assert await holds(data, elsewhere)


@as_root
async def test_nothing_is_opened_that_holds_what_is_not_ours_or_lies_above(room: Path) -> None:
    shared, elsewhere = room / "shared", room / "elsewhere"
    shared.mkdir(mode=0o700)
    (shared / "diary.txt").write_text("private")
    await make(shared, elsewhere)
    assert locate(shared).elsewhere
    assert shared.stat().st_mode & 0o777 == 0o700
    await make(closed(room) / "data", elsewhere)
    assert locate(room / "private" / "data").elsewhere
    assert closed(room).stat().st_mode & 0o777 == 0o700


@as_root
async def test_a_database_elsewhere_comes_home_when_it_is_moved_to_where_its_account_may_go(room: Path) -> None:
    elsewhere = room / "elsewhere"
    await make(closed(room) / "data", elsewhere)
    (base,) = elsewhere.iterdir()
    assert (base / "data-directory").read_text() == f"{room / 'private' / 'data'}\n"
    found = await move(room / "private" / "data", room / "new" / "data")
    assert (found.directory, found.database) == (room / "new" / "data", room / "new" / "data" / "postgres")
    assert not base.exists()
    assert not (room / "private" / "data").exists()
    assert await holds(room / "new" / "data", elsewhere)


@as_root
async def test_a_move_that_was_killed_before_it_forgot_the_old_place_loses_nothing(room: Path) -> None:
    elsewhere = room / "elsewhere"
    await make(closed(room) / "data", elsewhere)
    (base,) = elsewhere.iterdir()
    (room / "private" / "data").rename(room / "data")
    (base / "cluster").rename(room / "data" / "postgres" / "cluster")
    assert await holds(room / "data", elsewhere)
    assert locate(room / "data").database == room / "data" / "postgres"


@as_root
async def test_a_database_elsewhere_stays_when_its_account_cannot_follow_and_knows_its_new_owner(room: Path) -> None:
    elsewhere = room / "elsewhere"
    await make(closed(room) / "data", elsewhere)
    (base,) = elsewhere.iterdir()
    found = await move(room / "private" / "data", room / "private" / "moved")
    assert (found.database, found.elsewhere) == (base, True)
    assert leftovers(elsewhere) == []
    assert await holds(room / "private" / "moved", elsewhere)
    await make(room / "open", elsewhere)
    with pytest.raises(EmbeddedError, match="cannot enter"):
        await move(room / "open", room / "private" / "open")
    assert await holds(room / "open", elsewhere)


async def test_moving_refuses_what_would_lose_something(room: Path) -> None:
    data, elsewhere = room / "data", room / "elsewhere"
    await make(data, elsewhere)
    (room / "full").mkdir()
    (room / "full" / "file").write_text("x")
    for target, words in (
        (room / "full", "not an empty"),
        (data / "inside", "within one another"),
        (room, "within one another"),
    ):
        with pytest.raises(EmbeddedError, match=words):
            await move(data, target)
    with pytest.raises(EmbeddedError, match="no data"):
        await move(room / "nothing", room / "new")
    server = await start_embedded(data, elsewhere=elsewhere)
    for refused in (move(data, room / "new"), remove(data)):
        with pytest.raises(EmbeddedError, match="Stop it first"):
            await refused
    await server.stop()
    assert await holds(data, elsewhere)


async def test_between_file_systems_all_of_it_is_copied_with_its_owners(room: Path, tmp_path: Path) -> None:
    if room.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("this machine has one file system for both")
    for part in (tmp_path, *tmp_path.parents[:2]):
        part.chmod(0o755)
    data, elsewhere = room / "data", room / "elsewhere"
    await make(data, elsewhere)
    owner = (data / "postgres" / "cluster").stat().st_uid
    target = Path(f"/var/tmp/stoa-test-{os.getpid()}")
    try:
        await move(data, target)
        assert (target / "postgres" / "cluster").stat().st_uid == owner
        assert not data.exists()
        assert await holds(target, elsewhere)
    finally:
        shutil.rmtree(target, ignore_errors=True)


@as_root
async def test_removing_takes_the_database_along_and_leaves_what_is_not_ours(room: Path) -> None:
    elsewhere = room / "elsewhere"
    data = closed(room) / "data"
    await make(data, elsewhere)
    (data / "notes.txt").write_text("mine")
    assert await remove(data) == [data / "notes.txt"]
    assert list(elsewhere.iterdir()) == []
    assert sorted(path.name for path in data.iterdir()) == ["notes.txt"]


@as_root
async def test_what_a_deleted_data_directory_leaves_is_found_and_removed(room: Path) -> None:
    elsewhere = room / "elsewhere"
    data = closed(room) / "data"
    await make(data, elsewhere)
    (base,) = elsewhere.iterdir()
    assert leftovers(elsewhere) == []
    with pytest.raises(EmbeddedError, match="no database that"):
        await remove_leftover(base, elsewhere)
    shutil.rmtree(data)
    (left,) = leftovers(elsewhere)
    assert (left.path, left.owner) == (base, data)
    await make(data, elsewhere)
    assert [one.path for one in leftovers(elsewhere)] == [base]
    (base / "data-directory").unlink()
    assert leftovers(elsewhere)[0].owner is None
    await remove_leftover(base, elsewhere)
    assert leftovers(elsewhere) == []
    assert await holds(data, elsewhere)


async def test_a_removal_that_was_killed_half_way_can_be_repeated(room: Path) -> None:
    data, elsewhere = room / "data", room / "elsewhere"
    await make(data, elsewhere)
    shutil.rmtree(data / "blobs")
    shutil.rmtree(data / "postgres" / "cluster")
    assert await remove(data) == []
    assert not data.exists()


async def test_the_command_asks_by_name_and_says_both_places(room: Path) -> None:
    data = room / "data"
    await make(data, room / "elsewhere")
    run = CliRunner().invoke
    shown = await in_thread(run, command_line, ["data", "path", "--data-dir", str(data)])
    assert f"database  {data / 'postgres'}" in shown.stdout
    for said in ("", "other\n"):
        assert (
            await in_thread(run, command_line, ["data", "remove", "--data-dir", str(data)], input=said)
        ).exit_code == 1
        assert data.exists()
    moved = await in_thread(run, command_line, ["data", "move", str(room / "moved"), "--data-dir", str(data)])
    assert moved.exit_code == 0, moved.output
    done = await in_thread(run, command_line, ["data", "remove", "--data-dir", str(room / "moved")], input="moved\n")
    assert done.exit_code == 0, done.output
    assert not (room / "moved").exists()


async def in_thread(run: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    return await asyncio.to_thread(run, *arguments, **options)
