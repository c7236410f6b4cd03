"""The server: opens the kit and every slice, starts them, and mounts what they serve. It decides nothing."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from stoa import __version__, access, doctor, gateway
from stoa.app import choices
from stoa.app.adapters import Toolbox
from stoa.app.slices import Slices, open_slices
from stoa.db import Database
from stoa.db.backup.notes import check_whole
from stoa.db.listen import Listener
from stoa.db.migrate import migrate
from stoa.db.polls import Polls
from stoa.db.readiness import check_storable
from stoa.http import Gate, errors, metrics, openapi, operations, route_index, unsupported, welcome
from stoa.http.component import Component, Kit, Started, merged, unique
from stoa.http.cors import Cors
from stoa.http.edge import Edge
from stoa.http.explaining import Explained
from stoa.http.hosts import HostKind, Hosts, Surface
from stoa.http.traffic import Traffic
from stoa.kernel import telemetry
from stoa.kernel.clock import Clock, SystemClock
from stoa.kernel.errors import Unavailable
from stoa.kernel.ids import Ids, RandomIds
from stoa.kernel.schema_checker import SchemaChecker
from stoa.kernel.supervise import Heartbeats
from stoa.settings import Settings

DESCRIPTION: Final = (
    'Conversations with AI agents that never lose a token. Every error is `{"error": {"code", "message", "details"?}}`.'
)
TITLES: Final = {
    HostKind.API: ("Stoa", DESCRIPTION),
    HostKind.KB: ("Stoa knowledge base", "One knowledge base, on its own hostname."),
    HostKind.APP: ("Stoa app", "One deployed app, on its own hostname."),
    HostKind.ROUTER: ("Stoa router", "Models behind one OpenAI-compatible address."),
    HostKind.COLLECTOR: ("Stoa collector", "Takes the traces of other programs."),
}
"""(title, description) of each host's OpenAPI document."""
EXPOSED_HEADERS: Final = (
    "X-Request-Id",
    "Stoa-Run-Id",
    "Retry-After",
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "X-Stoa-Model",
    "X-Stoa-Call-Id",
    "X-Stoa-Cost-Usd",
    "X-Stoa-Budget-Remaining-Usd",
    "X-Stoa-Notice",
    "X-Stoa-Ignored",
    "X-Stoa-Cache",
    "Age",
)
"""Response headers that a page in a browser may read (CORS)."""
DOCTOR_CONNECTIONS_MAX: Final = 4
READY_SECONDS_MAX: Final = 4.0
"""`GET /ready` waits no longer than this for the database."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is ready: the ASGI app, the first key if this start created one, and the drain."""

    asgi: ASGIApp
    first_key: str | None
    sign_in_link: str | None
    """The sign-in link for the console, if this start created the first key."""
    owner_link: str | None
    """The link that creates the first owner, if there is none."""
    default_model: str
    providers: Sequence[gateway.ProviderState]
    drain: Callable[[], Coroutine[Any, Any, None]]
    """Claims nothing new, completes or releases the running work, and ends every stream so that clients resume."""


@asynccontextmanager
async def open_server(
    settings: Settings,
    dsn: str,
    *,
    clock: Clock | None = None,
    ids: Ids | None = None,
    builtin: gateway.Model | None = None,
    toolbox: Toolbox | None = None,
    siblings: metrics.Siblings | None = None,
    welcomes: bool = True,
) -> AsyncGenerator[Server]:
    """Everything between a database and an ASGI app, started in order and stopped in reverse.

    `siblings`: this server is one of several workers. `welcomes`: makes the links that a first start prints.
    """
    clock, ids = clock or SystemClock(), ids or RandomIds()
    check_whole(settings.data_dir)
    session_dsn = choices.plain(settings.database_session_url)
    await migrate(dsn, session_dsn=session_dsn)
    async with AsyncExitStack() as stack:
        database = await Database.open(dsn, session_dsn=session_dsn, connections_max=settings.connections_max)
        stack.push_async_callback(database.close)
        kit, owner = _kit(database, clock, ids, choices.secret_of(settings))
        stack.push_async_callback(kit.schemas.close)
        first_key = await owner.bootstrap(choices.plain(settings.bootstrap_key))
        slices = await stack.enter_async_context(open_slices(settings, kit, owner, builtin=builtin, toolbox=toolbox))
        heartbeats = await _start(stack, kit, slices)
        slices.node.stuck_loops = heartbeats.stuck

        async def drain() -> None:
            await asyncio.gather(*(call() for component in slices.all for call in component.drain))
            for component in slices.all:
                for call in component.hang_up:
                    await call()

        stack.push_async_callback(drain)
        traffic = Traffic()
        operated = _operations(settings, kit, slices, traffic, heartbeats, siblings)
        for part in operated.background:
            stack.push_async_callback(part.stop)
        missing = Component(routers={HostKind.API: [unsupported.routes()]})
        asgi = Cors(
            Hosts(_surfaces([operated, *slices.all, missing]), settings.domain),
            allow_origins=settings.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=EXPOSED_HEADERS,
        )
        catalogue = slices.gateway.catalogue
        link = await access.Sessions(database, clock, owner).link(first_key) if first_key is not None else None
        owner_link = await slices.first_owner.link() if welcomes else None
        explained = Explained(asgi, access.Explaining(database, owner, clock))
        edge = _behind_proxies(Edge(explained, ids, traffic), settings.trusted_proxies)
        yield Server(edge, first_key, link, owner_link, catalogue.default.slug, catalogue.providers(), drain)


