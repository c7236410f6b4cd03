"""The local embedder: loads the model at its first use, and runs it on threads of its own, never on the event loop."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

from stoa.embedding import weights
from stoa.embedding.progress import bar_on_stderr
from stoa.embedding.types import EmbedderError, Tokens

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stoa.embedding.minilm import MiniLM
    from stoa.embedding.quantizing import Precision


FAST_LANE_TEXTS_MAX: Final = 1
"""A query is one text. Small files do not take its lane: two lanes at once are no faster than one."""


class LocalEmbedder:
    """all-MiniLM-L6-v2. Files come from the installed package, else from `cache`, else from the hub into `cache`."""

    dimensions = 384
    tokens_max = 256

    def __init__(
        self,
        cache: Path,
        *,
        precision: "Precision" = "int8",
        threads: int = 2,
        hub: str = weights.HUB,
        look_installed: bool = True,
    ) -> None:
        self._cache = cache
        self._precision: Precision = precision
        self._threads = threads
        self._hub = hub
        self._look_installed = look_installed
        self._model: MiniLM | None = None
        self._preparing = asyncio.Lock()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="stoa-embedder")
        # Somebody waits for the vector of a query: it does not queue behind the batches of an upload.
        self._fast_lane = ThreadPoolExecutor(1, thread_name_prefix="stoa-embedder-query")
        self._closed = False

    @property
    def identity(self) -> str:
        return f"all-MiniLM-L6-v2/{self._precision}"

    async def prepare(self) -> None:
        await self._loaded()

    async def embed(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        model = await self._loaded()
        lane = self._fast_lane if len(texts) <= FAST_LANE_TEXTS_MAX else self._worker
        return await asyncio.get_running_loop().run_in_executor(lane, _embed, model, list(texts))

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

    async def _loaded(self) -> "MiniLM":
        async with self._preparing:
            if self._closed:
                raise EmbedderError("embedder_closed", "This server is stopping.", retryable=False)
            model = self._model
            if model is None:
                directory = await self._directory()
                model = await asyncio.get_running_loop().run_in_executor(
                    self._worker, _load, directory, self._precision, self._threads
                )
                self._model = model
            return model

    async def _directory(self) -> Path:
        found = weights.installed() if self._look_installed else None
        if found is None and not weights.complete(self._cache):
            with bar_on_stderr() as report:
                await weights.fetch(self._cache, report, self._hub)
        return found or self._cache


def _load(directory: Path, precision: "Precision", threads: int) -> "MiniLM":
    from stoa.embedding.minilm import MiniLM  # noqa: PLC0415 — onnxruntime and tokenizers load when they are first needed

    return MiniLM(directory, precision=precision, threads=threads)


def _embed(model: "MiniLM", texts: Sequence[str]) -> "NDArray[np.float32]":
    import numpy as np  # noqa: PLC0415

    from stoa.embedding.minilm import batches  # noqa: PLC0415

    tokens = model.tokens(texts)
    out = np.empty((len(texts), LocalEmbedder.dimensions), np.float32)
    for batch in batches(tokens):
        out[batch] = model.vectors([tokens[index] for index in batch])
    return out
