"""Group commit of runs' starts: concurrent starts share one statement and one commit.

Only plain messages start together: they need no look-ups, and their transactions have no further writes. If one is
refused, all are rolled back; then each starts in its own transaction and gets its own refusal.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias
from uuid import UUID

from stoa.db import FAILURES, Database, Raised, Tx, Unstorable
from stoa.journal import Batch
from stoa.kernel.errors import BadRequest
from stoa.kernel.joining import Joined
from stoa.kernel.principal import Principal
from stoa.runs import store
from stoa.runs.columns import joined_columns
from stoa.runs.ports import Models, Owner, Preparation
from stoa.runs.store import SQL
from stoa.runs.types import Run, SendMessage

_FIRST_EVENT: Final = 14
"""The place of the first argument of `begin_run` that is about its events."""
_JSON: Final = frozenset({6, 8, 9})
"""The arguments of `begin_run` that are JSON."""
STARTS_MAX: Final = 50
"""Starts in one statement."""
TRANSACTIONS_MAX: Final = 2
"""Concurrent transactions; while they are in progress, further starts are collected for the next one."""
LOCK_WAIT: Final = "100ms"
"""The lock timeout of a shared statement, for a locked conversation; then each run starts in its own transaction."""

SECONDS_MAX: Final = 0.1
"""A transaction that takes longer no longer counts as in progress."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A plain message. `context` is the context of its request, for tasks that are created for it."""

    principal: Principal
    conversation_id: UUID
    send: SendMessage
    owner: Owner | None
    context: Context = field(default_factory=copy_context)


@dataclass(frozen=True, slots=True)
class Begun:
    """A run whose start is written and not yet committed; `prepared` if this node will execute it."""

    run: Run
    batch: Batch
    prepared: Preparation | None
    interrupts: UUID | None = None
    late: bool = False
    """This node executes it, and its context can be read once the start is committed."""


New: TypeAlias = tuple[tuple[object, ...], Batch]
"""The arguments of `begin_run`, and the first events."""
StartAlone: TypeAlias = Callable[[Asked], Coroutine[Any, Any, Run]]


class StartBatcher:
    """`prepare` builds the arguments of a start, and registers its undo; `alone` starts one run in its own transaction;
    `commence` is called after the commit."""

    def __init__(
        self,
        database: Database,
        models: Models,
        prepare: Callable[[Asked, ExitStack], New],
        alone: StartAlone,
        commence: Callable[[Begun, Owner | None], None],
    ) -> None:
        self._database = database
        self._models = models
        self._prepare = prepare
        self._start_alone = alone
        self._commence = commence
        self._joined: Joined[Asked, Run | None] = Joined(
            "starts of runs",
            self._start,
            items_max=STARTS_MAX,
            at_once_max=TRANSACTIONS_MAX,
            seconds_max=SECONDS_MAX,
            alone=alone,
        )

    async def start(self, asked: Asked) -> Run:
        """Raises the same errors as a separate start."""
        return await self._joined.do(asked) or await self._start_alone(asked)

    async def _start(self, asked: Sequence[Asked]) -> Sequence[Run | None]:
        """The started runs. If one run of a tenant cannot start, None for all of that tenant, without a write: then
        each is started separately, so that none waits for another's lock or gets another's refusal."""
        if len(asked) == 1:
            return [await self._in_its_context(asked[0])]
        groups: dict[object, list[int]] = {}
        for place, one in enumerate(asked):
            groups.setdefault(_scope(one.principal), []).append(place)
        parts = [[asked[place] for place in places] for places in groups.values()]
        found = await asyncio.gather(*map(self._of_one_scope, parts))
        started: dict[int, Run | None] = {}
        for places, runs in zip(groups.values(), found, strict=True):
            started.update(zip(places, runs, strict=True))
        return [started[place] for place in range(len(asked))]

    async def _of_one_scope(self, asked: Sequence[Asked]) -> Sequence[Run | None]:
        if len(asked) > 1 and len({one.conversation_id for one in asked}) == len(asked):
            try:
                return await self._together(asked)
            except (_Refused, Raised, Unstorable, BadRequest, TypeError, *FAILURES):
                pass
        return [None] * len(asked)

    async def _in_its_context(self, asked: Asked) -> Run:
        return await asyncio.get_running_loop().create_task(
            self._start_alone(asked), context=asked.context, name="start of a run"
        )

    async def _together(self, asked: Sequence[Asked]) -> Sequence[Run]:
        # All conversations stay locked until the commit, so every node locks them in the same order.
        order = sorted(range(len(asked)), key=lambda place: str(asked[place].conversation_id))
        with ExitStack() as undo:
            news = [self._prepare(asked[place], undo) for place in order]
            async with self._database.tenant(asked[0].principal) as tx:
                columns = joined_columns([arguments for arguments, _ in news], _FIRST_EVENT, _JSON)
                rows = await tx.fetch(SQL.begin_runs, *columns, LOCK_WAIT)
                if any(row["id"] is None for row in rows):
                    raise _Refused
                runs = {row["id"]: store.from_row(row) for row in rows}
                begun: dict[int, Begun] = {}
                for place, (arguments, batch) in zip(order, news, strict=True):
                    begun[place] = await self._begun(tx, asked[place], runs[arguments[2]], batch, undo)
            undo.pop_all()
        for place, one in begun.items():
            asked[place].context.run(self._commence, one, asked[place].owner)
        return [begun[place].run for place in range(len(asked))]

    async def _begun(self, tx: Tx, asked: Asked, run: Run, batch: Batch, undo: ExitStack) -> Begun:
        if run.model_id is not None:
            await self._models.check(tx, run.model_id)
        prepared = None if asked.owner is None else asked.context.run(asked.owner.prepare, run)
        if prepared is not None:
            undo.callback(prepared.cancel)
        return Begun(run, batch, prepared)


class _Refused(Exception):
    """A conversation is busy, or does not exist."""


def _scope(principal: Principal) -> object:
    """The tenant scope of a principal's transaction."""
    projects = None if principal.projects is None else tuple(principal.projects)
    return principal.org_id, principal.project_id, projects, principal.user_id
