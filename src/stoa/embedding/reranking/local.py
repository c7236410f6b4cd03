"""A cross-encoder that the operator has put on this machine: loads it once, and runs it on a thread of its own, never
on the event loop."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from stoa.embedding.reranking.types import RerankerError

if TYPE_CHECKING:
    from stoa.embedding.reranking.crossencoder import CrossEncoder


class LocalReranker:
    """`directory` holds `model.onnx` or `onnx/model.onnx`, and `tokenizer.json`, as repositories of Hugging Face do.
    Nothing is fetched.

    One query is judged at a time, by `threads` threads; a search that is given up stops soon.
    """

    def __init__(self, directory: Path, *, threads: int = 2) -> None:
        self._directory = directory
        self._threads = threads
        self._model: CrossEncoder | None = None
        self._preparing = asyncio.Lock()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="stoa-reranker")
        self._closed = False

    @property
    def identity(self) -> str:
        return f"{self._directory.resolve().name}@local"

    async def prepare(self) -> None:
        """Loads it, so that what is wrong with it is known before a search needs it. Raises
        RerankerError(reranker_unusable)."""
        await self._loaded()

    async def rerank(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        self._refuse_when_closed()
        if not texts:
            return []
        model, given_up = await self._loaded(), Event()
        self._refuse_when_closed()
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._worker, model.scores, query, list(texts), given_up.is_set
            )
        finally:
            given_up.set()

    async def close(self) -> None:
        self._closed = True
        self._model = None
        await asyncio.to_thread(self._worker.shutdown)

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise RerankerError("reranker_closed", "This server is stopping.")

    async def _loaded(self) -> "CrossEncoder":
        async with self._preparing:
            self._refuse_when_closed()
            model = self._model
            if model is None:
                model = await asyncio.get_running_loop().run_in_executor(
                    self._worker, _load, self._directory, self._threads
                )
                self._model = model
            return model


def _load(directory: Path, threads: int) -> "CrossEncoder":
    from stoa.embedding.reranking.crossencoder import CrossEncoder  # noqa: PLC0415 — onnxruntime and tokenizers load when they are first needed

    return CrossEncoder(directory, threads=threads)
