"""The kit that every slice is built from, and the Component that a slice yields."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from fastapi import APIRouter
from starlette.types import ASGIApp

from stoa.db import Database
from stoa.db.checks import Check
from stoa.db.exported import Exported
from stoa.db.polls import Poll
from stoa.http.authentication import Gate
from stoa.http.hosts import HostKind, RenderError
from stoa.kernel.clock import Clock
from stoa.kernel.ids import Ids
from stoa.kernel.metrics import Metric
from stoa.kernel.schema_checker import SchemaChecker
from stoa.kernel.supervise import Heartbeat

K = TypeVar("K", bound=str)
T = TypeVar("T")

OnNotification = Callable[[str, int], None]
"""Takes the payload of a NOTIFY and the process id of the PostgreSQL backend that sent it."""


@dataclass(frozen=True, slots=True)
class Kit:
    """What every slice may use. Settings are separate arguments of each slice."""

    database: Database
    dsn: str
    """For connections outside of the pool; each has its own session."""
    clock: Clock
    ids: Ids
    gate: Gate
    schemas: SchemaChecker
    secret: bytes
    """The installation's secret: encrypts credentials and signs tickets."""


class Background(Protocol):
    """A background part that runs between `start` and `stop`."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


async def _nothing() -> None: ...


@dataclass(frozen=True, slots=True)
class Started:
    """A `Background` made of two functions, for a part that is only started, or stopped by its drain."""

    start: Callable[[], Awaitable[None]] = _nothing
    stop: Callable[[], Awaitable[None]] = _nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """What a slice provides to the server. A slice that provides something to others yields a subclass with such
    fields.

    Building opens no connection and starts no task: `background` does, and only in a server.
    """

    routers: Mapping[HostKind, Sequence[APIRouter]] = field(default_factory=dict[HostKind, Sequence[APIRouter]])
    around: Mapping[HostKind, Callable[[ASGIApp], ASGIApp]] = field(
        default_factory=dict[HostKind, Callable[[ASGIApp], ASGIApp]]
    )
    """Wraps the app of a host, for a route that bypasses the framework. The wrapper of a later component is outside."""
    render: Mapping[HostKind, RenderError] = field(default_factory=dict[HostKind, RenderError])
    """How a host of this slice renders errors, if it uses another error format."""
    checks: Sequence[Check] = ()
    """Checks that the doctor runs."""
    exported: Sequence[Exported] = ()
    """Tables that an export of a project holds."""
    metrics: Sequence[Metric] = ()
    polls: Sequence[Poll] = ()
    """Gauges that are read from the database at a scrape."""
    channels: Mapping[str, OnNotification] = field(default_factory=dict[str, OnNotification])
    """Handlers by the channel of LISTEN."""
    background: Sequence[Background | Started] = ()
    """Started in order once the server listens for notifications, stopped in reverse."""
    after_gap: Sequence[Callable[[], None]] = ()
    """Called when notifications may have been lost, because the LISTEN connection was."""
    vital: Sequence[Heartbeat] = ()
    """Essential loops: `GET /ready` is 503 while one of them is stuck."""
    heartbeats: Sequence[Heartbeat] = ()
    """Other loops that the doctor and the metrics monitor."""
    drain: Sequence[Callable[[], Awaitable[None]]] = ()
    """Claims nothing new, and ends or releases running work. All slices drain at once."""
    hang_up: Sequence[Callable[[], Awaitable[None]]] = ()
    """Closes open connections of clients, after everything has drained."""


class Collision(Exception):
    """Two slices declare the same name, which the message says."""


def merged(what: str, parts: Sequence[Mapping[K, T]]) -> dict[K, T]:
    """The union of the mappings. Raises Collision if two have the same key."""
    whole: dict[K, T] = {}
    for part in parts:
        for name, value in part.items():
            if name in whole:
                raise Collision(f"Two components bring the {what} {name!r}.")
            whole[name] = value
    return whole


def unique(what: str, names: Sequence[str]) -> None:
    """Raises Collision when a name occurs twice."""
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise Collision(f"Two components bring the {what} {', '.join(twice)}.")
