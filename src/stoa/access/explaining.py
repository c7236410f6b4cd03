"""Explains to an owner which access rule refused a request. Nobody else gets an explanation, and an owner gets none
about an organization of others."""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from stoa.access import people, rules, store
from stoa.access.service import Access
from stoa.db import Database, Row, Tx, load
from stoa.db.internal import internal
from stoa.kernel.clock import Clock, rfc3339
from stoa.kernel.errors import Unauthorized
from stoa.kernel.principal import Principal

SQL: Final = load("stoa.access", "explaining.sql")
IDS_MAX: Final = 5
"""Ids of one path that are looked up."""
FOR_OWNERS: Final = (
    "Only owners are told why: send a credential of an owner or admin, or an organization-wide key with all"
    " permissions, in the header Stoa-Owner."
)
_NOTHING: Final = (
    "No rule of access refused this. What was asked for does not exist, or the message above names another reason."
)


class Explaining:
    def __init__(self, database: Database, access: Access, clock: Clock) -> None:
        self._database = database
        self._access = access
        self._clock = clock

    async def __call__(
        self,
        caller: Principal | None,
        credential: str | None,
        proof: str | None,
        needs: Sequence[str],
        ids: Sequence[UUID],
        *,
        api_host: bool,
    ) -> str:
        """`caller` is the admitted principal, `credential` the sent one; `proof` is the credential of an owner, if the
        request's own is another one. The route requires one of `needs`."""
        owner = await self._owner(caller, proof)
        async with internal(self._database) as tx:
            owned = await _owned(tx, owner)
            if not owned:
                return FOR_OWNERS
            if caller is None:
                return await self._unknown(tx, credential, owned)
            if caller.org_id not in owned:
                return "This credential belongs to none of your organizations."
            reasons = [await _who(tx, caller)]
            if caller.user_id is not None and not api_host:
                reasons.append("A user's credential works on the api host only; other hosts take access keys.")
            seen = caller.permitted(needs) if needs else caller
            if seen is None:
                reasons.append(_lacks(caller, needs))
            else:
                reasons += [await _about(tx, seen, needs, one, owned) for one in ids[:IDS_MAX]]
        return " ".join(reasons) if len(reasons) > 1 else f"{reasons[0]} {_NOTHING}"

    async def _owner(self, caller: Principal | None, proof: str | None) -> Principal | None:
        if proof is None:
            return caller
        try:
            return await self._access.authenticate(proof)
        except Unauthorized:
            return None

    async def _unknown(self, tx: Tx, credential: str | None, owned: Sequence[UUID]) -> str:
        """Explains an invalid credential, if it belonged to one of the owner's organizations."""
        if credential is None:
            return "No credential was sent: Authorization: Bearer stoa_acc_…"
        digest = rules.digest(credential)
        if (revoked := await tx.fetchval(SQL.revoked_at, digest, owned)) is not None:
            return f"This access key was revoked at {rfc3339(revoked)}."
        for row in (await tx.fetchrow(SQL.key_of, digest, owned), await tx.fetchrow(SQL.token_of, digest, owned)):
            if row is not None and row["expires_at"] is not None and row["expires_at"] <= self._clock.now():
                after = " A rotation has put another key in its place." if dict(row).get("successor_id") else ""
                return f"“{row['name']}” ({row['preview']}) expired at {rfc3339(row['expires_at'])}.{after}"
        return "This credential was never one of your organizations', or is a token or session that was revoked."


async def _owned(tx: Tx, owner: Principal | None) -> Sequence[UUID]:
    """The organizations in which the principal has all permissions."""
    if owner is None:
        return ()
    if owner.user_id is not None:
        return [row["org_id"] for row in await tx.fetch(SQL.owned_orgs, owner.user_id)]
    return [owner.org_id] if owner.organization_wide and owner.permissions is None else ()


async def _who(tx: Tx, caller: Principal) -> str:
    if caller.user_id is not None:
        row = await people.membership_row(tx, caller.org_id, caller.user_id)
        role = row["role"] if row is not None else "no"
        return f"The caller is the user {await tx.fetchval(SQL.email_of, caller.user_id)}, with the role {role}."
    row = await tx.fetchrow(SQL.key_named, caller.org_id, caller.key_id)
    if row is None:
        return "The caller's credential was revoked meanwhile."
    key = store.key(row)
    where = f"the project “{row['project_name']}”" if key.project_id is not None else "the organization"
    return f"The caller is the access key “{key.name}” ({key.preview}) of {where}."


def _lacks(caller: Principal, needs: Sequence[str]) -> str:
    wanted = " or ".join(needs)
    if caller.permissions is not None:
        return f"The route needs {wanted}; the key has {', '.join(sorted(caller.permissions)) or 'nothing'}."
    return f"The route needs {wanted}, which none of the user's roles gives, in the organization or in a project."


async def _about(tx: Tx, seen: Principal, needs: Sequence[str], subject: UUID, owned: Sequence[UUID]) -> str:
    """Why the caller cannot access one object that the path names."""
    row = await tx.fetchrow(SQL.lies, owned, subject)
    if row is None:
        gone = await tx.fetchrow(SQL.removed, owned, subject)
        if gone is not None:
            return f"{subject} was deleted at {rfc3339(gone['at'])} ({gone['action']})."
        return f"Your organizations have nothing with the id {subject}."
    what = f"The {row['noun']} {subject}"
    if row["org_id"] != seen.org_id:
        names = {one["id"]: one["name"] for one in await tx.fetch(SQL.orgs_named_by_id, [row["org_id"]])}
        return f"{what} lies in your organization “{names[row['org_id']]}”, and the credential acts in another one."
    if row["owned"] and row["owner_id"] != seen.user_id:
        whose = await tx.fetchval(SQL.email_of, row["owner_id"]) if row["owner_id"] is not None else None
        return f"{what} belongs to {whose or 'the access keys of its project'}, and is shown to nobody else."
    if row["project_id"] is not None and (hidden := await _hidden(tx, seen, needs, row)) is not None:
        return f"{what} {hidden}"
    return f"{what} is the caller's to see; the message above names another reason."


async def _hidden(tx: Tx, seen: Principal, needs: Sequence[str], row: Row) -> str | None:
    """Why the caller does not see the object's project on this route; None if they do."""
    projects: Mapping[UUID, Row] = {one["id"]: one for one in await tx.fetch(SQL.projects_named, [seen.org_id])}
    found, project_id = projects.get(row["project_id"]), row["project_id"]
    name = found["name"] if found is not None else project_id
    if seen.project_id is not None:
        own = projects.get(seen.project_id)
        if seen.project_id == project_id:
            return None
        return f"lies in the project “{name}”; the key is limited to “{own['name'] if own else seen.project_id}”."
    if seen.projects is None or project_id in seen.projects:
        return None
    granted = seen.grants.projects.get(project_id) if seen.grants is not None else None
    if granted is None:
        return f"lies in the private project “{name}”, whose members the user is not among."
    return f"lies in the project “{name}”, where the user's role does not give {' or '.join(needs)}."
