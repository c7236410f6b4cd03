"""Pages behind links: the first owner, an invitation, a forgotten password. A link has its token in the fragment, which
browsers do not send, so no log contains it."""

from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stoa.console import forms, view
from stoa.console.api import sign_in
from stoa.console.ports import People
from stoa.console.routes.signing import entered
from stoa.kernel.clock import Clock
from stoa.kernel.errors import AppError


def routes(people: People, clock: Clock) -> Sequence[Route]:
    async def welcome(request: Request) -> Response:
        if request.method == "GET":
            return _page(request, "welcome.html", _("Welcome to Stoa", request))
        form = await forms.sent(request)
        try:
            opened = await people.as_first_owner(
                _token(form), form.get("email", ""), form.get("password", ""), *_names(form)
            )
        except AppError as refusal:
            return _page(request, "welcome.html", _("Welcome to Stoa", request), refusal, form)
        return await entered(request, people, clock, opened, "/")

    async def invitation(request: Request) -> Response:
        if request.method == "GET":
            return _page(request, "invitation.html", _("You are invited", request))
        form = await forms.sent(request)
        try:
            opened = await people.by_invitation(_token(form), form.get("password") or None, *_names(form))
        except AppError as refusal:
            return _page(request, "invitation.html", _("You are invited", request), refusal, form)
        if opened is None:
            return sign_in(request, status=200, notice=_("You are a member now. Sign in as ever.", request))
        return await entered(request, people, clock, opened, "/")

    return [
        Route("/console/welcome", welcome, methods=["GET", "POST"]),
        Route("/console/invitation", invitation, methods=["GET", "POST"]),
        *_passwords(people),
    ]


def _passwords(people: People) -> Sequence[Route]:
    async def forgotten(request: Request) -> Response:
        title = _("Forgotten password", request)
        if request.method == "GET":
            return _page(request, "forgotten.html", title, mails=people.mails, asked=False)
        form = await forms.sent(request)
        people.forgot(form.get("email", ""))
        return _page(request, "forgotten.html", title, mails=True, asked=True)

    async def reset(request: Request) -> Response:
        if request.method == "GET":
            return _page(request, "reset.html", _("A new password", request))
        form = await forms.sent(request)
        try:
            await people.reset(_token(form), form.get("password", ""))
        except AppError as refusal:
            return _page(request, "reset.html", _("A new password", request), refusal, form)
        notice = _("Your password was changed, and every browser signed out. Sign in with it.", request)
        return sign_in(request, status=200, notice=notice)

    return [
        Route("/console/forgotten", forgotten, methods=["GET", "POST"]),
        Route("/console/reset", reset, methods=["GET", "POST"]),
    ]


def _(text: str, request: Request) -> str:
    return view.words.translator(view.language_of(request))(text)


def _token(form: Mapping[str, str]) -> str:
    """The token. The field may also contain the whole link."""
    return form.get("token", "").strip().rpartition("#")[2]


def _names(form: Mapping[str, str]) -> tuple[str, str]:
    first, last = (form.get(name, "").strip()[:100].replace("\x00", "") for name in ("first_name", "last_name"))
    return first, last


def _page(
    request: Request,
    template: str,
    title: str,
    refusal: AppError | None = None,
    form: Mapping[str, str] | None = None,
    **values: object,
) -> Response:
    """The page, with the fields that were already filled in, except for the password."""
    kept = {name: value for name, value in (form or {}).items() if name != "password"}
    problem = refusal.message if refusal is not None else None
    status = refusal.status if refusal is not None else 200
    return view.respond(
        request, view.language_of(request), template, status, title=title, problem=problem, form=kept, **values
    )
