"""Sign-in with e-mail address and password, OpenID Connect, an access key or a link; and sign-out."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from urllib.parse import quote, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from stoa.console import cookies, forms, view
from stoa.console.api import sign_in
from stoa.console.ports import People, Sessions
from stoa.kernel.clock import Clock
from stoa.kernel.errors import AppError, RateLimited, Unauthorized


def routes(sessions: Sessions, people: People, clock: Clock, public_url: str | None) -> Sequence[Route]:
    async def show(request: Request) -> Response:
        return sign_in(request, status=200)

    async def enter(request: Request) -> Response:
        form = await forms.sent(request)
        email = form.get("email", "").strip()
        try:
            opened = await _open(sessions, people, form)
        except (Unauthorized, RateLimited) as refusal:
            return sign_in(request, refusal.message, refusal.status, email=email)
        return await entered(request, people, clock, opened, form.get("next", "/"))

    async def leave(request: Request) -> Response:
        session, elsewhere = cookies.session_of(request.scope), None
        if session is not None and people.is_users(session):
            elsewhere = await people.leave(session)
        elif session is not None:
            await sessions.close(session)
        response: Response = RedirectResponse("/console/sign-in", 303)
        if elsewhere is not None:
            # A page with a link instead of a redirect: the content security policy (form-action) forbids that a form
            # leads to another server, even by a redirect.
            language = view.language_of(request)
            translate = view.words.translator(language)
            response = view.respond(
                request, language, "signed-out.html",
                title=translate("Signed out"), elsewhere=elsewhere, provider=people.provider,
            )  # fmt: skip
        cookies.forget(response)
        return response

    return [
        Route("/console/sign-in", show, methods=["GET"]),
        Route("/console/sign-in", enter, methods=["POST"]),
        Route("/console/sign-out", leave, methods=["POST"]),
        *_with_provider(people, clock, public_url),
    ]


def _with_provider(people: People, clock: Clock, public_url: str | None) -> Sequence[Route]:
    async def begin(request: Request) -> Response:
        back = forms.own_path(request.query_params.get("next", "/"))
        here = urlsplit(public_url or "").netloc
        if here and here != request.headers.get("host") and "moved" not in request.query_params:
            # The provider redirects back to the public URL, so the cookie must be set for that host. This redirect is
            # done once only: behind a proxy that rewrites the host it would repeat forever.
            there = f"{(public_url or '').rstrip('/')}/console/sign-in/oidc?moved=1&next={quote(back, safe='')}"
            return RedirectResponse(there, 303)
        address, name, value = await people.begin(back)
        response = RedirectResponse(address, 303, {"Cache-Control": "no-store"})
        cookies.keep_flow(response, request.scope, name, value)
        return response

    async def come_back(request: Request) -> Response:
        pairs = request.query_params.multi_items()
        answer = dict(pairs)
        if len(answer) != len(pairs):
            return sign_in(request, _twice(request))
        name = "".join(one for one in answer.get("state", "")[:12] if one.isascii() and one.isalnum())
        try:
            secret, ends, back = await people.finish(answer, cookies.flow_of(request.scope, name))
        except AppError as refusal:
            response = sign_in(request, refusal.message, refusal.status)
        else:
            response = await entered(request, people, clock, (secret, ends), back)
        if name:
            cookies.forget_flow(response, request.scope, name)
        return response

    return [
        Route("/console/sign-in/oidc", begin, methods=["GET"]),
        Route("/console/sign-in/oidc/callback", come_back, methods=["GET"]),
    ]


async def entered(
    request: Request, people: People, clock: Clock, opened: tuple[str, datetime], wanted: str
) -> Response:
    """Sets the cookie of the new session, and ends the browser's previous session."""
    before = cookies.session_of(request.scope)
    if before is not None and people.is_users(before):
        await people.leave(before)
    secret, ends = opened
    response = RedirectResponse(forms.own_path(wanted), 303)
    cookies.keep(response, request.scope, secret, ends, clock.now())
    return response


async def _open(sessions: Sessions, people: People, form: Mapping[str, str]) -> tuple[str, datetime]:
    """Raises Unauthorized and RateLimited."""
    if link := form.get("link", "").strip():
        return await sessions.redeem(link)
    if email := form.get("email", "").strip():
        return await people.with_password(email, form.get("password", ""))
    return await sessions.open(form.get("key", "").strip())


def _twice(request: Request) -> str:
    translate = view.words.translator(view.language_of(request))
    return translate("The sign-in service gave an answer twice; begin again.")