@asynccontextmanager
async def open_doctor(settings: Settings, dsn: str) -> AsyncGenerator[doctor.Doctor]:
    """The doctor of a whole database and its blobs, beside running servers or without one. Raises SchemaError.

    Slices are built, so that their checks are known, and not started.
    """
    check_whole(settings.data_dir)
    session_dsn = choices.plain(settings.database_session_url)
    await migrate(dsn, session_dsn=session_dsn)
    # It uses its own sessions: its statements take long and need session state, which a pooler does not keep.
    database = await Database.open(
        session_dsn or dsn, connections_max=DOCTOR_CONNECTIONS_MAX, command_seconds_max=doctor.SECONDS_MAX
    )
    try:
        kit, owner = _kit(database, SystemClock(), RandomIds(), os.urandom(32))  # Checks decrypt no secret.
        async with open_slices(settings, kit, owner) as slices:
            yield slices.doctor.doctor
    finally:
        await database.close()


def _behind_proxies(app: ASGIApp, trusted: Sequence[str]) -> ASGIApp:
    """The app with the scheme and the address of the client that a trusted proxy names, instead of the proxy's own."""
    return cast("ASGIApp", ProxyHeadersMiddleware(cast("Any", app), list(trusted))) if trusted else app


def _kit(database: Database, clock: Clock, ids: Ids, secret: bytes) -> tuple[Kit, access.Access]:
    owner = access.Access(database, ids, clock)
    gate = Gate(owner.authenticate, owner.admit, owner.authenticate_browser)
    return Kit(database, database.session_dsn, clock, ids, gate, SchemaChecker(), secret), owner


async def _start(stack: AsyncExitStack, kit: Kit, slices: Slices) -> Heartbeats:
    """Opens the LISTEN connection, then starts the background tasks. All of them stop when `stack` closes.

    Returns the heartbeats of the monitored loops.
    """
    components = slices.all

    def after_gap() -> None:
        for component in components:
            for call in component.after_gap:
                call()

    channels = merged("channel", [component.channels for component in components])
    listener = Listener(kit.dsn, channels, on_gap=after_gap)
    slices.node.reconnect.append(listener.reconnect)
    await listener.start()
    stack.push_async_callback(listener.stop)
    for component in components:
        for part in component.background:
            await part.start()
            stack.push_async_callback(part.stop)
    return Heartbeats(
        vital=[listener.heartbeat, *(one for component in components for one in component.vital)],
        others=[one for component in components for one in component.heartbeats],
    )


def _operations(
    settings: Settings,
    kit: Kit,
    slices: Slices,
    traffic: Traffic,
    heartbeats: Heartbeats,
    siblings: metrics.Siblings | None,
) -> Component:
    """Health, readiness and the page of metrics, for the parts of all slices."""

    async def check_ready() -> None:
        if slices.node.lapsed:
            raise Unavailable("This node cannot reach the database just now.")
        try:
            async with asyncio.timeout(READY_SECONDS_MAX):
                await check_storable(kit.database)
        except TimeoutError:
            raise Unavailable("The database does not answer just now.") from None
        heartbeats.check_vital()

    health = operations.routes(__version__, lambda: slices.runs.worker.draining, check_ready)
    polls = Polls(kit.database, [poll for component in slices.all for poll in component.polls], kit.clock)
    counted = [
        *traffic.metrics(),
        *(metric for component in slices.all for metric in component.metrics),
        *kit.database.metrics(),
        *polls.metrics(),
        *heartbeats.metrics(),
        *telemetry.metrics(),
    ]
    unique("metric", [metric.name for metric in counted])
    unique("check", [check.name for component in slices.all for check in component.checks])
    token = choices.plain(settings.metrics_token)
    page = metrics.routes(__version__, counted, polls.refresh, settings.host, token, siblings)
    return Component(
        routers={
            kind: [health, page, welcome.welcome_routes(__version__)] if kind is HostKind.API else [health]
            for kind in HostKind
        },
        background=[Started(stop=polls.stop)],
    )


def _surfaces(components: Sequence[Component]) -> dict[HostKind, Surface]:
    """One app for each kind of host that a slice has routes for."""
    served = {kind for component in components[1:] for kind in component.routers}
    render = merged("rendering of a host", [component.render for component in components])
    surfaces: dict[HostKind, Surface] = {}
    for kind in served:
        title, description = TITLES[kind]
        app: ASGIApp = _app(
            title, description, [router for part in components for router in part.routers.get(kind, ())]
        )
        for component in components:
            if kind in component.around:
                app = component.around[kind](app)
        surfaces[kind] = Surface(app, render.get(kind, errors.response))
    return surfaces


def _app(title: str, description: str, routers: Sequence[APIRouter]) -> FastAPI:
    app = FastAPI(
        title=title,
        version=__version__,
        description=description,
        license_info={"name": "Apache-2.0"},
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        generate_unique_id_function=openapi.operation_id,
    )
    errors.install(app)
    openapi.install(app, routers)
    for router in (welcome.docs_routes(title), *routers):
        app.router.routes.extend(router.routes)  # Not by `include_router`, which builds each route a second time.
    route_index.install(app.router)
    return app
