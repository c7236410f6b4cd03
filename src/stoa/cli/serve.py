"""`stoa serve`: the whole server in this process, with its database beside it."""

import asyncio
import contextlib
import gc
import os
import shutil
import signal
import socket
import stat
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import structlog
import uvicorn

from stoa.app import Server, open_server
from stoa.db.embedded import start_embedded
from stoa.db.servers import addresses_of
from stoa.http import websockets
from stoa.http.connections import Connection, ConnectionLimits, Guard
from stoa.kernel.supervise import Supervisor
from stoa.kernel.telemetry import configure_logs
from stoa.settings import Settings

BACKLOG = 4096
"""A thousand clients that reconnect at once must all get into the queue."""
ACCEPTED_PER_TURN = 8
"""uvloop takes one new connection per socket and turn of the loop; under load, when turns are long, a burst of clients
would wait for seconds."""
COLLECT_AFTER = (20_000, 20, 20)
"""New objects before a collection of the young ones, and so on. The default of 700 cost a tenth of the time under
load."""
UNSENT_BYTES_MAX = 64 * 1024
"""What the kernel takes for a client beyond what is on its way: without this, up to 4 MB for each one that has stopped
reading."""
OWNER_ONLY = 0o077
"""The umask of the server: what it makes is 0700 and 0600."""
DESCRIPTORS_WANTED = 65_536
"""File descriptors, where the system allows as many."""
_log = structlog.get_logger("stoa")


class StartError(Exception):
    """The server cannot start; the message says why, and the way out."""


async def serve(settings: Settings, tell: Callable[[str], None]) -> None:
    """Serves until a signal, then drains. `tell` gets the lines that a person wants to see."""
    configure_logs(settings.log_level, settings.log_format)
    listening = bind(settings.host, settings.port)
    port = listening.getsockname()[1]
    # Also where this node has another database: a second node may keep the embedded one below the same directory.
    embedded = settings.database_url is None or (settings.data_dir / "postgres").exists()
    close_to_others(settings.data_dir, pass_through=embedded and _is_root())
    async with _database(settings) as (dsn, where):
        os.umask(OWNER_ONLY)  # Not earlier: a root Stoa makes directories that the database's account must enter.
        async with open_server(settings, dsn) as server:
            _settle_memory()
            await _until_signal(settings, server, listening, banner(settings, server, port, where), tell)


def close_to_others(data_dir: Path, *, pass_through: bool) -> None:
    """Makes the data directory, for its owner alone. `pass_through`: the database runs as another account, which must
    reach its part below.

    A directory that is there already is closed when it is plainly ours: not one that others share, such as /tmp.
    """
    mode = 0o711 if pass_through else 0o700
    made = not data_dir.exists()
    data_dir.mkdir(mode=mode, parents=True, exist_ok=True)
    if sys.platform == "win32":
        return
    found = data_dir.stat()
    ours = made or any((data_dir / name).exists() for name in ("secret.key", "postgres"))
    if ours and found.st_uid == os.geteuid() and not found.st_mode & stat.S_ISVTX:
        data_dir.chmod(mode)
        for below in ("artifacts", "blobs", "calls", "knowledge", "models", "sources"):
            with contextlib.suppress(FileNotFoundError):
                (data_dir / below).chmod(0o700)


def _is_root() -> bool:
    return sys.platform != "win32" and os.geteuid() == 0


