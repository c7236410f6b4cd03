"""Signing in with an access key or a link, and out."""

from collections.abc import Sequence
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from stoa.console import cookies
from stoa.console.api import sign_in
from stoa.console.ports import Sessions
from stoa.kernel.clock import Clock
from stoa.kernel.errors import Unauthorized

FORM_BYTES_MAX = 16 * 1024


def routes(sessions: Sessions, clock: Clock) -> Sequence[Route]:
    async def show(request: Request) -> Response:
        return sign_in(request, status=200)

    async def enter(request: Request) -> Response:
        form = await _form(request)
        link, key = form.get("link", "").strip(), form.get("key", "").strip()
        try:
            secret, ends = await (sessions.redeem(link) if link else sessions.open(key))
        except Unauthorized as refusal:
            return sign_in(request, refusal.message)
        response = RedirectResponse(_own_path(form.get("next", "/")), 303)
        cookies.keep(response, request.scope, secret, ends, clock.now())
        return response

    async def leave(request: Request) -> Response:
        session = cookies.session_of(request.scope)
        if session is not None:
            await sessions.close(session)
        response = RedirectResponse("/console/sign-in", 303)
        cookies.forget(response)
        return response

    return [
        Route("/console/sign-in", show, methods=["GET"]),
        Route("/console/sign-in", enter, methods=["POST"]),
        Route("/console/sign-out", leave, methods=["POST"]),
    ]


async def _form(request: Request) -> dict[str, str]:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES_MAX:
            return {}
    return {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def _own_path(wanted: str) -> str:
    """Where to go on: a path of this server, never another one."""
    parts = urlsplit(wanted)
    if parts.scheme or parts.netloc or not wanted.startswith("/") or wanted.startswith(("//", "/\\")) or "\\" in wanted:
        return "/"
    return wanted if wanted == "/" or wanted.startswith("/console/") else "/"
