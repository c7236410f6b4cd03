"""`Idempotency-Key` on calls that are not streamed: a repeated request is billed once.

A call takes longer than a transaction may last. So the key is stored with a deadline for the call. A repetition before
the deadline is 409; one after it (the node died) takes the key over.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import UUID

from stoa.db import Database, idempotency
from stoa.db.idempotency import IdempotencyKey
from stoa.gateway.router.chat import CompleteAnswer
from stoa.gateway.router.errors import BeingAnswered
from stoa.kernel.clock import Clock
from stoa.kernel.ids import Ids
from stoa.kernel.principal import Principal

UNDER_WAY_SECONDS_MAX: Final = 1_800.0
ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024
"""A larger answer is not stored: a repetition calls the provider again."""


class IdempotentCalls:
    def __init__(self, database: Database, ids: Ids, clock: Clock) -> None:
        self._database = database
        self._ids = ids
        self._clock = clock

    async def once(
        self, principal: Principal, key: IdempotencyKey, answer: Callable[[], Awaitable[CompleteAnswer]]
    ) -> CompleteAnswer:
        """The first answer of this key. An error releases the key. Raises Conflict, BeingAnswered."""
        subject = self._ids.new()
        mark = {"under_way_until": self._clock.now().timestamp() + UNDER_WAY_SECONDS_MAX}
        first = await self._claimed(principal, key, mark, subject)
        if first is not None:
            return first
        kept: dict[str, Any] = {"under_way_until": 0}
        try:
            whole = await answer()
            if len(whole.content) <= ANSWER_BYTES_MAX:
                kept = {"type": whole.content_type, "headers": dict(whole.headers), "body": whole.content.decode()}
            return whole
        finally:
            async with self._database.tenant(principal) as tx:
                await idempotency.replace(tx, principal, key, mark, kept, subject)

    async def _claimed(
        self, principal: Principal, key: IdempotencyKey, mark: dict[str, Any], subject: UUID
    ) -> CompleteAnswer | None:
        """The stored answer; None if this request has claimed the key."""
        async with self._database.tenant(principal) as tx:
            first = await idempotency.claim(tx, principal, key)
            if first is None:
                await idempotency.record(tx, principal, key, mark, subject)
                return None
            if "body" in first:
                return CompleteAnswer(first["body"].encode(), first["type"], first["headers"])
            over = first["under_way_until"] < self._clock.now().timestamp()
            if over and await idempotency.replace(tx, principal, key, first, mark, subject):
                return None
        raise BeingAnswered("A request with this Idempotency-Key is being answered; try again in a moment.")
