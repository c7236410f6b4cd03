"""The kinds of host as a table: how each is named, where it is mounted on the api host, what serves it (contract
section 1)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from stoa.http import errors
from stoa.http.authentication import HOST
from stoa.http.traffic import SERVED
from stoa.kernel.errors import AppError, NotFound

SUBJECT: Final = "stoa.host_subject"
"""The key of the scope for the id of the host's subject: the app or the knowledge base. It may be no UUID."""
RENDER: Final = errors.RENDER
"""The key of the scope for the function that renders this host's refusals."""

RenderError = Callable[[AppError], Response]


class HostKind(StrEnum):
    API = "api"
    APP = "app"
    KB = "kb"
    ROUTER = "router"
    COLLECTOR = "collector"


@dataclass(frozen=True, slots=True)
class HostName:
    """How a kind of host is reached. `label` is the name below the domain; `mounted` the path on the api host."""

    kind: HostKind
    label: str | None
    mounted: str | None
    with_subject: bool = False
    """Whether an id precedes the label and follows the path: `<id>.kb.<domain>`, `/kb/<id>`."""
    also: Sequence[str] = ()
    """Further paths on the api host where it is mounted."""
    aliases: Sequence[str] = ()
    """Paths on the api host that clients of another API use. The subject follows them, and the host's app gets the
    whole path."""


HOST_NAMES: Final[Sequence[HostName]] = (
    HostName(HostKind.API, None, None),
    HostName(HostKind.APP, "apps", "/apps", with_subject=True),
    HostName(HostKind.KB, "kb", "/kb", with_subject=True, aliases=("/v1/vector_stores",)),
    HostName(HostKind.ROUTER, "router", "/router", also=("/openai",)),
    HostName(HostKind.COLLECTOR, "collector", "/collector"),
)


@dataclass(frozen=True, slots=True)
class Host:
    kind: HostKind
    subject: str | None = None
    """The app's or knowledge base's id, as it is in the name; it may be no UUID."""


def classify(host: str, domain: str) -> Host:
    """`<id>.apps.<domain>`, `<id>.kb.<domain>`, `router.<domain>`, `collector.<domain>`; anything else is the api."""
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    name = name.lower().rstrip(".")
    prefix = name.removesuffix(f".{domain.lower()}")
    if prefix == name:
        return Host(HostKind.API)
    subject, _, label = prefix.rpartition(".")
    for known in HOST_NAMES:
        if known.label == label and bool(subject) == known.with_subject:
            return Host(known.kind, subject or None)
    return Host(HostKind.API)


@dataclass(frozen=True, slots=True)
class Surface:
    """What serves a kind of host, and how it renders a refusal."""

    app: ASGIApp
    render: RenderError = errors.response


class Hosts:
    """The ASGI app of all hosts: sends each request to the surface of its host. A host without a surface answers
    404."""

    def __init__(self, surfaces: Mapping[HostKind, Surface], domain: str) -> None:
        self._surfaces = surfaces
        self._domain = domain
        self._mounts = [
            (f"{path}/", known)
            for known in HOST_NAMES
            if known.mounted and known.kind in surfaces
            for path in (known.mounted, *known.also)
        ]
        self._aliases = [
            (f"{alias}/", known) for known in HOST_NAMES for alias in known.aliases if known.kind in surfaces
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._surfaces[HostKind.API].app(scope, receive, send)
            return
        name = next((value for key, value in scope["headers"] if key == b"host"), b"").decode("latin-1")
        host = classify(name, self._domain)
        if host.kind is HostKind.API:
            kind, below = self._on_api_host(scope)
        else:
            kind, below = host.kind, {**scope, SUBJECT: host.subject}
        surface = self._surfaces.get(kind)
        if surface is None:
            scope[SERVED] = kind.value, scope
            refusal = NotFound(
                f"Nothing is served on the host {name} in this version; the api is at any other name of this server."
            )
            await errors.response(refusal)(scope, receive, send)
            return
        if kind is not HostKind.API:
            below[HOST] = kind
            scope[SERVED] = kind.value, below
        scope[RENDER] = below[RENDER] = surface.render  # The edge reads the one, the surface the other.
        await surface.app(below, receive, send)

    def _on_api_host(self, scope: Scope) -> tuple[HostKind, Scope]:
        """The surface that is mounted at the path, and the scope as that surface's own host would have it."""
        path: str = scope["path"]
        for prefix, known in self._mounts:
            if path.startswith(prefix) or (path == prefix[:-1] and not known.with_subject):
                return known.kind, _below(scope, prefix[:-1], known)
        for prefix, known in self._aliases:
            if path.startswith(prefix):
                return known.kind, {**scope, SUBJECT: path.removeprefix(prefix).split("/", 1)[0]}
        return HostKind.API, scope


def _below(scope: Scope, mounted: str, known: HostName) -> Scope:
    path: str = scope["path"]
    root = scope.get("root_path", "") + mounted
    if not known.with_subject:
        return {**scope, "root_path": root, "path": path if path != mounted else f"{root}/"}
    subject, slash, _ = path.removeprefix(f"{mounted}/").partition("/")
    root = f"{root}/{subject}"
    return {**scope, "root_path": root, "path": path if slash else f"{root}/", SUBJECT: subject}
