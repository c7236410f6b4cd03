"""The parent of the workers: what it does when they die, hang, refuse to start, or do not drain."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from stoa.cli.listening import StartError
from stoa.cli.workers import cores
from stoa.cli.workers.channel import plain
from stoa.cli.workers.parent import check_connections, needed, ready_of
from stoa.cli.workers.pool import FAILURES_MAX, Pace, WorkerPool
from stoa.kernel.snapshots import Family
from stoa.settings import Settings, SettingsError, load

pytestmark = [pytest.mark.timeout(60), pytest.mark.skipif(sys.platform == "win32", reason="no workers there")]
PACE = Pace(pause_min=0.01, count_every=0.05, start_max=20, abort=0.1, drain_more=0.3, end_max=0.3)
FAKE = Path(__file__).parents[2] / "support" / "fake_worker.py"


@asynccontextmanager
async def crew_of(
    behaves: str, count: int = 2, pace: Pace = PACE, stopping: asyncio.Event | None = None
) -> AsyncGenerator[WorkerPool]:
    """A crew whose workers are doubles. Nothing of it is left afterwards."""
    listening = socket.socket()
    stopping = stopping or asyncio.Event()
    pool = WorkerPool(count, listening, stopping.is_set, command=(sys.executable, "-S", str(FAKE), behaves), pace=pace)
    before = {child.pid for child in psutil.Process().children()}
    try:
        await pool.spawn()
        yield pool
    finally:
        stopping.set()
        listening.close()
        await pool.kill()
    assert {child.pid for child in psutil.Process().children()} <= before


async def reached(condition: Callable[[], object], seconds_max: float = 20) -> None:
    async with asyncio.timeout(seconds_max):
        while not condition():
            await asyncio.sleep(0.01)


def counted(families: list[Family]) -> dict[str, float]:
    return {
        family["name"]: sum(value for _, value in family["series"])
        for family in families
        if family["kind"] == "counter"
    }


async def test_one_that_is_killed_is_started_again_and_what_it_had_counted_stays() -> None:
    async with crew_of("serves") as pool:
        assert len(await pool.serve({}, "dsn")) == 2
        assert counted(await pool.page(1))["n"] == 3.0, "1 of the first and 2 of the second"
        pids = pool.pids()
        os.kill(pids[2], signal.SIGKILL)
        await reached(lambda: pool.pids().get(2) not in (None, pids[2]))
        assert pool.pids()[1] == pids[1], "its sibling does not notice"
        assert counted(await pool.page(1))["n"] >= 3.0, "also while it starts"
        async with asyncio.timeout(20):
            while counted(await pool.page(1)) != {"n": 5.0, "stoa_worker_ends": 1.0}:
                await asyncio.sleep(0.01)
        assert pool.failed is None


async def test_one_that_never_starts_ends_the_server_and_says_so() -> None:
    async with crew_of("crashes", 1) as pool:
        with pytest.raises(StartError, match=f"Worker 1 has ended {FAILURES_MAX} times in a row before it"):
            await pool.serve({}, "dsn")


async def test_one_that_starts_no_more_does_not_end_its_siblings(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    async with crew_of(f"breaks:{broken}") as pool:
        await pool.serve({}, "dsn")
        sibling = pool.pids()[1]
        broken.touch()
        os.kill(pool.pids()[2], signal.SIGKILL)
        async with asyncio.timeout(30):
            while counted(await pool.page(1))["stoa_worker_ends"] < FAILURES_MAX + 2:
                await asyncio.sleep(0.01)
        assert pool.failed is None
        assert pool.pids()[1] == sibling
        broken.unlink()
        async with asyncio.timeout(30):
            while counted(await pool.page(1))["n"] < 3.0 or 2 not in pool.pids():
                await asyncio.sleep(0.01)


async def test_what_it_says_of_a_wrong_setting_is_said_at_once() -> None:
    async with crew_of("refuses") as pool:
        with pytest.raises(StartError, match=r"^STOA_BOOTSTRAP_KEY is no key$"):
            await pool.serve({}, "dsn")


async def test_one_that_is_stuck_is_ended_and_started_again() -> None:
    async with crew_of("hangs", 1) as pool:
        await pool.serve({}, "dsn")
        stuck = pool.pids()[1]
        await reached(lambda: pool.pids().get(1) not in (None, stuck))
        assert counted(await pool.page(1))["stoa_worker_ends"] == 1.0


async def test_draining_waits_for_all_and_starts_none_again() -> None:
    stopping = asyncio.Event()
    async with crew_of("serves", stopping=stopping) as pool:
        await pool.serve({}, "dsn")
        stopping.set()
        await pool.drain(5, asyncio.Event())
        assert pool.pids() == {}


@pytest.mark.parametrize("pressed", [True, False])
async def test_one_that_does_not_drain_is_killed(pressed: bool) -> None:
    stopping = asyncio.Event()
    async with crew_of("hangs", stopping=stopping) as pool:
        await pool.serve({}, "dsn")
        stopping.set()
        forced = asyncio.Event()
        if pressed:
            forced.set()
        began = time.monotonic()
        await pool.drain(30 if pressed else 0, forced)
        assert time.monotonic() - began < 10
        assert pool.pids() == {}


async def test_a_page_does_not_wait_for_one_that_does_not_answer() -> None:
    quiet = Pace(count_every=60, abort=0.1, drain_more=0.1, end_max=0.1)
    async with crew_of("hangs", 1, quiet) as pool:
        await pool.serve({}, "dsn")
        async with asyncio.timeout(5):
            families = await pool.page(1)
        states = next(family["series"] for family in families if family["name"] == "stoa_workers")
        assert states == [[["ready"], 0.0], [["starting"], 0.0], [["silent"], 1.0]]


# --- settings -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("given", "expected"), [("3", 3), ("auto", "auto"), (None, 1)])
def test_the_number_of_workers(given: str | None, expected: object, tmp_path: Path) -> None:
    (tmp_path / "stoa.toml").touch()
    assert load({"STOA_WORKERS": given} if given else {}, {}, tmp_path / "stoa.toml").workers == expected


@pytest.mark.parametrize("given", ["0", "65", "-1", "many", "1.5", "all"])
def test_a_number_that_is_none(given: str, tmp_path: Path) -> None:
    (tmp_path / "stoa.toml").touch()
    with pytest.raises(SettingsError, match=f"{given} is not a number from 1 to 64, or auto"):
        load({}, {"workers": given}, tmp_path / "stoa.toml")


@pytest.mark.skipif(sys.platform != "linux", reason="quotas of control groups")
@pytest.mark.parametrize(
    ("quota", "most"), [("max 100000", 1_000), ("100000 100000", 1), ("50000 100000", 1), ("nonsense", 1_000)]
)
def test_auto_is_no_more_than_the_quota_pays_for(quota: str, most: int, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    assert cores.cores(tmp_path / "cpu.max") == min(most, len(os.sched_getaffinity(0)))


def test_settings_go_to_a_worker_whole(tmp_path: Path) -> None:
    (tmp_path / "stoa.toml").write_text(
        '[[providers]]\nname = "mine"\ntype = "openai"\napi_key = "sk-1"\nbase_url = "http://127.0.0.1:9/v1"\n'
    )
    environment = {
        "STOA_SECRET_KEY": "s" * 32,
        "STOA_TRUSTED_PROXIES": "none",
        "STOA_DATA_DIR": str(tmp_path),
        "OPENAI_API_KEY": "sk-2",
        "STOA_SMTP_HOST": "mail",
        "STOA_SMTP_SENDER": "stoa@example.com",
        "STOA_PUBLIC_URL": "https://stoa.example",
    }
    settings = load(environment, {"port": 0, "workers": "2"}, tmp_path / "stoa.toml")
    again = Settings.model_validate(plain(settings))
    assert again.model_dump() == settings.model_dump()
    assert again.secret_key is not None
    assert again.secret_key.get_secret_value() == "s" * 32


async def test_a_database_with_too_few_connections_is_refused(dsn: str) -> None:
    await check_connections(dsn, Settings(connections_max=6), 2)
    assert needed(Settings(connections_max=6), 2) == 44
    with pytest.raises(StartError, match=r"^PostgreSQL takes 100 connections .* 64 workers need 788: 6 "):
        await check_connections(dsn, Settings(connections_max=6), 64)


def test_the_key_is_told_by_whoever_made_it() -> None:
    nothing = {"first_key": None, "sign_in_link": None, "owner_link": None, "default_model": "m", "providers": []}
    told = ready_of([{**nothing, "owner_link": "o"}, {**nothing, "first_key": "k", "sign_in_link": "s"}])
    assert (told.first_key, told.sign_in_link, told.owner_link) == ("k", "s", "o")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread sees the end of standard input")
async def test_a_child_whose_parent_has_died_ends_before_it_loads_the_server() -> None:
    """It has the port: until it ends, nobody else can listen on it."""
    listening = socket.socket()
    with listening:
        descriptor = str(listening.fileno())
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-X", "importtime", "-m", "stoa.cli.workers.child", "1", "1", *[descriptor] * 3),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(listening.fileno(),),
        )
        _, said = await process.communicate()
    assert process.returncode == 1
    assert b"stoa.kernel.confinement" in said
    assert b"stoa.app" not in said