def connection_limits(settings: Settings) -> ConnectionLimits:
    """Connections that may be open without touching the reserve of file descriptors: the database, the journal, model
    calls and files need theirs. Where the system allows few, an upload needs two more, and a run one."""
    descriptors = _descriptors_max()
    reserve = min(descriptors * 3 // 4, 256 + settings.connections_max + settings.runs_max)
    total = descriptors - reserve
    return ConnectionLimits(
        per_address_max=min(settings.connections_per_address_max or total // 2, total), total_max=total
    )


def _descriptors_max() -> int:
    """Raised to what the system allows this process."""
    if sys.platform == "win32":
        return 8192
    import resource  # noqa: PLC0415 — exists on this platform only

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft == resource.RLIM_INFINITY else min(soft, DESCRIPTORS_WANTED)


def _settle_memory() -> None:
    """What is there now stays for good: the collector need not look at it again, and what comes and goes is mostly
    freed without it.

    Not collected before: 3,000 objects of the start are garbage, a few hundred kilobytes, and looking for them takes 60
    ms.
    """
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    gc.enable()


def bind(host: str, port: int) -> socket.socket:
    """Before anything else is started, so that a taken port is known at once. Raises StartError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol by its name: asyncio's own loop sends small answers at once only on connections of sockets that say
    # it.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # Connections inherit it.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES_MAX)
    try:
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise StartError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Choose another port: stoa serve --port 8081"
        ) from error
    listening.setblocking(False)
    return listening


def doors(listening: socket.socket) -> list[socket.socket]:
    """The same socket under several numbers: each takes a new connection in the same turn of the loop."""
    more = (
        0 if sys.platform == "win32" else ACCEPTED_PER_TURN - 1
    )  # There it is asyncio's own loop, which takes all that wait.
    return [listening, *(listening.dup() for _ in range(more))]


@asynccontextmanager
async def _database(settings: Settings) -> AsyncGenerator[tuple[str, str]]:
    """(dsn, where the data is): the operator's PostgreSQL, or the embedded one for as long as this server runs."""
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        yield url, f"{_servers(url)}{urlsplit(url).path} (files in {settings.data_dir.resolve()})"
        return
    embedded = await start_embedded(settings.data_dir.resolve())
    supervisor = Supervisor()
    supervisor.keep(embedded.watch, "db.embedded")
    try:
        yield embedded.dsn, _where(settings.data_dir.resolve(), embedded.database_dir)
    finally:
        await supervisor.stop()
        await embedded.stop()


def _servers(url: str) -> str:
    """The hosts that the URL names, as the banner shows them."""
    return ", ".join(host for host, _ in addresses_of(url)) or "the database"


def _where(directory: Path, database: Path) -> str:
    """The data directory and the database's directory if they differ: a backup needs both."""
    if database.is_relative_to(directory):
        return str(directory)
    return (
        f"{directory} (files) and {database} (database: the account that PostgreSQL runs as cannot enter the first);"
        " back up both, move and remove them with: stoa data"
    )


async def _until_signal(
    settings: Settings, server: Server, listening: socket.socket, ready: Sequence[str], tell: Callable[[str], None]
) -> None:
    guard = Guard(connection_limits(settings))
    web = _Web(
        uvicorn.Config(
            server.asgi,
            http=partial(Connection, guard),  # type: ignore[arg-type] # a class or what makes one
            log_config=None,
            access_log=False,
            proxy_headers=False,  # The app sees to them, by a setting of its own.
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
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if stopping.is_set():
            web.force_exit = True
        stopping.set()

    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, stop)
    for line in ready:  # Not earlier: who reads it may send the signal at once.
        tell(line)
    serving = asyncio.create_task(web.serve(doors(listening)), name="web")
    waiting = asyncio.create_task(stopping.wait(), name="signal")
    await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
    if not serving.done():
        tell(
            "Draining: running answers may end, then this server stops. Nothing is lost; press Ctrl-C again to stop "
            "at once."
        )
        draining = asyncio.create_task(server.drain(), name="drain")
        again = asyncio.create_task(_forced(web), name="force")
        await asyncio.wait([draining, again], return_when=asyncio.FIRST_COMPLETED)
        again.cancel()
    web.should_exit = True
    waiting.cancel()
    await serving
    await sweeping.stop()


async def _forced(web: uvicorn.Server) -> None:
    while not web.force_exit:  # noqa: ASYNC110 - a flag of uvicorn's, which gives no signal
        await asyncio.sleep(0.05)


class _Web(uvicorn.Server):
    """Signals are ours: a stream must be ended by us before uvicorn waits for its connections."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def banner(settings: Settings, server: Server, port: int, where: str) -> list[str]:
    """What a person needs now: where the data is, the key on the very first start, and three lines that work when
    pasted."""
    base = f"http://{'localhost' if settings.host in ('127.0.0.1', '0.0.0.0', '::1', '::') else settings.host}:{port}"  # noqa: S104
    lines = [
        "",
        f"Stoa is ready at {base}   (the console; documentation: {base}/docs)",
        f"Your data is in {where}",
        *_models(server),
        "",
    ]
    if server.first_key is not None and settings.bootstrap_key is None:
        lines += ["Your access key, shown only this once; keep it:", "", f"  {server.first_key}", ""]
        if server.sign_in_link is not None:
            lines += [
                "Open this once, within 15 minutes, to look around in the console with that key:",
                "",
                f"  {base}/console/sign-in#{server.sign_in_link}",
                "",
            ]
        key = server.first_key
    else:
        lines += [
            (
                "Set STOA_KEY to your access key. Lost it? Start once with STOA_BOOTSTRAP_KEY set to a new one (stoa "
                "keys generate)."
            ),
            "",
        ]
        key = "$STOA_KEY"
    if server.owner_link is not None:
        lines += [
            "Nobody owns this server yet. Open this once, within 15 minutes, to make your account, the owner's:",
            "",
            f"  {(settings.public_url or base).rstrip('/')}/console/welcome#{server.owner_link}",
            "",
        ]
    authorization = f'-H "Authorization: Bearer {key}"'
    body = '-H "Content-Type: application/json" -d'
    hello = '{"content":"Hello! What can you do?"}'
    made = '"{\\"model_id\\":\\"$MODEL\\"}"'
    first = r"""| sed 's/.*"data":[[]*{"id":"\([^"]*\)".*/\1/')"""
    return [
        *lines,
        *_command(),
        "Try it; paste these three lines:",
        "",
        f"MODEL=$(curl -s {base}/v1/router/models {authorization} {first}",
        f"CONVERSATION=$(curl -s {base}/v1/conversations {authorization} {body} {made} {first}",
        f"curl -sN {base}/v3/conversations/$CONVERSATION/messages {authorization} {body} '{hello}'",
        "",
    ]


def _command() -> list[str]:
    """How to call `stoa`, where a shell would not find it."""
    installed = Path(sys.executable).parent
    if shutil.which("stoa") is not None or not (installed / "stoa").is_file():
        return []
    return ["To call the command `stoa` in your shell:", "", f'  export PATH="{installed}:$PATH"', ""]


def _models(server: Server) -> list[str]:
    """What each provider has, or why nothing, so that a wrong address or key is seen at once."""
    lines = [f"The default model is {server.default_model}"]
    for provider in server.providers:
        if provider.models is not None:
            found = f"{provider.models} model{'' if provider.models == 1 else 's'}"
        elif provider.trouble is not None:
            found = f"no models: {provider.trouble}; asked again every minute"
        elif provider.optional:
            continue  # A local Ollama that is not there was not asked for.
        else:
            found = "no answer yet; its models join when it answers"
        lines.append(f"  {provider.name} ({provider.url}): {found}")
    return lines


def run(settings: Settings, tell: Callable[[str], None]) -> None:
    """Runs the server to its end."""
    if sys.platform == "win32":
        asyncio.run(serve(settings, tell))
    else:
        import uvloop  # noqa: PLC0415 — exists on this platform only

        uvloop.run(serve(settings, tell))
