"""Requirements on an app's host: the list, what a user has connected, and connect links. Responses have no envelope, as
on the platform."""

from typing import Annotated, Any, Protocol
from uuid import UUID

from fastapi import Query, Request

from stoa.http import Acknowledgement, Routes, refusals
from stoa.kernel.errors import Forbidden
from stoa.kernel.principal import Principal
from stoa.requirements import wire
from stoa.requirements.api import PAGE
from stoa.requirements.service import Requirements
from stoa.requirements.tokens import ConnectTokens
from stoa.requirements.types import Connecting


class Caller(Protocol):
    """The authenticated caller, and the app of the host."""

    @property
    def principal(self) -> Principal: ...

    @property
    def app_id(self) -> UUID: ...

    @property
    def project_id(self) -> UUID: ...

    @property
    def anonymous(self) -> bool: ...


class AppGate(Protocol):
    """Authenticates requests to an app's host."""

    def __call__(self, *permissions: str) -> Any: ...


def host_routes(
    requirements: Requirements, tokens: ConnectTokens, gate: AppGate, domain: str, public_url: str | None
) -> Routes:
    router = Routes(tags=["app"])
    running = gate("apps:run")

    @router.get("/v1/requirements", responses=refusals())
    async def list_app_requirements(caller: Annotated[Any, running]) -> list[wire.RequiredWire]:
        """Lists what the app requires of each end user."""
        return [wire.required(one.requirement) for one in await requirements.held(_principal(caller), caller.app_id)]

    @router.get("/v1/requirements/status", responses=refusals())
    async def get_requirements_status(
        caller: Annotated[Any, running], user_id: Annotated[str, Query(min_length=1, max_length=255)]
    ) -> wire.StatusWire:
        """Returns whether this end user has connected everything that is required, and what is missing."""
        return wire.status(list(await requirements.held(_principal(caller), caller.app_id, user_id)))

    @router.post("/v1/connect/tokens", responses=refusals())
    async def create_connect_token(
        request: Request, caller: Annotated[Any, running], body: wire.CreateConnectToken
    ) -> wire.ConnectTokenWire:
        """Creates a link with which this end user connects accounts, valid for 24 hours. Give it to this user only."""
        principal, asked = _principal(caller), body.requirement_ids or []
        await requirements.check_offered(principal, caller.app_id, asked)
        made = tokens.issue(
            Connecting(principal.org_id, caller.project_id, caller.app_id, body.user_id, frozenset(asked))
        )
        root = public_url or _api_host(request, domain)
        return wire.token(made, f"{root.rstrip('/')}{PAGE}#{made.token}")

    @router.delete("/v1/requirements/{requirement_id}/connections", responses=refusals(404))
    async def disconnect_user(
        requirement_id: UUID,
        caller: Annotated[Any, running],
        user_id: Annotated[str, Query(min_length=1, max_length=255)],
    ) -> Acknowledgement:
        """Deletes what this end user has connected for the requirement."""
        await requirements.disconnect(_principal(caller), caller.app_id, requirement_id, user_id)
        return Acknowledgement(message="deleted")

    return router


def _api_host(request: Request, domain: str) -> str:
    """The host of the connect page, which apps' hosts do not serve."""
    url = request.url
    if not (url.hostname or "").endswith(f".apps.{domain}"):
        return f"{url.scheme}://{url.netloc}"
    return f"{url.scheme}://{domain}{f':{url.port}' if url.port else ''}"


def _principal(caller: Caller) -> Principal:
    """Raises Forbidden for anonymous callers: a public app may be used by anybody, but not in the name of its users."""
    if caller.anonymous:
        raise Forbidden("What end users have connected is for callers with an access key.")
    return caller.principal
