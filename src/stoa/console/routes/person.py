"""The user's own account: sessions, password, organization, personal access tokens. Sessions and the password are
changed by forms and not over the API, so that a stolen token cannot change them."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from stoa.console import forms
from stoa.console.api import page
from stoa.console.examples import Call
from stoa.console.ports import People
from stoa.console.view import View
from stoa.kernel.errors import AppError, BadRequest, NotFound, Unauthorized

HERE: Final = "/console/account"
TOKENS_MAX: Final = 100


def routes(people: People) -> Sequence[Route]:
    async def show(view: View) -> Response:
        return await _show(people, view)

    async def change(view: View) -> Response:
        if not view.users:
            raise NotFound(view.translate("An access key has no account."))
        form = await forms.sent(view.request)
        try:
            match form.get("do"):
                case "end":
                    await people.end(view.session, _id(form.get("session", "")))
                case "end_others":
                    await people.end(view.session, None)
                case "switch":
                    await people.switch(view.session, _id(form.get("org", "")))
                case "password":
                    await people.change_password(view.session, form.get("present", ""), form.get("password", ""))
                    return await _show(people, view, done=view.translate("Your password was changed."))
                case _:
                    raise NotFound(view.translate("There is no such page."))
        except Unauthorized:
            return RedirectResponse(HERE, 303)  # Redirects to the sign-in page.
        except AppError as refusal:
            return await _show(people, view, problem=refusal.message, status=refusal.status)
        return RedirectResponse(HERE, 303)

    return [page(HERE, show), page(HERE, change, ["POST"])]


async def _show(
    people: People, view: View, *, problem: str | None = None, done: str | None = None, status: int = 200
) -> Response:
    if not view.users:
        return view.page("no-account.html", "account", view.translate("Your account"))
    try:
        account = await people.account(view.session)
    except Unauthorized as refusal:
        return view.ended(refusal.message)
    listed, why = await view.optional("/v1/personal-access-tokens", {"page_size": TOKENS_MAX})
    response = view.page(
        "account.html",
        "account",
        view.translate("Your account"),
        [
            Call("GET", "/v1/me"),
            Call("GET", "/v1/personal-access-tokens"),
            Call("POST", "/v1/personal-access-tokens", body={"name": "laptop"}),
        ],
        account=account,
        tokens=listed["data"] if listed else [],
        tokens_problem=why,
        problem=problem,
        done=done,
        provider=people.provider,
    )
    response.status_code = status
    return response


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise BadRequest.field("id", "must be a UUID") from error
