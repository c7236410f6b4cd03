"""The common code of the local embedders: loaded at the first use, run in their own threads, never on the event
loop."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from stoa.embedding.types import EmbedderError, Tokens

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FAST_LANE_TEXTS_MAX: Final = 1
"""A query is one text and has its own thread; small files do not use it, because two threads are no faster than one."""


class Loaded(Protocol):
    """A model that is loaded. Both may be called from several threads."""

    def embed(self, texts: Sequence[str], prefix: str = "") -> "NDArray[np.float32]": ...

    def whole(self, texts: Sequence[str]) -> list[Tokens]: ...


Load: TypeAlias = Callable[[], Loaded]
"""Loads a model; called on the model's own thread."""


class ThreadedEmbedder(ABC):
    def __init__(self) -> None:
        self._model: Loaded | None = None
        self._preparing = asyncio.Lock()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="stoa-embedder")
        # A query is interactive: it does not queue behind the batches of an upload.
        self._fast_lane = ThreadPoolExecutor(1, thread_name_prefix="stoa-embedder-query")
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
        lane = self._fast_lane if len(texts) <= FAST_LANE_TEXTS_MAX else self._worker
        prefix = self.query_prefix if is_query else self.passage_prefix
        return await asyncio.get_running_loop().run_in_executor(lane, model.embed, list(texts), prefix)

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
