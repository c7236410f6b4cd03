"""Starting, joining, watching and stopping the embedded server."""

import asyncio
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import quote

import asyncpg

from stoa.db.embedded import locks, places, postmaster
from stoa.db.embedded.account import Account, choose_account
from stoa.db.embedded.cluster import (
    CONNECTIONS_MAX,
    ROLE,
    check_version,
    create_cluster,
    sweep,
    write_configuration,
)
from stoa.db.embedded.errors import OWN_DATABASE, EmbeddedError, from_os_error, from_output
from stoa.db.embedded.places import ELSEWHERE, PORT, Places
from stoa.db.embedded.postmaster import PidFile
from stoa.db.embedded.programs import Programs, find_programs, programs_in, reachable_programs

DATABASE: Final = "stoa"

START_SECONDS_MAX: Final = 120.0
"""A first start takes one or two; replaying 2 GB of log after a crash on a slow disk takes most of this."""
STOP_SECONDS_MAX: Final = 60.0
"""The shutdown writes out at most what 128 MB of buffers hold."""
WATCH_SECONDS: Final = 1.0

_ANSWER_SECONDS_MAX: Final = 5
_RETRY_SECONDS: Final = 0.1

_OLD_SERVER_ENDING: Final = ("pre-existing shared memory block", 'lock file "postmaster.pid" already exists')
"""The error while backends of a killed server are alive: idle ones exit at once, busy ones after their query."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """Programs, account and paths, decided before the server is touched."""

    programs: Programs
    account: Account
    places: Places
    connections_max: int


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """A running PostgreSQL that this process uses, from `start_embedded` to `stop`."""

    dsn: str
    """For `asyncpg.connect(dsn=...)`: role and database `stoa`, over the unix socket. Valid for the server's whole
    life, also after `watch` has restarted it."""
    data_dir: Path
    attached: bool
    """True when the server was running already: another Stoa process uses it, or a killed one left it behind."""
    _plan: _Plan = field(repr=False)
    _use: locks.Use = field(repr=False)

    async def stop(self) -> None:
        """Ends this process's use of the server, and stops the server if no other process uses it. Idempotent.

        Commits are safe in any case. Raises EmbeddedError if the server does not stop in time.
        """
        if not self._use.held:
            return
        home = self._plan.places.home
        async with locks.gate(home, time.monotonic() + STOP_SECONDS_MAX):
            self._use.release()
            if not locks.in_use(home):
                await _take_down(self._plan)

    @property
    def database_dir(self) -> Path:
        """Where the database lies: below `data_dir`, unless root's account cannot get there."""
        return self._plan.places.base

    async def empty_log(self) -> None:
        """Error lines of PostgreSQL may quote what users wrote, so a scrub empties the log."""
        await asyncio.to_thread(postmaster.empty_log, self._plan.places.log)

    async def watch(self, every_seconds: float = WATCH_SECONDS) -> NoReturn:
        """Restarts the server when its process has died (OOM killer, operator), and limits the size of its log.

        Runs until cancelled, as a supervised task. Raises EmbeddedError if the server cannot be restarted.
        """
        plan = self._plan
        while True:
            await asyncio.sleep(every_seconds)
            await asyncio.to_thread(postmaster.rotate_log, plan.places.log)
            found = postmaster.read_pid_file(plan.places.cluster)
            if found is None or postmaster.is_gone(found.pid):
                deadline = time.monotonic() + START_SECONDS_MAX
                async with locks.gate(plan.places.home, deadline):
                    if self._use.held:
                        await _join_or_start(plan, deadline)


