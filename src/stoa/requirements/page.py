"""The connect page. It is static: this server renders no input of a user into it. It gets its token in the fragment of
its URL, which browsers do not send."""

from functools import cache
from importlib.resources import files
from typing import Final, Literal

from starlette.responses import Response

from stoa.http import Routes
from stoa.requirements.api import PAGE

_TYPES: Final = {
    "connect.html": "text/html; charset=utf-8",
    "connect.js": "text/javascript; charset=utf-8",
    "connect.css": "text/css; charset=utf-8",
}
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


def page_routes() -> Routes:
    router = Routes(tags=["connect"])

    @router.get(PAGE, include_in_schema=False)
    async def connect_page() -> Response:
        return Response(
            _asset("connect.html"),
            media_type=_TYPES["connect.html"],
            headers={"Content-Security-Policy": POLICY, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"},
        )

    @router.get(f"{PAGE}/assets/{{name}}", include_in_schema=False)
    async def connect_asset(name: Literal["connect.js", "connect.css"]) -> Response:
        return Response(_asset(name), media_type=_TYPES[name], headers={"Cache-Control": "no-cache"})

    return router


@cache
def _asset(name: str) -> bytes:
    return (files("stoa.requirements") / "assets" / name).read_bytes()
