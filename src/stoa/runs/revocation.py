"""What happens to a run when the credential that started it is revoked or expires."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from uuid import UUID

import structlog

from stoa.db import Database
from stoa.db.internal import internal, internal_statement
from stoa.kernel.errors import Unavailable
from stoa.runs.store import SQL
from stoa.runs.types import SIGNED_IN, Run

Policy: TypeAlias = Literal["finish_without_tools", "cancel", "finish"]
"""`finish_without_tools`: no new tool call, the model answers with what it has. `cancel`: the run ends as canceled.
`finish`: nothing changes."""
CANCEL_REASON: Final = "key_revoked"
SWEEP_SECONDS: Final = 2.0
"""How often runs that no node executes are checked. An active run checks before each tool call."""
RETRY_SECONDS: Final = 0.25
_log = structlog.get_logger("stoa.runs")


@dataclass(frozen=True, slots=True)
class Credential:
    """The credential that a run depends on: a key, a token or a public app; for a run of a signed-in user, the user, so
    that signing out does not affect it."""

    org_id: UUID
    id: UUID


Living = Callable[[Collection[Credential]], Awaitable[Collection[Credential]]]
"""The credentials that are neither revoked nor expired; users if they are members of the organization."""


def credential_of(run: Run) -> Credential | None:
    """None: it was started without a credential."""
    credential = run.owner_id if run.options.get(SIGNED_IN) else run.created_by
    return Credential(run.org_id, credential) if credential is not None else None


class Revocation:
    """Carries out the operator's policy (STOA_RUNS_OF_REVOKED_KEYS) on this node."""

    def __init__(self, database: Database, living: Living, policy: Policy) -> None:
        self._database = database
        self._living = living
        self._policy: Policy = policy

    def admission(self, run: Run) -> Callable[[], Awaitable[bool]] | None:
        """The check before each tool call of the run; None if there is none."""
        credential = credential_of(run)
        if credential is None or self._policy == "finish":
            return None

        turns, answers = asyncio.Lock(), 0

        async def admitted() -> bool:
            """Repeated until the database answers: an outage ends no run and admits no call."""
            nonlocal answers
            before = answers
            async with turns:  # Concurrent calls of one reply share one query, and continue in order.
                while answers == before:
                    try:
                        if not await self._living([credential]):
                            return False
                        answers += 1
                    except Unavailable:
                        await asyncio.sleep(RETRY_SECONDS)
                return True

        return admitted

    async def sweep(self) -> None:
        """Resumes paused runs of a revoked credential, because no approved call would be made; with the policy
        `cancel`, requests the cancel of all its runs. Idempotent."""
        if self._policy == "finish":
            return
        cancel = self._policy == "cancel"
        async with internal_statement(self._database) as tx:
            rows = await tx.fetch(SQL.active_credentials if cancel else SQL.paused_credentials)
        found = {Credential(row["org_id"], row["credential_id"]) for row in rows}
        gone = list(found - set(await self._living(found))) if found else []
        if not gone:
            return
        columns = [one.org_id for one in gone], [one.id for one in gone]
        async with internal(self._database) as tx:
            if cancel:
                runs = await tx.fetch(SQL.cancel_of_credentials, *columns, CANCEL_REASON)
            else:
                runs = await tx.fetch(SQL.resume_of_credentials, *columns)
                await tx.execute("SELECT pg_notify('stoa_runs', 'claim')")
        if runs:
            _log.info("runs of revoked keys", runs=len(runs), policy=self._policy)