async def start_embedded(
    data_dir: Path,
    *,
    timeout_seconds: float = START_SECONDS_MAX,
    account: str | None = None,
    elsewhere: Path = ELSEWHERE,
    package: Path | None = None,
    connections_max: int = CONNECTIONS_MAX,
) -> EmbeddedServer:
    """Returns a running server on `data_dir/postgres`: created at first use, started if needed, joined if it runs.

    `account` names the system account PostgreSQL runs as when we are root (default: the first of stoa, postgres,
    nobody that exists). `elsewhere` is where the database goes when that account cannot enter data_dir. `package`
    is a directory to take the programs from instead of this environment's wheel. `connections_max` applies if this
    call starts the server. Any number of processes may call this at once on one
    directory; each gets the same server.

    Raises EmbeddedError, with a sentence to show, when there can be no server.
    """
    if sys.platform == "win32":
        raise EmbeddedError(f"The embedded PostgreSQL runs on Linux and macOS. Use Stoa in WSL, {OWN_DATABASE}.")
    deadline = time.monotonic() + timeout_seconds
    home = await asyncio.to_thread(places.make_home, data_dir)
    try:
        async with locks.gate(home, deadline):
            plan = await asyncio.to_thread(_decide, home, account, elsewhere, package, connections_max)
            dsn, attached = await _join_or_start(plan, deadline)
            use = locks.Use(home)
    except OSError as error:
        raise from_os_error(error, Path(error.filename) if isinstance(error.filename, str) else home) from error
    return EmbeddedServer(dsn=dsn, data_dir=data_dir, attached=attached, _plan=plan, _use=use)


def _decide(
    home: Path, wanted_account: str | None, elsewhere: Path, package: Path | None, connections_max: int
) -> _Plan:
    """Programs, account and places; copies programs if need be. Blocks, so call it in a thread."""
    programs = programs_in(package) if package else find_programs()
    base = places.known_base(home)
    exists = base is not None and (base / "cluster").is_dir()
    owner = (base / "cluster").stat().st_uid if base is not None and exists else None
    account = choose_account(wanted_account, owner)
    if owner is not None and owner != account.uid:
        raise EmbeddedError(
            f"The database in {base} belongs to user number {owner}, but PostgreSQL would run as {account.name!r}. "
            f"Run Stoa as the user who made it, {OWN_DATABASE}."
        )
    if base is None:
        base = places.choose_base(home, account, elsewhere)
    else:
        places.check_reachable(base, account)
        places.write_owner(home, base)
    if exists:
        check_version(base / "cluster")
    return _Plan(reachable_programs(programs, account, base), account, Places(home, base), connections_max)


async def _join_or_start(plan: _Plan, deadline: float) -> tuple[str, bool]:
    """(dsn, attached). Call with the gate locked."""
    cluster = plan.places.cluster
    if not cluster.is_dir():
        await create_cluster(plan.programs, plan.account, plan.places, deadline)
    found = postmaster.read_pid_file(cluster)
    if found is not None and postmaster.is_postmaster(found.pid, plan.account, cluster):
        dsn = await _join(plan, found.pid, deadline)
        if dsn is not None:
            return dsn, True
    elif found is not None:
        postmaster.remove_pid_file(cluster)
    return await _start(plan, deadline), False


async def _join(plan: _Plan, pid: int, deadline: float) -> str | None:
    """The dsn of the server that runs already; None when it has ended, so that a new one can be started."""
    answer_by = min(deadline, time.monotonic() + _ANSWER_SECONDS_MAX)
    while not postmaster.is_gone(pid):
        found = postmaster.read_pid_file(plan.places.cluster)
        if found is not None and found.status == postmaster.READY:
            if (found.socket_dir / f".s.PGSQL.{PORT}").exists():
                return await _open_database(found.socket_dir, deadline)
            # Its socket was deleted, so nobody can connect any more.
            return await _replace(plan, pid)
        if time.monotonic() > (answer_by if found is None else deadline):
            raise _too_slow(plan, f"the PostgreSQL that runs there (process {pid}) did not become ready")
        await asyncio.sleep(postmaster.POLL_SECONDS)
    return None


async def _replace(plan: _Plan, pid: int) -> None:
    if locks.in_use(plan.places.home):
        raise EmbeddedError(
            f"Another Stoa process uses the PostgreSQL of {plan.places.home} (process {pid}), but the socket to reach "
            f"it was deleted. Stop that Stoa, then start this one again."
        )
    await _end(plan, pid)


