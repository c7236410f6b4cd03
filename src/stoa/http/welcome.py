"""Pages for people: `GET /` describes the server, `GET /docs/reference` is the API reference. Nothing is loaded from
another site."""

from functools import cache
from importlib.resources import files
from typing import Final, Literal
from urllib.parse import quote

from fastapi import Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, PlainTextResponse, Response

from stoa.http.routing import Routes

ASSET_SECONDS: Final = 24 * 3600
"""How long a browser caches the reference's script, which may change with the next version of the package."""
_TYPES: Final = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}

_TEXT: Final = """\
Stoa {version}: a self-hosted server for conversations with AI agents that never loses a token.

  Documentation   {base}/docs
  API reference   {base}/docs/reference
  OpenAPI         {base}/openapi.json
  Health          {base}/health

Every call needs an access key: -H "Authorization: Bearer $STOA_KEY". The first start of `stoa serve` prints one.
A first look without writing anything: stoa demo
"""

_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Stoa</title>
<link rel="icon" href="data:,">
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1rem/1.6 system-ui, sans-serif; max-width: 40rem; margin: 12vh auto; padding: 0 1.25rem; }}
h1 {{ font-size: 1.75rem; margin: 0; }}
code, pre {{ font: 0.9em/1.5 ui-monospace, monospace; }}
pre {{ padding: 0.75rem 1rem; border: 1px solid; border-radius: 0.4rem; overflow-x: auto; }}
footer {{ margin-top: 2.5rem; opacity: 0.7; }}
</style>
</head>
<body>
<h1>Stoa</h1>
<p>A self-hosted server for conversations with AI agents that never loses a token. This is its API; it is running.</p>
<ul>
<li><a href="{base}/docs">Documentation</a>: first steps, guides, operation</li>
<li><a href="{base}/docs/reference">API reference</a>: every route, to read and to try</li>
<li><a href="{base}/openapi.json">openapi.json</a>: the same for programs</li>
<li><a href="{base}/health">Health</a> and <a href="{base}/ready">readiness</a></li>
</ul>
<p>Every call needs an access key. The first start of <code>stoa serve</code> prints one.</p>
<pre>curl {url}/v1/router/models -H "Authorization: Bearer $STOA_KEY"</pre>
<p><code>stoa demo</code> shows the main job, call by call.</p>
<footer>Stoa {version}, Apache-2.0</footer>
</body>
</html>
"""


def welcome_routes(version: str) -> Routes:
    """`GET /`, for the api's host."""
    router = Routes(tags=["operations"])

    @router.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def welcome(request: Request) -> Response:
        """HTML for a browser, a few lines of text for a terminal."""
        base, url = _root_path(request), str(request.base_url).rstrip("/")
        headers = {"Vary": "Accept"}
        if "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(_PAGE.format(version=version, base=base, url=_escaped(url)), headers=headers)
        return PlainTextResponse(_TEXT.format(version=version, base=url), headers=headers)

    return router


def docs_routes(title: str) -> Routes:
    """`GET /docs/reference`, for every host that has an OpenAPI document, and `GET /docs` where the host has no
    documentation of its own. The assets are in a package, so it works without internet access."""
    router = Routes(tags=["operations"])

    @router.get("/docs", include_in_schema=False)
    @router.get("/docs/reference", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        base = _root_path(request)
        return get_swagger_ui_html(
            openapi_url=f"{base}/openapi.json",
            title=title,
            swagger_js_url=f"{base}/docs/swagger-ui-bundle.js",
            swagger_css_url=f"{base}/docs/swagger-ui.css",
            swagger_favicon_url=f"{base}/docs/favicon.png",
        )

    @router.get("/docs/{name}", include_in_schema=False)
    async def asset(name: Literal["swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"]) -> Response:
        headers = {"Cache-Control": f"public, max-age={ASSET_SECONDS}"}
        return Response(_asset(name), media_type=_TYPES[name], headers=headers)

    return router


@cache
def _asset(name: str) -> bytes:
    return (files("fastapi_offline") / "static" / name).read_bytes()


def _root_path(request: Request) -> str:
    """Quoted, because part of it may be an id from the client."""
    return quote(str(request.scope.get("root_path", "")).rstrip("/"))


def _escaped(text: str) -> str:
    """Escaped, because the client can send any Host header."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
