"""Exact caching of answers that are not streamed, if a request (`Stoa-Cache`) or its key asks for it.

A cached answer belongs to a project. The look-up uses the whole request and the models that can answer it, so a caller
who may not call a model, or whose request differs in one word, finds nothing. The answer is deleted with the key that
made the call.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

import orjson

from stoa.db import Database, load
from stoa.db.internal import internal_statement
from stoa.db.receipts import SWEEP_SECONDS as RECEIPTS_SECONDS
from stoa.db.receipts import Receipts, Removed
from stoa.gateway.providers.fields import list_of, object_of
from stoa.gateway.providers.openai_reading import usage_of
from stoa.gateway.router.calls import Calls
from stoa.gateway.router.chat import DIGITS, CompleteAnswer
from stoa.gateway.types import Usage
from stoa.kernel.errors import BadRequest, NotFound
from stoa.kernel.principal import Principal
from stoa.kernel.supervise import Supervisor

SQL: Final = load("stoa.gateway", "caching.sql")
HEADER: Final = "Stoa-Cache"
KIND: Final = "cached_answers"
"""The `kind` of receipts."""
AGE_SECONDS: Final = 3_600
"""The oldest answer that is returned if the caller does not say."""
AGE_SECONDS_MAX: Final = 86_400
"""An older answer is deleted."""
ENTRY_BYTES_MAX: Final = 256 * 1024
ENTRIES_MAX: Final = 2_000
"""Answers per project; the oldest are deleted first. With ENTRY_BYTES_MAX that is half a gigabyte at most."""
SWEEP_SECONDS: Final = 300.0
_ORDER: Final = re.compile(r"(true|max-age=([0-9]{1,6}))(?:\s*,\s*(tools))?", re.IGNORECASE)
_NONE: Final = "false"


@dataclass(frozen=True, slots=True)
class CacheOrder:
    """What a request asks of the cache: the maximum age of an answer, and whether requests with tools may use the
    cache."""

    age_seconds: int = AGE_SECONDS
    tools: bool = False


def order_of(header: str | None, principal: Principal) -> CacheOrder | None:
    """What the request says, else what its key says; None if neither asks for caching. Raises BadRequest."""
    if header is None:
        return CacheOrder(principal.cache_seconds) if principal.cache_seconds is not None else None
    if header.strip().lower() == _NONE:
        return None
    found = _ORDER.fullmatch(header.strip())
    if found is None:
        raise BadRequest.field(HEADER, "must be true, false or max-age=SECONDS; the last may end in: , tools")
    age = int(found[2]) if found[2] else AGE_SECONDS
    if not 1 <= age <= AGE_SECONDS_MAX:
        raise BadRequest.field(HEADER, f"can ask for an age of 1 to {AGE_SECONDS_MAX} seconds")
    return CacheOrder(age, tools=found[3] is not None)


class Cache:
    """Long-lived: call `start` before use."""

    def __init__(self, database: Database, calls: Calls, receipts: Receipts) -> None:
        self._receipts = receipts
        self._database = database
        self._calls = calls
        self._supervisor = Supervisor()

    async def start(self) -> None:
        self._supervisor.keep_every(SWEEP_SECONDS, self.sweep, "gateway.cache")
        self._supervisor.keep_every(RECEIPTS_SECONDS, self._receipts.finish_pending, "gateway.deletions")

    async def stop(self) -> None:
        await self._supervisor.stop()

    async def sweep(self) -> None:
        async with internal_statement(self._database) as tx:
            await tx.execute(SQL.forget_old, AGE_SECONDS_MAX)

    async def clear(self, principal: Principal, project_id: UUID | None) -> UUID:
        """Deletes the cached answers of a project (None: the principal's project); returns the receipt's id. Raises
        NotFound."""
        project_id = project_id or await self._calls.home(principal)
        async with self._database.tenant(principal) as tx:
            if await tx.fetchval(SQL.project_of_caller, principal.org_id, project_id) is None:
                raise NotFound(f"There is no project {project_id}.")
            row = await tx.fetchrow(SQL.clear, principal.org_id, project_id)
            assert row is not None
            stores = {"cached_answers": (row["rows"], row["bytes"])}
            removed = Removed(KIND, project_id, project_id, stores, gone=False)
            receipt = await self._receipts.write(tx, principal, removed)
        await self._receipts.finish(principal.org_id, receipt)
        return receipt

    async def whole(
        self,
        principal: Principal,
        order: CacheOrder,
        fields: dict[str, Any],
        targets: Callable[[Principal, str], Awaitable[Sequence[str]]],
        answer: Callable[[], Awaitable[CompleteAnswer]],
    ) -> CompleteAnswer:
        """A cached answer, or the result of `answer`, which is then cached. `targets` returns the slugs that can
        answer, so that a model that the caller may not use is refused before the look-up. Raises AppError."""
        if not _cacheable(fields, order):
            return _marked(await answer(), "bypass")
        slug = fields.get("model")
        slugs = await targets(principal, slug) if isinstance(slug, str) else ()
        if not slugs:
            return await answer()  # `answer` refuses the request.
        project_id = await self._calls.home(principal)
        digest = sha256(orjson.dumps([sorted(slugs), fields], option=orjson.OPT_SORT_KEYS)).digest()
        async with self._database.tenant(principal) as tx:
            row = await tx.fetchrow(SQL.cached, principal.org_id, project_id, digest, float(order.age_seconds))
        if row is not None:
            found = CompleteAnswer(row["content"], row["content_type"], {"Age": str(int(row["age"]))})
            return await self._billed(principal, str(slug), fields, row["model"], found)
        whole = await answer()
        await self._keep(principal, project_id, digest, whole)
        return _marked(whole, "miss")

    async def _billed(
        self, principal: Principal, slug: str, fields: dict[str, Any], model: str, found: CompleteAnswer
    ) -> CompleteAnswer:
        """The bill line of a cache hit: it costs nothing, and its tokens are those that were not paid for."""
        call = await self._calls.new(principal, slug, fields)
        usage = usage_of(object_of(orjson.loads(found.content).get("usage"))) or Usage()
        await self._calls.accounts.committed(self._calls.accounts.enter(call, model, usage, 0.0, kind="cache"))
        told = {"X-Stoa-Model": model, "X-Stoa-Call-Id": str(call.id), "X-Stoa-Cost-Usd": f"{0:.{DIGITS}f}"}
        return _marked(replace(found, headers={**found.headers, **told}), "hit")

    async def _keep(self, principal: Principal, project_id: UUID, digest: bytes, whole: CompleteAnswer) -> None:
        if len(whole.content) > ENTRY_BYTES_MAX or not _complete(orjson.loads(whole.content)):
            return
        async with self._database.tenant(principal) as tx:
            await tx.execute(
                SQL.keep,
                principal.org_id,
                project_id,
                digest,
                principal.key_id,
                whole.headers["X-Stoa-Model"],
                whole.content_type,
                whole.content,
                ENTRIES_MAX,
            )


def _cacheable(fields: Mapping[str, Any], order: CacheOrder) -> bool:
    """A request with tools is not cached unless the caller says so: a cached answer does not run the tools again."""
    return order.tools or not (fields.get("tools") or fields.get("functions"))


def _complete(answer: Any) -> bool:
    """Whether an answer ended normally; embeddings always have."""
    held = object_of(answer)
    choices = [object_of(choice).get("finish_reason") for choice in list_of(held.get("choices"))]
    return bool(held.get("data")) or (bool(choices) and all(one not in (None, "content_filter") for one in choices))


def _marked(whole: CompleteAnswer, state: str) -> CompleteAnswer:
    return replace(whole, headers={**whole.headers, "X-Stoa-Cache": state})
