"""The session's cookie, and the check that a write comes from a page of this server (against CSRF)."""

from collections.abc import Mapping
from datetime import datetime
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.types import Scope

SECURE: Final = "__Host-stoa-session"
"""The name over HTTPS. Browsers refuse a cookie with this prefix from another host, another path, or without TLS."""
PLAIN: Final = "stoa-session"
"""The name over plain HTTP, as on localhost, where not all browsers accept a `__Host-` cookie."""
FLOW_SECONDS: Final = 600
FLOWS_MAX: Final = 4
"""Sign-ins at the OpenID Connect provider that one browser may have pending, each in its own tab."""
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    return dict(scope["headers"])


def cookies_of(scope: Scope) -> Mapping[str, str]:
    """All cookies of the request. Empty if the header cannot be parsed."""
    jar: SimpleCookie = SimpleCookie()
    try:
        jar.load(headers_of(scope).get(b"cookie", b"").decode("latin-1"))
    except CookieError:
        return {}
    return {name: morsel.value for name, morsel in jar.items()}


def session_of(scope: Scope) -> str | None:
    """Over HTTPS only the `__Host-` cookie is read, because a sibling host can set the other."""
    return cookies_of(scope).get(SECURE if scope.get("scheme") == "https" else PLAIN)


def keep(response: Response, scope: Scope, secret: str, ends: datetime, now: datetime) -> None:
    secure = scope.get("scheme") == "https"
    seconds = max(0, int((ends - now).total_seconds()))
    response.set_cookie(
        SECURE if secure else PLAIN, secret, max_age=seconds, path="/", secure=secure, httponly=True, samesite="lax"
    )


def forget(response: Response) -> None:
    response.delete_cookie(SECURE, path="/", secure=True, httponly=True, samesite="lax")
    response.delete_cookie(PLAIN, path="/", httponly=True, samesite="lax")


def keep_flow(response: Response, scope: Scope, name: str, value: str) -> None:
    """Stores the state of one sign-in in a cookie while the browser is at the provider. `SameSite=Lax`, because the
    provider's page links back. Deletes the oldest above FLOWS_MAX, so that abandoned sign-ins do not make the request
    header grow."""
    secure = scope.get("scheme") == "https"
    begun = [one for one in cookies_of(scope) if one.startswith(_flow(scope, ""))]
    for one in begun[: max(0, len(begun) - FLOWS_MAX + 1)]:
        response.delete_cookie(one, path="/", secure=secure, httponly=True, samesite="lax")
    response.set_cookie(
        _flow(scope, name), value, max_age=FLOW_SECONDS, path="/", secure=secure, httponly=True, samesite="lax"
    )


def flow_of(scope: Scope, name: str) -> str | None:
    return cookies_of(scope).get(_flow(scope, name)) if name else None


def forget_flow(response: Response, scope: Scope, name: str) -> None:
    secure = scope.get("scheme") == "https"
    response.delete_cookie(_flow(scope, name), path="/", secure=secure, httponly=True, samesite="lax")


def _flow(scope: Scope, name: str) -> str:
    return f"{'__Host-stoa-begun-' if scope.get('scheme') == 'https' else 'stoa-begun-'}{name}"


def from_own_page(scope: Scope, public_url: str | None = None) -> bool:
    """Whether the browser's headers say that a page of this server sent the request: of the requested host, or of the
    public URL, in case a reverse proxy rewrites the host. Without such headers: False."""
    headers = headers_of(scope)
    site = headers.get(b"sec-fetch-site")
    if site is not None and site != b"same-origin":
        return False
    origin = headers.get(b"origin", b"").decode("latin-1")
    if public_url is not None and origin == public_url.rstrip("/"):
        return True
    return bool(origin) and urlsplit(origin).netloc == headers.get(b"host", b"").decode("latin-1")
