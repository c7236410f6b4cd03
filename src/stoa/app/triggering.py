"""The port of triggers for runs, and the port of keys for triggers."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from stoa import access, conversations, runs, triggers
from stoa.db import Tx
from stoa.kernel.principal import Principal
from stoa.runs import CheckRequirements


class AppRunner:
    """Runs of apps, as triggers start them."""

    def __init__(self, held: runs.Runs, check_requirements: CheckRequirements) -> None:
        self._runs = held
        self._check_requirements = check_requirements

    async def start(
        self,
        principal: Principal,
        app_id: UUID,
        fields: Mapping[str, Any],
        metadata: Mapping[str, Any],
        settle: triggers.Settle,
        /,
    ) -> None:
        assert principal.project_id is not None, "a trigger runs in its project"
        await self._check_requirements(principal, app_id, None)  # A trigger acts for no end user.
        send = runs.app_message(conversations.Session(app_id, principal.project_id, None, None), fields, metadata)
        await self._runs.start(principal, None, send, None, settle)


class TriggersOfKeys:
    """The triggers that run as an access key."""

    async def of(self, tx: Tx, org_id: UUID, key_ids: Sequence[UUID], /) -> Sequence[access.Dependent]:
        found = await triggers.of_keys(tx, org_id, key_ids)
        return [access.Dependent(one.id, one.name, one.app_id) for one in found]

    async def hand_over(self, tx: Tx, org_id: UUID, key_id: UUID, successor_id: UUID, /) -> None:
        await triggers.hand_over(tx, org_id, key_id, successor_id)
