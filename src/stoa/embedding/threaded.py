"""What the local embedders have in common: loaded at the first use, run on threads of their own, never on the event
loop."""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from stoa.embedding.types import EmbedderError, Tokens

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FAST_LANE_TEXTS_MAX: Final = 1
"""A query is one text. Small files do not take its lane: two lanes at once are no faster than one."""

TOGETHER_TEXTS_MAX: Final = 64
"""Texts of several callers that are embedded in one call: small files would leave the model's batches half empty."""


class Loaded(Protocol):
    """A model that is loaded. Both may be called from several threads."""

    def embed(self, texts: Sequence[str], prefix: str = "") -> "NDArray[np.float32]": ...

    def whole(self, texts: Sequence[str]) -> list[Tokens]: ...


Load: TypeAlias = Callable[[], Loaded]
"""Loads a model; called on the model's own thread."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What one caller wants to have embedded."""

    texts: Sequence[str]
    vectors: "Future[NDArray[np.float32]]" = field(default_factory=Future)


class ThreadedEmbedder(ABC):
    def __init__(self) -> None:
        self._model: Loaded | None = None
        self._preparing = asyncio.Lock()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="stoa-embedder")
        # Somebody waits for the vector of a query: it does not queue behind the batches of an upload.
        self._fast_lane = ThreadPoolExecutor(1, thread_name_prefix="stoa-embedder-query")
        self._waiting: deque[_Wanted] = deque()
        self._closed = False

    @property
    @abstractmethod
    def identity(self) -> str: ...

    @property
    def passage_prefix(self) -> str:
        """What the model wants before a passage."""
        return ""

    @property
    def query_prefix(self) -> str:
        return ""

    @abstractmethod
    async def _find(self) -> Load:
        """Finds the model's files. Raises EmbedderError."""
        ...

    async def prepare(self) -> None:
        await self._loaded()

    async def embed(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        return await self._run(texts, is_query=False)

    async def embed_query(self, text: str) -> "NDArray[np.float32]":
        return (await self._run([text], is_query=True))[0]

    def tokenize(self, texts: Sequence[str]) -> Sequence[Tokens]:
        model = self._model
        if model is None:
            raise EmbedderError("embedder_not_ready", "The local embedder is not loaded yet.", retryable=True)
        return model.whole(texts)

    async def close(self) -> None:
        self._closed = True
        self._model = None
        await asyncio.to_thread(self._worker.shutdown)
        await asyncio.to_thread(self._fast_lane.shutdown)

    async def _run(self, texts: Sequence[str], *, is_query: bool) -> "NDArray[np.float32]":
        model = await self._loaded()
        prefix = self.query_prefix if is_query else self.passage_prefix
        if is_query or len(texts) <= FAST_LANE_TEXTS_MAX:
            return await asyncio.get_running_loop().run_in_executor(self._fast_lane, model.embed, list(texts), prefix)
        wanted = _Wanted(list(texts))
        self._waiting.append(wanted)
        # Each caller submits one such call. One that finds its texts taken by the call before it does nothing.
        self._worker.submit(self._embed_waiting, model, prefix)
        return await asyncio.wrap_future(wanted.vectors)

    def _embed_waiting(self, model: Loaded, prefix: str) -> None:
        """Embeds the texts of the first callers that wait, together. Runs on the worker's thread."""
        taken: list[_Wanted] = []
        size = 0
        with suppress(IndexError):  # Nobody waits any more.
            while not taken or size + len(self._waiting[0].texts) <= TOGETHER_TEXTS_MAX:
                wanted = self._waiting.popleft()
                if wanted.vectors.set_running_or_notify_cancel():
                    taken.append(wanted)
                    size += len(wanted.texts)
        if taken:
            self._settle(taken, model, prefix)

    def _settle(self, taken: Sequence[_Wanted], model: Loaded, prefix: str) -> None:
        """Gives each caller its rows. Where the call fails, each caller's texts are tried alone, so that nobody fails
        because of another one's text."""
        try:
            vectors = model.embed([text for wanted in taken for text in wanted.texts], prefix)
        except Exception as error:  # noqa: BLE001 - it is the caller's, as any future's is
            if len(taken) == 1:
                taken[0].vectors.set_exception(error)
                return
            for wanted in taken:
                self._settle([wanted], model, prefix)
            return
        start = 0
        for wanted in taken:
            wanted.vectors.set_result(vectors[start : start + len(wanted.texts)])
            start += len(wanted.texts)

    async def _loaded(self) -> Loaded:
        async with self._preparing:
            if self._closed:
                raise EmbedderError("embedder_closed", "This server is stopping.", retryable=False)
            model = self._model
            if model is None:
                load = await self._find()
                model = await asyncio.get_running_loop().run_in_executor(self._worker, load)
                self._model = model
            return model
