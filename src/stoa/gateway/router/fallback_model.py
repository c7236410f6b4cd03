"""The models behind one slug, presented as one model to a run.

As in a plain call, the first target that returns a delta answers. After its first delta no other target is called, so
two answers are never spliced (decision 131).
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from stoa.gateway.router import rules
from stoa.gateway.router.breaker import Breakers
from stoa.gateway.router.sampling import extra_of
from stoa.gateway.router.types import Target
from stoa.gateway.types import Answering, Capabilities, Delta, ModelError, ModelRequest, Pushes, TakeWords, Usage


@dataclass(frozen=True, slots=True)
class FallbackModel:
    """A Model. `extra` of a request holds OpenAI's sampling fields; they are translated for each target."""

    targets: Sequence[Target]
    """In the order in which they are tried; at least one."""
    breakers: Breakers

    @property
    def abilities(self) -> Capabilities:
        """What all targets can do, because the request is built before it is known which one answers."""
        held = [target.model.abilities for target in self.targets]
        limits = [one.output_tokens_max for one in held if one.output_tokens_max is not None]
        return Capabilities(
            images=all(one.images for one in held),
            tools=all(one.tools for one in held),
            documents=all(one.documents for one in held),
            context_tokens=min(one.context_tokens for one in held),
            output_tokens_max=min(limits, default=None),
        )

    def price(self, usage: Usage) -> float | None:
        """The highest price of the targets; None if one is not known."""
        costs = [target.price(usage) for target in self.targets]
        return max((cost for cost in costs if cost is not None), default=None) if None not in costs else None

    def stream(self, request: ModelRequest) -> AbstractAsyncContextManager[AsyncIterator[Sequence[Delta]]]:
        return self._stream(request)

    @asynccontextmanager
    async def _stream(self, request: ModelRequest) -> AsyncGenerator[AsyncIterator[Sequence[Delta]]]:
        async with AsyncExitStack() as stack:
            target, deltas = await self._begun(stack, request)
            try:
                yield _Answered(Answering(target.slug, target.price), deltas)
            except ModelError as error:
                self.breakers.failed(target.circuit, error)
                raise

    async def _begun(
        self, stack: AsyncExitStack, request: ModelRequest
    ) -> tuple[Target, AsyncIterator[Sequence[Delta]]]:
        """The first target that begins to answer. Raises the failure of the last one that was called."""
        failure: ModelError | None = None
        for index, target in enumerate(self.targets):
            if not self.breakers.admit(target.circuit):
                continue
            another = index < len(self.targets) - 1
            asked = replace(request, extra=extra_of(target.model, request.extra) if request.extra else {}, once=another)
            try:
                deltas = await stack.enter_async_context(target.model.stream(asked))
            except ModelError as error:
                self.breakers.failed(target.circuit, error)
                failure = error
                if not rules.falls_back(error):
                    break
            except BaseException:
                self.breakers.left(target.circuit)
                raise
            else:
                self.breakers.succeeded(target.circuit)
                return target, deltas
        raise failure or ModelError(
            "model_overloaded",
            "Every provider of this model has failed repeatedly and is left alone for a moment.",
            retryable=True,
        )


class _Answered:
    """The deltas of an answer, preceded by the model that gives it."""

    def __init__(self, answering: Answering, deltas: AsyncIterator[Sequence[Delta]]) -> None:
        self._answering: Answering | None = answering
        self._deltas = deltas

    def push_to(self, take: TakeWords) -> None:
        if isinstance(self._deltas, Pushes):
            self._deltas.push_to(take)

    def __aiter__(self) -> "_Answered":
        return self

    def __anext__(self) -> Awaitable[Sequence[Delta]]:
        if self._answering is not None:
            first, self._answering = self._answering, None
            return _ready([first])
        return self._deltas.__anext__()


async def _ready(batch: Sequence[Delta]) -> Sequence[Delta]:
    return batch
