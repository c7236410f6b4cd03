"""What is asked of a run's credential before its calls."""

import asyncio
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID, uuid4

from stoa.runs.revocation import Credential, Revocation
from stoa.runs.types import Run, RunStatus


def run_of(key_id: UUID) -> Run:
    fields = dict.fromkeys(Run.__dataclass_fields__)
    made = datetime(2026, 11, 30, tzinfo=UTC)
    fields |= {"org_id": uuid4(), "created_by": key_id, "options": {}, "status": RunStatus.STARTED, "created_at": made}
    return Run(**cast("Any", fields))


async def test_calls_of_one_reply_ask_once_and_go_on_in_their_order() -> None:
    asked = 0

    async def living(credentials: Collection[Credential]) -> Collection[Credential]:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return credentials

    admitted = Revocation(cast("Any", None), living, "finish_without_tools").admission(run_of(uuid4()))
    assert admitted is not None
    order: list[int] = []

    async def call(number: int) -> None:
        assert await admitted()
        order.append(number)

    await asyncio.gather(*(call(number) for number in range(8)))
    assert order == list(range(8))
    assert asked == 1
    await call(8)
    assert asked == 2, "a later call asks anew, however soon"


async def test_a_revoked_credential_is_checked_before_each_call() -> None:
    gone: list[bool] = []

    async def living(_: Collection[Credential]) -> Collection[Credential]:
        gone.append(True)
        return ()

    admitted = Revocation(cast("Any", None), living, "finish_without_tools").admission(run_of(uuid4()))
    assert admitted is not None
    assert [await admitted(), await admitted()] == [False, False]
    assert len(gone) == 2
