"""Chat completions: whole answers, and streams that end with their line of the bill."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

import orjson

from stoa.gateway.providers.fields import object_of
from stoa.gateway.providers.openai import OpenAIModel
from stoa.gateway.router import relaying, rules
from stoa.gateway.router.calls import Attempt, Begun, Bill, Calls
from stoa.gateway.router.chat_request import asked
from stoa.gateway.router.errors import refusal_of
from stoa.gateway.router.field_renames import with_field_renames
from stoa.gateway.router.routing import Routing
from stoa.gateway.router.translating import Translation, usage_object
from stoa.gateway.router.types import Call, Target
from stoa.gateway.types import ModelError
from stoa.kernel.errors import AppError, Unavailable
from stoa.kernel.principal import Principal

DIGITS: Final = 9
"""Decimal places of dollar amounts in headers."""
Write = Callable[[bytes], Awaitable[None] | None]


class Opened(Protocol):
    """A streamed answer that has begun."""

    trailer: bytes

    def pieces(self) -> AsyncIterator[bytes]: ...

    def count(self) -> None: ...


@dataclass(frozen=True, slots=True)
class CompleteAnswer:
    """An answer that is not streamed, as it is sent to the client."""

    content: bytes
    content_type: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Answer:
    """If `content` is None, `made` is the answer, without its usage."""

    content: bytes | None
    content_type: str
    made: dict[str, Any] | None = None
    notices: Sequence[str] = ()
    ignored: Sequence[str] = ()


class Chat:
    def __init__(self, calls: Calls, routing: Routing, render: Callable[[AppError], bytes]) -> None:
        """`render` returns the JSON of a refusal that is sent inside a stream."""
        self._calls = calls
        self._routing = routing
        self._render = render
        self.streams: set[ChatFrames] = set()
        """The open streams."""

    async def whole(self, principal: Principal, fields: dict[str, Any]) -> CompleteAnswer:
        """Raises AppError. Cancelling it closes the provider's connection, and the call is billed by estimate."""
        call, targets = await self._resolved(principal, fields)
        begun = await self._calls.begin(call, targets, partial(self._whole, call))
        bill = self._calls.settle(begun, "completed")
        await begun.stack.aclose()
        await self._calls.accounts.committed(bill.entered)
        answer = begun.opened
        content = answer.content
        if content is None:
            usage = rules.usage_of_call(call.prompt_characters, begun.progress)
            content = orjson.dumps({**(answer.made or {}), "usage": usage_object(usage)})
        return CompleteAnswer(content, answer.content_type, headers(begun, bill, answer.notices, answer.ignored))

    async def slugs(self, principal: Principal, slug: str) -> Sequence[str]:
        """The slugs of the models that can answer. Raises NotFound, Unavailable."""
        return [target.slug for target in await self._routing.targets(principal, slug)]

    async def streamed(self, principal: Principal, fields: dict[str, Any]) -> tuple["ChatFrames", Mapping[str, str]]:
        """A stream that has begun, and its response headers. Raises AppError."""
        call, targets = await self._resolved(principal, fields)
        notices: list[str] = []
        ignored: list[str] = []
        begun = await self._calls.begin(call, targets, partial(self._open, call, notices, ignored))
        return ChatFrames(self._calls, begun, self._render, self.streams), headers(begun, None, notices, ignored)

    async def _resolved(self, principal: Principal, fields: dict[str, Any]) -> tuple[Call, Sequence[Target]]:
        rules.check_chat(fields)
        slug = rules.slug_of(fields)
        targets = await self._routing.targets(principal, slug)
        return await self._calls.new(principal, slug, fields), targets

    # --- one target -------------------------------------------------------------------------------------------------
    async def _whole(self, call: Call, attempt: Attempt) -> _Answer:
        model, progress = attempt.target.model, attempt.progress
        if isinstance(model, OpenAIModel):

            async def read(body: bytes, _: bool) -> tuple[bytes, str]:
                return await relaying.read_whole(attempt.stack, model, model.path, body, progress)

            content, kind = await with_field_renames(model, call.fields, read, streamed=False)
            return _Answer(content, kind)
        told = asked(call.fields, model)
        translation = Translation(model, call.slug, progress, self._created(), None)
        await translation.open(attempt.stack, told.request)
        made = await translation.whole()
        return _Answer(None, "application/json", made, translation.notices, told.ignored)

    async def _open(self, call: Call, notices: list[str], ignored: list[str], attempt: Attempt) -> Opened:
        model, progress = attempt.target.model, attempt.progress
        if isinstance(model, OpenAIModel):
            return await _relayed(call, model, attempt)
        told = asked(call.fields, model)
        wanted = bool(object_of(call.fields.get("stream_options")).get("include_usage"))
        usage = (lambda: rules.usage_of_call(call.prompt_characters, progress)) if wanted else None
        translation = Translation(model, call.slug, progress, self._created(), usage)
        await translation.open(attempt.stack, told.request)
        notices[:], ignored[:] = translation.notices, told.ignored
        return translation

    def _created(self) -> int:
        return int(self._calls.clock.now().timestamp())

    # --- the end of this server -------------------------------------------------------------------------------------
    async def drain(self, seconds_max: float) -> None:
        """Refuses new calls, and waits for the running ones."""
        self._calls.draining = True
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds_max):
                await self._calls.idle.wait()

    async def hang_up(self) -> None:
        """Ends every stream with an error, so that no client takes its partial answer for a complete one."""
        for stream in list(self.streams):
            stream.hang_up()


