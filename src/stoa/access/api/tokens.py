"""Personal access tokens, and who one is (contract section 3)."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends

from stoa.access import wire
from stoa.access.tokens import Tokens
from stoa.access.users import Users
from stoa.http import (
    Acknowledgement,
    Data,
    DataList,
    Gate,
    IdempotencyKeyHeader,
    Paging,
    Routes,
    page_of,
    refusals,
    repeated,
)
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal

SORTABLE = {"created_at": "created_at", "name": "name"}


def routes(users: Users, tokens: Tokens, gate: Gate) -> Routes:
    router = Routes(tags=["access"])
    reading = gate("access:read")

    @router.get("/v1/me", responses=refusals())
    async def me(principal: Annotated[Principal, reading]) -> Data[wire.UserWire]:
        """Returns the user of a personal access token. An access key has no user (403)."""
        return Data(data=wire.user(await users.me(principal)))

    @router.get("/v1/personal-access-tokens", responses=refusals())
    async def list_tokens(
        principal: Annotated[Principal, reading], page: Annotated[PageRequest, Depends(Paging(SORTABLE))]
    ) -> DataList[wire.TokenWire]:
        """Lists the caller's own tokens, newest first, without their secrets."""
        return page_of(await tokens.list(principal, page), wire.token)

    @router.post("/v1/personal-access-tokens", status_code=201, responses=refusals(409))
    async def create_token(
        body: wire.CreateToken, principal: Annotated[Principal, reading], idempotency_key: IdempotencyKeyHeader = None
    ) -> Data[wire.CreatedTokenWire]:
        """Creates a token that acts as the caller, with the roles that the caller has when the token is used. Only this
        response has the secret, in `key`; a repetition with the same Idempotency-Key does not."""
        once = repeated(idempotency_key, "personal-access-tokens", body)
        made, secret = await tokens.create(principal, body.name, body.expires_at, body.org_id, once)
        return Data(data=wire.created_token(made, secret))

    @router.delete("/v1/personal-access-tokens/{token_id}", responses=refusals(404))
    async def delete_token(token_id: UUID, principal: Annotated[Principal, reading]) -> Acknowledgement:
        """Revokes one of the caller's tokens at once on every node."""
        await tokens.revoke(principal, token_id)
        return Acknowledgement(message="deleted")

    return router
