"""`stoa serve`: runs the whole server in this process, and its database beside it."""

import asyncio
import contextlib
import gc
import os
import socket
import sys
from collections.abc import Callable, Generator, Sequence
from functools import partial

import uvicorn

from stoa.app import Server, open_server
from stoa.cli import service_manager
from stoa.cli.banner import banner
from stoa.cli.data_and_database import OWNER_ONLY, close_data, database
from stoa.cli.listening import BACKLOG, bind, descriptors_max, doors
from stoa.cli.stopping import DRAINING, Stopping, stopped_amid_start
from stoa.http import websockets
from stoa.http.connections import Connection, ConnectionLimits, Guard
from stoa.kernel.shared_counts import Row
from stoa.kernel.supervise import Supervisor
from stoa.kernel.telemetry import configure_logs
from stoa.settings import Settings

COLLECT_AFTER = (20_000, 20, 20)
"""Thresholds of Python's garbage collector, by generation. The default of 700 cost a tenth of the CPU time under
load."""


async def serve(settings: Settings, tell: Callable[[str], None]) -> None:
    """Serves until a signal, then drains. `tell` prints lines for the operator."""
    configure_logs(settings.log_level, settings.log_format)
    stopping = Stopping()
    stopping.cancel_start_on_sigterm()
    listening = bind(settings.host, settings.port)
    port = listening.getsockname()[1]
    close_data(settings)
    async with database(settings) as (dsn, where):
        os.umask(OWNER_ONLY)  # Not earlier: run as root it creates directories that the database's user must enter.
        async with open_server(settings, dsn) as server:
            settle_memory()
            stopping.ask_on_signals()
            for line in banner(settings, server, port, where):  # Not earlier: a reader of it may signal at once.
                tell(line)
            service_manager.notify(service_manager.READY)

            def on_draining(_: Callable[[], None]) -> None:
                tell(DRAINING)
                service_manager.notify(service_manager.STOPPING)

            await until_stopped(settings, server, doors(listening), stopping, on_draining)


def connection_limits(settings: Settings) -> ConnectionLimits:
    """The number of client connections that leaves enough file descriptors for the database, the journal, model calls
    and files. An upload needs two further descriptors and a run one, which matters if the system's limit is low."""
    descriptors = descriptors_max()
    reserve = min(descriptors * 3 // 4, 256 + settings.connections_max + settings.runs_max)
    total = descriptors - reserve
    return ConnectionLimits(
        per_address_max=min(settings.connections_per_address_max or total // 2, total), total_max=total
    )


def settle_memory() -> None:
    """Excludes the existing objects from garbage collection (gc.freeze), because they stay until the end; most later
    objects are freed by reference counting.

    Does not collect before: the start leaves 3,000 garbage objects, a few hundred kilobytes, and finding them takes
    60 ms.
    """
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    gc.enable()


async def until_stopped(
    settings: Settings,
    server: Server,
    sockets: Sequence[socket.socket],
    stopping: Stopping,
    on_draining: Callable[[Callable[[], None]], None],
    shared: Row | None = None,
) -> None:
    """Serves HTTP until it is asked to stop, then drains. `on_draining` gets a function that stops listening at once;
    if nobody calls it, the server listens until it has drained."""
    guard = Guard(connection_limits(settings), shared)
    web = _Web(
        uvicorn.Config(
            server.asgi,
            http=partial(Connection, guard),  # type: ignore[arg-type] # a class or what makes one
            log_config=None,
            access_log=False,
            proxy_headers=False,  # The app handles them, by its own setting.
            lifespan="off",
            ws=websockets.protocol,  # type: ignore[arg-type] # a class or what makes one
            **websockets.OPTIONS,
            backlog=BACKLOG,
            server_header=False,
            timeout_graceful_shutdown=5,
        )
    )
    sweeping = Supervisor()
    sweeping.keep(partial(guard.watch, web.server_state.connections), "http.sweep")
    serving = asyncio.create_task(web.serve(list(sockets)), name="web")
    waiting = asyncio.create_task(stopping.asked.wait(), name="signal")
    await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
    if not serving.done():
        on_draining(web.stop_listening)
        draining = asyncio.create_task(server.drain(), name="drain")
        again = asyncio.create_task(stopping.forced.wait(), name="force")
        await asyncio.wait([draining, again], return_when=asyncio.FIRST_COMPLETED)
        forcing = asyncio.create_task(web.end_when(stopping.forced), name="force")
        web.should_exit = True
        again.cancel()
    else:
        forcing = None
    waiting.cancel()
    await serving
    if forcing is not None:
        forcing.cancel()
    await sweeping.stop()


class _Web(uvicorn.Server):
    """Without uvicorn's signal handlers: Stoa must end the streams before uvicorn waits for their connections."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    def stop_listening(self) -> None:
        for server in self.servers if self.started else ():
            server.close()

    async def end_when(self, forced: asyncio.Event) -> None:
        """Ends the wait for open connections when `forced` is set."""
        await forced.wait()
        self.force_exit = True


def run(settings: Settings, tell: Callable[[str], None]) -> None:
    """Runs the server until it ends."""
    with stopped_amid_start(tell):
        if sys.platform == "win32":
            asyncio.run(serve(settings, tell))
        else:
            import uvloop  # noqa: PLC0415 — exists on this platform only

            uvloop.run(serve(settings, tell))
