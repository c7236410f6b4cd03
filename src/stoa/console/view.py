"""One request for a page: session, language, and the ways to respond."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from stoa.console import cookies, examples, pages, words
from stoa.console.client import Api, Query, Refused
from stoa.console.examples import Call
from stoa.kernel.errors import TooLarge

FORM_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True, slots=True)
class View:
    request: Request
    api: Api
    language: str
    session: str
    users: bool = False
    """Whether the session belongs to a user, and not to an access key."""

    @property
    def translate(self) -> words.Translate:
        return words.translator(self.language)

    def number(self, name: str, default: int = 1) -> int:
        """A number of the query, at least 1. Anything that is not a number gives the default."""
        given = self.request.query_params.get(name, "")
        return max(1, int(given)) if given.isascii() and given.isdigit() and len(given) < 8 else default

    async def form(self) -> Mapping[str, list[str]]:
        """The fields of the submitted form. Raises TooLarge."""
        body = b""
        async for chunk in self.request.stream():
            body += chunk
            if len(body) > FORM_BYTES_MAX:
                raise TooLarge("This form is over 1 MiB; send it to the API instead.")
        return parse_qs(body.decode("utf-8", "replace"), max_num_fields=100)

    async def optional(self, path: str, query: Query | None = None) -> tuple[Any, str | None]:
        """(response, None), or (None, the reason): for a part of a page that may be missing. Raises Refused if the
        session has ended."""
        try:
            return await self.api.get(path, query), None
        except Refused as refusal:
            if refusal.status == 401:
                raise
            return None, refusal.message

    async def several(self, *asked: tuple[str, Query | None]) -> Sequence[tuple[Any, str | None]]:
        return await asyncio.gather(*(self.optional(path, query) for path, query in asked))

    def page(self, template: str, name: str, title: str, calls: Sequence[Call] = (), **values: Any) -> Response:
        shown = examples.shown(calls, str(self.request.base_url).rstrip("/"))
        return respond(
            self.request,
            self.language,
            template,
            server=str(self.request.base_url).rstrip("/"),
            page=name,
            title=title,
            calls=shown,
            users=self.users,
            **values,
        )

    def ended(self, message: str) -> Response:
        """Raises Refused, as an API call does after the session has ended."""
        raise Refused(401, {"code": "unauthorized", "message": message})

    def again(self, **changes: object) -> str:
        """This page's URL with changed parameters."""
        given: dict[str, object] = dict(self.request.query_params)
        given |= changes
        return "?" + urlencode({name: value for name, value in given.items() if value not in (None, "")})


def now() -> int:
    """Milliseconds since 1970: the page's times are relative to the server's clock, whatever the browser's says."""
    return int(time.time() * 1000)


def language_of(request: Request) -> str:
    return words.chosen(cookies.cookies_of(request.scope).get(words.COOKIE), request.headers.get("accept-language", ""))


def respond(request: Request, language: str, template: str, http_status: int = 200, **values: Any) -> Response:
    context: Mapping[str, Any] = {
        "calls": (),
        "spoken": pages.spoken(language),
        "path": request.url.path,
        "now": now(),
        **values,
    }
    return HTMLResponse(pages.render(template, language, **context), http_status, dict(pages.HEADERS))
