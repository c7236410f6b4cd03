"""Requirements on the api host: declared by a workflow's owner, fulfilled by an end user with a connect token."""

from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends, Query, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.responses import RedirectResponse, Response

from stoa.http import Acknowledgement, Data, DataList, Gate, Paging, Routes, page_of, refusals
from stoa.http.authentication import PERMISSIONS, bearer_token
from stoa.http.idempotency import IdempotencyKeyHeader, repeated
from stoa.kernel.errors import AppError, BadRequest, Unauthorized
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal
from stoa.requirements import rules, wire
from stoa.requirements.service import Requirements
from stoa.requirements.tokens import ConnectTokens
from stoa.requirements.types import Connecting

PAGE: Final = "/connect"
CALLBACK: Final = "/connect/callback"
COOKIE: Final = "stoa_connect"
_BEARER = HTTPBearer(auto_error=False, description="A connect token, from POST /v1/connect/tokens of the app's host.")


def owner_routes(requirements: Requirements, gate: Gate) -> Routes:
    router = Routes(tags=["workflows"])
    reading, writing = gate("apps:read"), gate("apps:write")

    @router.get("/v1/workflows/{workflow_id}/requirements", responses=refusals(404))
    async def list_requirements(
        workflow_id: UUID, principal: Annotated[Principal, reading], page: Annotated[PageRequest, Depends(Paging())]
    ) -> DataList[wire.RequirementWire]:
        """Lists what the workflow requires of each end user."""
        return page_of(await requirements.list(principal, workflow_id, page), wire.requirement)

    @router.post("/v1/workflows/{workflow_id}/requirements", status_code=201, responses=refusals(404, 409))
    async def create_requirement(
        workflow_id: UUID,
        body: wire.CreateRequirement,
        principal: Annotated[Principal, writing],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[wire.RequirementWire]:
        """Declares something that each end user of the workflow's apps has to connect."""
        once = repeated(idempotency_key, f"requirements/{workflow_id}", body)
        made = await requirements.create(principal, workflow_id, wire.new_requirement(body), once)
        return Data(data=wire.requirement(made))

    @router.get("/v1/workflows/{workflow_id}/requirements/{requirement_id}", responses=refusals(404))
    async def get_requirement(
        workflow_id: UUID, requirement_id: UUID, principal: Annotated[Principal, reading]
    ) -> Data[wire.RequirementWire]:
        return Data(data=wire.requirement(await requirements.get(principal, workflow_id, requirement_id)))

    @router.put("/v1/workflows/{workflow_id}/requirements/{requirement_id}", responses=refusals(404))
    async def update_requirement(
        workflow_id: UUID,
        requirement_id: UUID,
        body: wire.UpdateRequirement,
        principal: Annotated[Principal, writing],
    ) -> Data[wire.RequirementWire]:
        """Changes the title and description that end users read, and whether the requirement is optional."""
        form = body.form
        changed = await requirements.update(
            principal, workflow_id, requirement_id, form.title, form.description, optional=body.optional
        )
        return Data(data=wire.requirement(changed))

    @router.delete("/v1/workflows/{workflow_id}/requirements/{requirement_id}", responses=refusals(404))
    async def delete_requirement(
        workflow_id: UUID, requirement_id: UUID, principal: Annotated[Principal, writing]
    ) -> Acknowledgement:
        """Deletes a requirement with everything that end users have connected for it."""
        await requirements.delete(principal, workflow_id, requirement_id)
        return Acknowledgement(message="deleted")

    return router


class ConnectGate:
    """Admits requests with a connect token, before their bodies are read."""

    def __init__(self, tokens: ConnectTokens) -> None:
        self._tokens = tokens

    def whom(self) -> Any:
        """A dependency that returns the end user of the connect token."""

        async def admitted(
            request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]
        ) -> Connecting:
            return await self.admit(request, bearer_token(request))

        setattr(admitted, PERMISSIONS, (self, ()))
        return Depends(admitted)

    async def admit(self, request: Request, token: str | None) -> Connecting:  # noqa: ARG002 — as every gate
        """Raises Unauthorized."""
        if token is None:
            raise Unauthorized("Send a connect token: Authorization: Bearer eyJ…")
        return self._tokens.read(token)


def connect_routes(requirements: Requirements, tokens: ConnectTokens, public_url: str | None) -> Routes:
    router = Routes(tags=["connect"])
    whom = ConnectGate(tokens).whom()

    @router.get("/v1/connect/requirements", responses=refusals())
    async def list_offers(user: Annotated[Connecting, whom]) -> Data[list[wire.ConnectableWire]]:
        """Lists what the end user of the token can connect."""
        return Data(data=[wire.offer(one.requirement) for one in await requirements.offered(user)])

    @router.get("/v1/connect/requirements/status", responses=refusals())
    async def list_offer_statuses(user: Annotated[Connecting, whom]) -> Data[list[wire.ConnectableStateWire]]:
        """Lists the requirements with whether each is connected."""
        return Data(data=[wire.offer_status(one) for one in await requirements.offered(user)])

    @router.post("/v1/connect/requirements/{requirement_id}/credentials", responses=refusals(404))
    async def give_credentials(
        requirement_id: UUID, body: wire.GiveCredentials, user: Annotated[Connecting, whom]
    ) -> Acknowledgement:
        """Stores the credentials that the end user has typed, encrypted. They are never returned."""
        await requirements.give(user, requirement_id, body.type, body.config)
        return Acknowledgement(message="created")

    @router.post("/v1/connect/requirements/{requirement_id}/oauth2/authorize", responses=refusals(404))
    async def authorize_at_service(
        request: Request, response: Response, requirement_id: UUID, user: Annotated[Connecting, whom]
    ) -> Data[wire.SentWire]:
        """Returns the URL at which the end user authorizes access, within ten minutes. The cookie of this response must
        come back with the browser."""
        root = (public_url or str(request.base_url)).rstrip("/")
        sent = await requirements.authorize(user, requirement_id, f"{root}{CALLBACK}")
        response.set_cookie(
            COOKIE,
            sent.cookie,
            max_age=rules.ATTEMPT_SECONDS,
            path=CALLBACK,
            secure=root.startswith("https:"),
            httponly=True,
            samesite="lax",
        )
        return Data(data=wire.SentWire(url=sent.url))

    @router.post("/v1/connect/requirements/{requirement_id}/pipedream/authorize", responses=refusals(404))
    async def authorize_at_pipedream(
        requirement_id: UUID,
        user: Annotated[Connecting, whom],  # noqa: ARG001 — admitted, as on every route of these
    ) -> Data[wire.SentWire]:
        """Always refused: this server has no account at Pipedream."""
        raise BadRequest(f"The requirement {requirement_id} needs Pipedream, which this server is not connected to.")

    @router.get(CALLBACK, include_in_schema=False)
    async def come_back(
        request: Request,
        state: Annotated[str, Query(max_length=500)] = "",
        code: Annotated[str, Query(max_length=4_000)] = "",
    ) -> Response:
        """Receives the browser from the service, and redirects it to the connect page, whose URL does not have the
        code."""
        try:
            if not state or not code:
                raise BadRequest("The service gave no code.")
            await requirements.complete(state, code, request.cookies.get(COOKIE, ""))
            result = "connected"
        except AppError:
            result = "failed"
        answer = RedirectResponse(f"{PAGE}?result={result}", 303, headers={"Cache-Control": "no-store"})
        answer.delete_cookie(COOKIE, path=CALLBACK)
        return answer

    return router
