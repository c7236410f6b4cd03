"""Personal access tokens. One transaction per method."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from stoa.access import people, rules
from stoa.access.people import SQL
from stoa.access.types import PersonalToken
from stoa.db import Database, Tx, audit, idempotency
from stoa.db.idempotency import IdempotencyKey
from stoa.db.internal import internal
from stoa.kernel.clock import Clock
from stoa.kernel.errors import BadRequest, Forbidden, NotFound, Unauthorized
from stoa.kernel.ids import Ids
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import CredentialKind, Principal


class Tokens:
    def __init__(self, database: Database, ids: Ids, clock: Clock) -> None:
        self._database = database
        self._ids = ids
        self._clock = clock

    async def create(
        self,
        principal: Principal,
        name: str,
        expires_at: datetime | None,
        org_id: UUID | None,
        once: IdempotencyKey | None,
    ) -> tuple[PersonalToken, str | None]:
        """A token of the caller and its secret, in an organization of the caller; a repeated request gets no secret."""
        user_id = _user(principal)
        ends = rules.check_expiry(expires_at, principal, self._clock.now())
        secret = rules.new_secret(rules.TOKEN_PREFIX)
        async with internal(self._database) as tx:
            if once and (first := await idempotency.claim(tx, principal, once)):
                row = await tx.fetchrow(SQL.token, UUID(first["org_id"]), UUID(first["id"]))
                if row is None:
                    raise NotFound("The token that this Idempotency-Key made was revoked.")
                return people.token(row), None
            if principal.credential is CredentialKind.PERSONAL_TOKEN and (
                await tx.fetchrow(SQL.lock_credential, principal.key_id) is None
            ):
                raise Unauthorized("This token is unknown or was revoked.")  # Since this request began.
            chosen = org_id or principal.org_id
            if await tx.fetchrow(SQL.membership, chosen, user_id) is None:
                raise BadRequest.field("org_id", "is no organization of this user")
            made = await self.insert(tx, chosen, user_id, name, ends, secret)
            await audit.record(tx, principal, "personal_token.create", made.id)
            if once:
                answer = {"id": str(made.id), "org_id": str(made.org_id)}
                await idempotency.record(tx, principal, once, answer, made.id)
        return made, secret

    async def insert(
        self, tx: Tx, org_id: UUID, user_id: UUID, name: str, expires_at: datetime | None, secret: str
    ) -> PersonalToken:
        row = await tx.fetchrow(
            SQL.insert_token,
            org_id,
            self._ids.new(),
            user_id,
            name,
            rules.digest(secret),
            rules.preview(secret, rules.TOKEN_PREFIX),
            expires_at,
        )
        assert row is not None
        return people.token(row)

    async def issue(self, email: str, name: str, org_id: UUID | None, expires_at: datetime | None) -> str:
        """The operator's command: a token for a user, in the user's first organization unless another is named."""
        secret = rules.new_secret(rules.TOKEN_PREFIX)
        async with internal(self._database) as tx:
            user = await tx.fetchrow(SQL.user_by_email, rules.check_email(email))
            if user is None:
                raise NotFound(f"There is no user {email}.")
            chosen = org_id or await tx.fetchval(SQL.first_org_of_user, user["id"])
            if chosen is None or await tx.fetchrow(SQL.membership, chosen, user["id"]) is None:
                raise NotFound(f"{email} is no member of that organization.")
            made = await self.insert(tx, chosen, user["id"], rules.check_name(name), expires_at, secret)
            maker = Principal(chosen, None, user["id"], user_id=user["id"])
            await audit.record(tx, maker, "personal_token.create", made.id)
        return secret

    async def list(self, principal: Principal, page: PageRequest) -> Page[PersonalToken]:
        """None for an access key, which is no user."""
        user_id = principal.user_id
        async with internal(self._database) as tx:
            rows = await tx.fetch(
                SQL.tokens_of_user.format(order=page.order_by("created_at DESC")), user_id, page.page_size, page.offset
            )
            total = await tx.fetchval(SQL.count_tokens_of_user, user_id)
        found: Sequence[PersonalToken] = [people.token(row) for row in rows]
        return Page.counted(found, page, total)

    async def revoke(self, principal: Principal, token_id: UUID) -> None:
        """Revokes at once on every node. Raises NotFound for a token of another user."""
        user_id = principal.user_id
        async with internal(self._database) as tx:
            org_id = await tx.fetchval(SQL.delete_token, user_id, token_id)
            if org_id is None:
                raise NotFound(f"There is no personal access token {token_id}.")
            maker = Principal(org_id, None, principal.key_id, user_id=user_id)
            await audit.record(tx, maker, "personal_token.delete", token_id)


def _user(principal: Principal) -> UUID:
    if principal.user_id is None:
        raise Forbidden("An access key is no user and has no personal access tokens; sign in as a user.")
    return principal.user_id