async def _start(plan: _Plan, deadline: float) -> str:
    """Starts a server and waits until it answers. After an error no half-started server is left."""
    sockets = await asyncio.to_thread(_prepare, plan)
    while True:
        offset = postmaster.log_size(plan.places.log)
        pid = postmaster.spawn(plan.programs, plan.account, plan.places, sockets)
        ready = False
        try:
            if await _wait_ready(plan, pid, deadline):
                dsn = await _open_database(sockets, deadline)
                ready = True
                return dsn
        finally:
            if not ready and not postmaster.is_gone(pid):
                await postmaster.stop(pid, _ANSWER_SECONDS_MAX)
        logged = postmaster.log_since(plan.places.log, offset)
        if time.monotonic() > deadline or not any(words in logged for words in _OLD_SERVER_ENDING):
            raise from_output("PostgreSQL did not start", plan.places.base, logged)
        await asyncio.to_thread(postmaster.end_orphans, plan.account, plan.places.cluster)
        await asyncio.sleep(_RETRY_SECONDS)


def _prepare(plan: _Plan) -> Path:
    """The directory for the socket, after removing what earlier starts have left."""
    sweep(plan.places)
    postmaster.rotate_log(plan.places.log)
    write_configuration(plan.account, plan.places, plan.connections_max)
    sockets = places.socket_dir(plan.places.base, plan.account)
    postmaster.remove_socket_locks(sockets)
    return sockets


async def _wait_ready(plan: _Plan, pid: int, deadline: float) -> bool:
    """True when the postmaster takes connections, False when it has ended. Raises EmbeddedError at the deadline."""
    while True:
        found = postmaster.read_pid_file(plan.places.cluster)
        if found is not None and found.pid == pid and found.status == postmaster.READY:
            return True
        if postmaster.is_gone(pid):
            return False
        if time.monotonic() > deadline:
            raise _too_slow(plan, "PostgreSQL did not become ready")
        await asyncio.sleep(postmaster.POLL_SECONDS)


def _too_slow(plan: _Plan, what: str) -> EmbeddedError:
    tail = postmaster.log_since(plan.places.log, 0)
    return from_output(f"Starting took too long: {what}", plan.places.base, tail)


async def _open_database(sockets: Path, deadline: float) -> str:
    """The dsn, once a connection by it has worked; creates the database when it is missing."""
    dsn = _dsn(sockets, DATABASE)
    while True:
        try:
            await _execute(dsn, "SELECT 1")
        except asyncpg.InvalidCatalogNameError:
            await _execute(_dsn(sockets, "postgres"), f'CREATE DATABASE "{DATABASE}"')
        except (asyncpg.CannotConnectNowError, asyncpg.TooManyConnectionsError, TimeoutError) as error:
            if time.monotonic() > deadline:
                raise EmbeddedError(f"The PostgreSQL at {sockets} runs but takes no connection: {error}.") from error
            await asyncio.sleep(_RETRY_SECONDS)
        except (asyncpg.PostgresError, OSError) as error:
            raise EmbeddedError(f"The PostgreSQL at {sockets} runs but refuses us: {error}.") from error
        else:
            return dsn


async def _execute(dsn: str, statement: str) -> None:
    connection: asyncpg.Connection = await asyncpg.connect(dsn, timeout=_ANSWER_SECONDS_MAX)
    try:
        await connection.execute(statement)
    finally:
        await connection.close(timeout=_ANSWER_SECONDS_MAX)


def _dsn(sockets: Path, database: str) -> str:
    """The port is explicit, so that a PGPORT in the environment has no effect."""
    return f"postgresql://{ROLE}@/{database}?host={quote(str(sockets), safe='/')}&port={PORT}"


async def _take_down(plan: _Plan) -> None:
    found: PidFile | None = postmaster.read_pid_file(plan.places.cluster)
    if found is not None and postmaster.is_postmaster(found.pid, plan.account, plan.places.cluster):
        await _end(plan, found.pid)
        await asyncio.to_thread(places.forget_socket_dir, found.socket_dir, plan.places.base)


async def _end(plan: _Plan, pid: int) -> None:
    if not await postmaster.stop(pid, STOP_SECONDS_MAX):
        raise EmbeddedError(
            f"PostgreSQL (process {pid}, in {plan.places.base}) does not stop; its disk may hang. "
            "It is safe to end it by force: it recovers at the next start."
        )
