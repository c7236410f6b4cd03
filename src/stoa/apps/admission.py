"""Who may use an app on its own host: a key of its project, or anybody where the app is public (contract section 3)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends, Request, Security
from fastapi.requests import HTTPConnection
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from stoa.apps.store import SQL
from stoa.db import Database
from stoa.db.internal import internal_statement
from stoa.http import Gate
from stoa.http.authentication import PERMISSIONS, bearer_token
from stoa.http.hosts import SUBJECT
from stoa.kernel.errors import Forbidden, NotFound, Unauthorized
from stoa.kernel.principal import CredentialKind, Principal

_ADMITTED: Final = "stoa.app_caller"
"""The key of the scope for the caller: a request is admitted once."""
_BEARER = HTTPBearer(auto_error=False, description="An Access Key: `stoa_acc_…`. A public app needs none.")


@dataclass(frozen=True, slots=True)
class AppCaller:
    """The caller of an app's host. `anonymous`: without a credential, of a public app."""

    principal: Principal
    app_id: UUID
    project_id: UUID
    anonymous: bool = False


class PublicApps:
    """Public apps. A request to one has the app's project as its scope, and the app's id as its key id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def principal(self, app_id: UUID) -> Principal | None:
        """None if there is no such app, or it is not public."""
        async with internal_statement(self._database) as tx:
            row = await tx.fetchrow(SQL.public_app, app_id)
        return Principal(row["org_id"], row["project_id"], app_id) if row else None

    async def living(self, ids: Collection[UUID]) -> Sequence[UUID]:
        """Those of the ids that are public apps."""
        async with internal_statement(self._database) as tx:
            return [row["id"] for row in await tx.fetch(SQL.public_apps, list(ids))]


class AppGate:
    """A dependency for the routes of an app's host: `caller: Annotated[AppCaller, gate("apps:run")]`."""

    def __init__(self, gate: Gate, database: Database, public: PublicApps) -> None:
        self._gate = gate
        self._database = database
        self._public = public

    def __call__(self, *permissions: str) -> Any:
        async def admitted(
            request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]
        ) -> AppCaller:
            return await self.admit(request, bearer_token(request), *permissions)

        setattr(admitted, PERMISSIONS, (self, permissions))
        return Depends(admitted)

    async def admit(self, request: HTTPConnection, token: str | None, *permissions: str) -> AppCaller:
        """Raises NotFound for an invalid id, Unauthorized, or Forbidden if the key may not use the app."""
        known = request.scope.get(_ADMITTED)
        if known is None:
            known = request.scope[_ADMITTED] = await self._admit(request, token, permissions)
        caller: AppCaller = known
        return caller

    async def _admit(self, request: HTTPConnection, token: str | None, permissions: Sequence[str]) -> AppCaller:
        name = str(request.scope[SUBJECT])
        try:
            app_id = UUID(name)
        except ValueError as error:
            raise NotFound(f"There is no app {name}.") from error
        if token is None:
            public = await self._public.principal(app_id)
            if public is None:
                raise Unauthorized("Send an access key: Authorization: Bearer stoa_acc_…")
            assert public.project_id is not None, "a public app gives its own project"
            return AppCaller(public, app_id, public.project_id, anonymous=True)
        principal = await self._gate.admit(request, token, *permissions)
        if principal.credential is not CredentialKind.ACCESS_KEY:
            raise Forbidden("Only an access key works on an app's host; a personal access token works on the api host.")
        async with self._database.tenant(principal) as tx:
            project_id = await tx.fetchval(SQL.visible_app, principal.org_id, app_id)
        if project_id is None:
            raise Forbidden(f"This key may not use the app {app_id}, or there is none.")
        return AppCaller(principal, app_id, project_id)
