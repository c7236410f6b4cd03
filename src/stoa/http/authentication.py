"""Authentication: a bearer token becomes a Principal, or the request is refused with 401 or 403."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, Protocol

from fastapi import Depends, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import HTTPConnection, Request
from starlette.types import Scope

from stoa.http.edge import EXTRA_HEADERS
from stoa.kernel.errors import Forbidden, Unauthorized
from stoa.kernel.limits import Rate
from stoa.kernel.principal import Principal

PERMISSIONS: Final = "stoa_permissions"
"""The attribute of an admitting dependency: (gate, permissions), so that a route can check before it reads a body."""
HOST: Final = "stoa.host"
"""The key of the scope for the kind of host, if it is not the api host."""
BROWSER: Final = "stoa.browser"
"""The key of the scope that is true if the credential came in the console's cookie."""
_ADMITTED: Final = "stoa.admitted"
"""The key of the scope for (token, principal): a request is authenticated, and counted against a rate limit, once."""
_BEARER = HTTPBearer(auto_error=False, description="An Access Key: `stoa_acc_…`")


class Authenticate(Protocol):
    async def __call__(self, token: str) -> Principal:
        """The owner of a credential. Raises Unauthorized when it is unknown, expired or revoked."""
        ...


class Meter(Protocol):
    async def __call__(self, principal: Principal) -> Rate | None:
        """Counts a request of a limited credential, and returns what is left of its rate. Raises RateLimited."""
        ...


class Gate:
    """A dependency for every slice's routes: `principal: Annotated[Principal, gate("conversations:read")]`."""

    def __init__(self, authenticate: Authenticate, meter: Meter, browser: Authenticate | None = None) -> None:
        """`browser` authenticates sessions of browsers, which no program sends."""
        self._authenticate = authenticate
        self._browser = browser or authenticate
        self._meter = meter

    def __call__(self, *permissions: str) -> Any:
        """A dependency that admits credentials with one of `permissions` (or without a list of permissions)."""
        return Depends(self.needs(*permissions))

    def needs(self, *permissions: str) -> Callable[..., Awaitable[Principal]]:
        async def admitted(
            request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]
        ) -> Principal:
            return await self.admit(request, bearer_token(request), *permissions)

        setattr(admitted, PERMISSIONS, (self, permissions))
        return admitted

    async def admit(self, request: HTTPConnection, token: str | None, *permissions: str) -> Principal:
        """Raises Unauthorized, RateLimited, or Forbidden when the credential lacks every one of the permissions."""
        if token is None:
            raise Unauthorized("Send an access key: Authorization: Bearer stoa_acc_…")
        principal = await self._principal(request, token)
        if principal.user_id is not None and HOST in request.scope:
            raise Forbidden("A personal access token works on the api host only; send an access key here.")
        permitted = principal.permitted(permissions)
        if permitted is None:
            needed = " or ".join(permissions)
            if principal.user_id is not None:
                raise Forbidden(f"None of your roles gives the permission {needed}; ask an owner of the organization.")
            raise Forbidden(f"This key may not do this: it lacks the permission {needed}.")
        return permitted

    async def _principal(self, request: HTTPConnection, token: str) -> Principal:
        known = request.scope.get(_ADMITTED)
        if known is not None and known[0] == token:
            admitted: Principal = known[1]
            return admitted
        known_to = self._browser if request.scope.get(BROWSER) else self._authenticate
        principal = await known_to(token)
        if principal.rate_limit is not None and (rate := await self._meter(principal)) is not None:
            request.scope[EXTRA_HEADERS].update(rate.headers())
        request.scope[_ADMITTED] = (token, principal)
        return principal


def admitted(scope: Scope) -> Principal | None:
    """The principal of a request's credential, whatever its permissions."""
    known = scope.get(_ADMITTED)
    return known[1] if known is not None else None


def bearer_token(request: HTTPConnection) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
