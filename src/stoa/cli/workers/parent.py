"""The parent of the workers: owns the listening socket and the database, and handles signals. It serves no requests."""

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stoa.cli import service_manager
from stoa.cli.banner import banner
from stoa.cli.data_and_database import OWNER_ONLY, close_data, database
from stoa.cli.listening import StartError, bind
from stoa.cli.stopping import DRAINING, Stopping, stopped_amid_start
from stoa.cli.workers.channel import plain
from stoa.cli.workers.pool import WorkerPool
from stoa.db.connecting import UnreachableError, connect
from stoa.db.embedded.cluster import CONNECTIONS_MAX
from stoa.db.migrate import migrate
from stoa.kernel.telemetry import configure_logs
from stoa.settings import Settings

CONNECTIONS_BESIDE: Final = 6
"""Connections of a worker besides its pool: its lease, LISTEN, NOTIFY, the journal's writer, maintenance of indexes,
and one for the start."""
CONNECTIONS_OF_OTHERS: Final = 20
"""Reserved for the doctor, a scrub, psql, and PostgreSQL's superuser_reserved_connections."""


@dataclass(frozen=True, slots=True)
class _Provider:
    name: str
    url: str
    models: int | None
    trouble: str | None
    optional: bool


@dataclass(frozen=True, slots=True)
class _Ready:
    """The `Ready` of a server with several workers. One of them has created the first key, and the first worker the
    links."""

    first_key: str | None
    sign_in_link: str | None
    owner_link: str | None
    default_model: str
    providers: Sequence[_Provider]


def ready_of(said: Sequence[dict[str, Any]]) -> _Ready:
    maker = next((one for one in said if one["first_key"] is not None), said[0])
    return _Ready(
        maker["first_key"],
        maker["sign_in_link"],
        next((one["owner_link"] for one in said if one["owner_link"] is not None), None),
        said[0]["default_model"],
        [_Provider(**provider) for provider in said[0]["providers"]],
    )


async def serve(settings: Settings, count: int, tell: Callable[[str], None]) -> None:
    """Serves until a signal, then drains. Raises StartError, and the errors of starting the database."""
    configure_logs(settings.log_level, settings.log_format)
    stopping = Stopping()
    stopping.cancel_start_on_sigterm()
    listening = bind(settings.host, settings.port)
    port = listening.getsockname()[1]
    close_data(settings)
    pool = WorkerPool(count, listening, stopping.asked.is_set)
    try:
        await pool.spawn()
        async with database(settings, connections_max=max(CONNECTIONS_MAX, needed(settings, count))) as (dsn, where):
            os.umask(OWNER_ONLY)
            sessions = settings.database_session_url
            await migrate(dsn, session_dsn=sessions.get_secret_value() if sessions is not None else None)
            if sessions is None:  # A pooler reports by itself if it has too few.
                await check_connections(dsn, settings, count)
            ready = ready_of(await pool.serve(plain(settings), dsn))
            stopping.ask_on_signals()
            for line in banner(settings, ready, port, where):
                tell(line)
            service_manager.notify(service_manager.READY)
            await _until_asked(pool, stopping.asked)
            tell(DRAINING)
            service_manager.notify(service_manager.STOPPING)
            await pool.drain(settings.drain_seconds_max, stopping.forced)
            if pool.failed is not None:
                raise pool.failed
    finally:
        listening.close()
        await pool.kill()


async def _until_asked(pool: WorkerPool, asked: asyncio.Event) -> None:
    """Returns when the server must end: after a signal, or when the workers cannot be restarted."""
    watching = asyncio.create_task(_watch(pool), name="workers.watch")
    waiting = asyncio.create_task(asked.wait(), name="signal")
    await asyncio.wait([watching, waiting], return_when=asyncio.FIRST_COMPLETED)
    asked.set()
    watching.cancel()
    waiting.cancel()


async def _watch(pool: WorkerPool) -> None:
    try:
        while True:
            await pool.changed()
    except StartError:
        return  # `failed` has the reason.


def needed(settings: Settings, count: int) -> int:
    """Connections that the database must allow: those that the server may open, and the reserve for others."""
    return count * (settings.connections_max + CONNECTIONS_BESIDE) + CONNECTIONS_OF_OTHERS


async def check_connections(dsn: str, settings: Settings, count: int) -> None:
    """Raises StartError if the database allows fewer connections than the workers may open, because otherwise they
    would fail only under load."""
    try:
        connection = await connect(dsn, command_seconds_max=30)
    except UnreachableError as error:
        raise StartError(str(error)) from error
    try:
        (most,) = await connection.fetchrow("SELECT current_setting('max_connections')::int") or (0,)
    finally:
        await connection.close()
    if most < (most_needed := needed(settings, count)):
        raise StartError(
            f"PostgreSQL takes {most} connections (max_connections), and {count} workers need {most_needed}: "
            f"{settings.connections_max} (STOA_CONNECTIONS_MAX) and {CONNECTIONS_BESIDE} each, and "
            f"{CONNECTIONS_OF_OTHERS} for others. Raise max_connections, lower STOA_CONNECTIONS_MAX, or start fewer "
            "workers."
        )


def run(settings: Settings, count: int, tell: Callable[[str], None]) -> None:
    """Runs the server until it ends."""
    if sys.platform == "win32":
        raise StartError("Several workers run on Linux and macOS. Use Stoa in WSL, or leave out --workers.")
    with stopped_amid_start(tell):
        asyncio.run(serve(settings, count, tell))
