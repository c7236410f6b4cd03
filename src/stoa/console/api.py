"""The console in front of the API: serves pages to browsers, and accepts the session's cookie as a credential of the
API."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.contextvars import get_contextvars

from stoa.console import cookies, pages, view
from stoa.console.client import Api, Refused
from stoa.console.ports import People
from stoa.console.view import View
from stoa.http import errors
from stoa.http.authentication import BROWSER
from stoa.http.traffic import SERVED
from stoa.kernel.errors import AppError, Forbidden

API: Final = "stoa.console.api"
"""The key of the scope for the API's app, which pages call."""
PEOPLE: Final = "stoa.console.people"
"""The key of the scope for the People port."""
ASSET_SECONDS: Final = 365 * 24 * 3600
_ROUTE_IDS: Final = re.compile(r"/[0-9a-f-]{32,36}(?=/|$)")

Page = Callable[[View], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class _Template:
    """What requests are counted under."""

    path: str


class Console:
    """Wraps the app of the api host. Programs see no difference."""

    def __init__(self, app: ASGIApp, routes: Sequence[Route], people: People, public_url: str | None) -> None:
        """`public_url`: the address that people open, where a reverse proxy may write another host."""
        self._app = app
        self._people = people
        self._public_url = public_url
        self._pages = Router([Route("/console/assets/{version}/{name}", asset), *routes])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif _is_page(scope):
            scope = {
                **scope,
                API: self._app,
                PEOPLE: self._people,
                "app": self,
                "route": _Template(_ROUTE_IDS.sub("/{id}", scope["path"])[:60]),
            }
            await self._page(scope, receive, send)
        else:
            await self._call(scope, receive, send)

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A page, or a page that says what is wrong."""
        request = Request(scope, receive)
        if scope["method"] not in cookies.SAFE and not cookies.from_own_page(scope, self._public_url):
            await problem(request, 403, "forbidden", "This request did not come from a page of this server.")(
                scope, receive, send
            )
            return
        try:
            await self._pages(scope, receive, send)
        except HTTPException as error:
            translate = view.words.translator(view.language_of(request))
            missing = problem(request, error.status_code, "not_found", translate("There is no such page."))
            await missing(scope, receive, send)
        except Refused as refusal:
            await refused(request, refusal)(scope, receive, send)
        except AppError as refusal:
            await problem(request, refusal.status, refusal.code, refusal.message)(scope, receive, send)

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A call of the API. The session's cookie counts where no other credential is sent; a write must come from a
        page of ours."""
        session = cookies.session_of(scope)
        if session is None or any(name == b"authorization" for name, _ in scope["headers"]):
            await self._app(scope, receive, send)
            return
        if scope["method"] not in cookies.SAFE and not cookies.from_own_page(scope, self._public_url):
            refusal = Forbidden(
                "A session's cookie is taken from pages of this server only; send an access key instead."
            )
            await errors.response(refusal)(scope, receive, send)
            return
        credential = (b"authorization", b"Bearer " + session.encode("latin-1", "replace"))
        below = {**scope, "headers": [*scope["headers"], credential], BROWSER: True}
        scope[SERVED] = "api", below
        await self._app(below, receive, send)


def _is_page(scope: Scope) -> bool:
    if scope["path"] == "/":
        wanted = cookies.headers_of(scope).get(b"accept", b"")
        return scope["method"] in ("GET", "HEAD") and b"text/html" in wanted
    return scope["path"] == "/console" or scope["path"].startswith("/console/")


def page(path: str, show: Page, methods: Sequence[str] = ("GET",)) -> Route:
    """A page for who is signed in; anybody else is asked to sign in and comes back."""

    async def endpoint(request: Request) -> Response:
        session = cookies.session_of(request.scope)
        if session is None:
            return sign_in(request, status=200 if request.url.path == "/" else 401)
        people: People = request.scope[PEOPLE]
        api = Api(request.scope[API], request.scope, session)
        return await show(View(request, api, view.language_of(request), session, users=people.is_users(session)))

    return Route(path, endpoint, methods=list(methods))


def sign_in(
    request: Request, problem_text: str | None = None, status: int = 401, *, email: str = "", notice: str | None = None
) -> Response:
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    language = view.language_of(request)
    title = view.words.translator(language)("Sign in")
    back = "/" if wanted.startswith(("/console/sign-in", "/console/sign-out")) else wanted
    people: People = request.scope[PEOPLE]
    return view.respond(
        request, language, "sign-in.html", status,
        title=title, problem=problem_text, next=back, email=email, notice=notice,
        provider=people.provider, mails=people.mails,
    )  # fmt: skip


def refused(request: Request, refusal: Refused) -> Response:
    if refusal.status == 401:
        response = sign_in(request, refusal.message)
        cookies.forget(response)
        return response
    return problem(request, refusal.status, refusal.code, refusal.message)


def problem(request: Request, status: int, code: str, message: str) -> Response:
    language = view.language_of(request)
    translate = view.words.translator(language)
    heading = translate("Not found") if status == 404 else translate("This did not work")
    session = cookies.session_of(request.scope)
    people: People = request.scope[PEOPLE]
    return view.respond(
        request, language, "error.html", status,
        title=heading, heading=heading, message=message, code=code, status_shown=status, page="",
        framed=session is not None, users=session is not None and people.is_users(session),
        request_id=get_contextvars().get("request_id", ""),
    )  # fmt: skip


async def asset(request: Request) -> Response:
    """Kept for good: its address changes with its bytes."""
    found = pages.assets().get(request.path_params["name"])
    if found is None:
        raise HTTPException(404)
    content, compressed, kind = found
    headers = {
        "Cache-Control": f"public, max-age={ASSET_SECONDS}, immutable",
        "X-Content-Type-Options": "nosniff",
        "Vary": "Accept-Encoding",
    }
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(compressed, media_type=kind, headers={**headers, "Content-Encoding": "gzip"})
    return Response(content, media_type=kind, headers=headers)
