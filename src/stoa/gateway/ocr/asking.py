"""Calls a model through the gateway, with its reservation, routing and bill, and returns the whole answer."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Protocol
from uuid import UUID

from stoa.gateway.ocr.types import Llm
from stoa.gateway.router.calls import Attempt, Calls
from stoa.gateway.router.routing import Routing
from stoa.gateway.router.sampling import extra_of
from stoa.gateway.router.types import Target
from stoa.gateway.types import Finish, ModelError, ModelRequest, Notice, TextDelta, Usage
from stoa.kernel.errors import BadRequest, NotFound
from stoa.kernel.principal import Principal

CHARACTERS_MAX: Final = 400_000
"""The limit of an answer."""


class ConnectionNames(Protocol):
    async def name_of(self, principal: Principal, connection_id: UUID) -> str:
        """Raises NotFound."""
        ...


@dataclass(frozen=True, slots=True)
class Answered:
    """`complete` is false if the model stopped at its token limit."""

    text: str
    complete: bool


class Asking:
    def __init__(self, calls: Calls, routing: Routing, connections: ConnectionNames) -> None:
        self._calls = calls
        self._routing = routing
        self._connections = connections

    async def targets(self, principal: Principal, llm: Llm, *, sees: bool) -> Sequence[Target]:
        """The models that can answer; `sees`: only those that accept pictures. Raises BadRequest naming the option."""
        for slug in await self._slugs(principal, llm):
            try:
                found = await self._routing.targets(principal, slug)
            except NotFound:
                continue
            if sees and not (found := [target for target in found if target.model.abilities.images]):
                raise BadRequest.field(llm.option, f"names {slug}, which does not see images")
            return found
        raise BadRequest.field(llm.option, f"names {llm.model[:200]!r}, which is no model; GET /v1/models lists them")

    async def _slugs(self, principal: Principal, llm: Llm) -> Sequence[str]:
        if llm.connection is None:
            return llm.slugs
        try:
            name = await self._connections.name_of(principal, llm.connection)
        except NotFound as error:
            raise BadRequest.field(f"{llm.option}.connection", "is no connection of yours") from error
        return [f"{name}/{llm.model}", *llm.slugs]

    async def ask(
        self, principal: Principal, llm: Llm, targets: Sequence[Target], request: ModelRequest, seconds_max: float
    ) -> Answered:
        """Raises AppError. Cancelling it closes the provider's connection, and the call is billed by estimate."""
        fields: dict[str, Any] = {"messages": [*map(_shape, request.messages)], "system": request.instructions}
        if (user := llm.settings.get("user")) is not None:
            fields["user"] = user
        call = await self._calls.new(principal, llm.model, fields)
        begun = await self._calls.begin(
            call,
            targets,
            partial(_asked, request, llm, seconds_max),
            completion_tokens=request.output_tokens_max,
        )
        bill = self._calls.settle(begun, "completed")
        await begun.stack.aclose()
        await self._calls.accounts.committed(bill.entered)
        return begun.opened


def _shape(message: Any) -> Mapping[str, Any]:
    """The messages in the form from which the prompt's tokens are estimated: its texts, and placeholders for its
    pictures."""
    return {"content": [getattr(part, "text", "data:") for part in message.parts]}


async def _asked(request: ModelRequest, llm: Llm, seconds_max: float, attempt: Attempt) -> Answered:
    settings = {name: value for name, value in llm.settings.items() if name != "user"}
    request = replace(request, extra=extra_of(attempt.target.model, settings), once=True)
    progress = attempt.progress
    pieces: list[str] = []
    complete = True

    def hear(delta: Any) -> None:
        nonlocal complete
        match delta:
            case TextDelta():
                pieces.append(delta.text)
                progress.characters += len(delta.text)
            case Usage():
                progress.report(delta)
            case Finish(reason="content_filter" | "refusal"):
                raise ModelError("content_filtered", "The model refused to read this document.", retryable=False)
            case Notice():  # A picture or the schema was left out, so the answer would be invented.
                raise ModelError("model_refused_request", delta.text, retryable=False)
            case Finish():
                complete = delta.reason != "length"
            case _:
                pass

    await _heard(request, seconds_max, attempt, hear)
    return Answered("".join(pieces), complete)


async def _heard(request: ModelRequest, seconds_max: float, attempt: Attempt, hear: Callable[[Any], None]) -> None:
    progress = attempt.progress
    try:
        async with asyncio.timeout(seconds_max):
            deltas = await attempt.stack.enter_async_context(attempt.target.model.stream(request))
            progress.began = True
            async for batch in deltas:
                for delta in batch:
                    hear(delta)
                progress.place.counted(progress.characters)
                if progress.characters > CHARACTERS_MAX:
                    raise ModelError("model_protocol_error", "The model's answer does not end.", retryable=False)
    except TimeoutError as error:
        message = f"The model did not answer within {seconds_max:g} seconds."
        raise ModelError("model_timeout", message, retryable=True) from error
