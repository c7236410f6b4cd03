"""The session's cookie, and the check that a write comes from a page of our own."""

from collections.abc import Mapping
from datetime import datetime
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.types import Scope

SECURE: Final = "__Host-stoa-session"
"""Over HTTPS: the prefix makes the browser refuse it from another host, another path, or without TLS."""
PLAIN: Final = "stoa-session"
"""Over plain HTTP, as on a machine of one's own, browsers take no `__Host-` cookie everywhere."""
FLOW_SECONDS: Final = 600
FLOWS_MAX: Final = 4
"""Sign-ins at the provider that a browser has under way at once, each in a tab of its own."""
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    return dict(scope["headers"])


def cookies_of(scope: Scope) -> Mapping[str, str]:
    """Every cookie of the request; none where the header cannot be read."""
    jar: SimpleCookie = SimpleCookie()
    try:
        jar.load(headers_of(scope).get(b"cookie", b"").decode("latin-1"))
    except CookieError:
        return {}
    return {name: morsel.value for name, morsel in jar.items()}


def session_of(scope: Scope) -> str | None:
    """Over HTTPS only the cookie that a neighbouring host cannot have planted counts."""
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
    """What belongs to one sign-in at the provider, while the browser is there. `Lax`, because the provider's page leads
    back. Older ones go: a browser that began often and finished never would send ever longer headers."""
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
    """Whether the browser says that a page of this very server sent the request: one of the host that was asked, or of
    the public address, where a reverse proxy writes another host. Without the browser's word: no."""
    headers = headers_of(scope)
    site = headers.get(b"sec-fetch-site")
    if site is not None and site != b"same-origin":
        return False
    origin = headers.get(b"origin", b"").decode("latin-1")
    if public_url is not None and origin == public_url.rstrip("/"):
        return True
    return bool(origin) and urlsplit(origin).netloc == headers.get(b"host", b"").decode("latin-1")