async def _relayed(call: Call, model: OpenAIModel, attempt: Attempt) -> relaying.Relay:
    async def opened(body: bytes, ours: bool) -> relaying.Relay:
        relay = relaying.Relay(model, attempt.progress, strip=ours, answers=rules.answers(call.fields))
        await relay.open(attempt.stack, body)
        return relay

    return await with_field_renames(model, call.fields, opened, streamed=True)


def headers(begun: Begun[Any], bill: Bill | None, notices: Sequence[str], ignored: Sequence[str]) -> dict[str, str]:
    """The response headers: the model that answers and, if known, the answer's cost and what the key may spend."""
    told = {"X-Stoa-Model": begun.target.slug, "X-Stoa-Call-Id": str(begun.call.id)}
    remaining = begun.remaining_usd
    if bill is not None:
        remaining = bill.remaining_usd
        if bill.cost_usd is not None:
            told["X-Stoa-Cost-Usd"] = f"{bill.cost_usd:.{DIGITS}f}"
    if remaining is not None:
        told["X-Stoa-Budget-Remaining-Usd"] = f"{remaining:.{DIGITS}f}"
    if notices:
        told["X-Stoa-Notice"] = " ".join(notices)[:1_000]
    if ignored:
        told["X-Stoa-Ignored"] = ", ".join(ignored)[:1_000]
    return {
        name: value if value.isascii() and value.isprintable() else _in_a_head(value) for name, value in told.items()
    }


def _in_a_head(value: str) -> str:
    return value.encode("ascii", "replace").decode().replace("\n", " ")


class ChatFrames:
    """A stream of rendered chunks. `abandon` must be called at the end in every case."""

    def __init__(
        self, calls: Calls, begun: Begun[Opened], render: Callable[[AppError], bytes], open_: set["ChatFrames"]
    ) -> None:
        self._calls = calls
        self._begun = begun
        self._render = render
        self._pump: asyncio.Task[None] | None = None
        self._closed = self._hung_up = self._settled = False
        self._open = open_
        open_.add(self)

    async def deliver(self, write: Write) -> None:
        if self._closed:
            return
        self._pump = asyncio.create_task(self._send(write), name="gateway.stream")
        try:
            await asyncio.wait([self._pump])
        finally:
            self._pump.cancel()
        if not self._pump.cancelled():
            self._pump.result()

    def close(self) -> None:
        """Called when the client has disconnected: closes the provider's connection."""
        self._closed = True
        if self._pump is not None:
            self._pump.cancel()

    def hang_up(self) -> None:
        """Called when this server stops."""
        self._hung_up = True
        if self._pump is not None:
            self._pump.cancel()

    async def abandon(self) -> None:
        """Settles the call if `deliver` did not, because the client disconnected before the first byte."""
        self._open.discard(self)
        if not self._settled:
            self._settle("interrupted", None)
        await self._begun.stack.aclose()

    async def _send(self, write: Write) -> None:
        opened, failure = self._begun.opened, None
        try:
            async for piece in opened.pieces():
                await _written(write, piece)
        except ModelError as error:
            failure = error
        except asyncio.CancelledError:
            self._settle("interrupted", None)
            if not self._hung_up:
                raise
            refusal = Unavailable("This server is restarting; the answer is not complete.")
            await _written(write, self._event(refusal))
            return
        bill = self._settle("failed" if failure is not None else "completed", failure)
        await self._begun.stack.aclose()
        await self._calls.accounts.committed(bill.entered)
        await _written(write, opened.trailer if failure is None else self._event(refusal_of(failure)))

    def _settle(self, outcome: str, failure: ModelError | None) -> Bill:
        self._settled = True
        self._begun.opened.count()
        return self._calls.settle(self._begun, outcome, failure)

    def _event(self, error: AppError) -> bytes:
        return b"data: " + self._render(error) + b"\n\n"


async def _written(write: Write, data: bytes) -> None:
    if (waiting := write(data)) is not None:
        await waiting
