"""An embedder that the operator has put on this machine: a directory with a model exported to ONNX."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stoa.embedding.threaded import Load, Loaded, ThreadedEmbedder
from stoa.embedding.types import EmbedderError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stoa.embedding.onnx_embedder import OnnxEmbedder


class DirectoryEmbedder(ThreadedEmbedder):
    """`directory` holds what a repository of sentence-transformers holds. It is known by the directory's name; its
    identity changes with its contents."""

    def __init__(self, directory: Path, *, threads: int = 2) -> None:
        super().__init__()
        self._path = directory
        self._threads = threads
        self._opened: OnnxEmbedder | None = None

    @property
    def model(self) -> str:
        return self._path.resolve().name

    @property
    def identity(self) -> str:
        return self._ready.identity

    @property
    def dimensions(self) -> int:
        return self._ready.dimensions

    @property
    def tokens_max(self) -> int:
        return self._ready.tokens_max

    @property
    def passage_prefix(self) -> str:
        return self._ready.passage_prefix

    @property
    def query_prefix(self) -> str:
        return self._ready.query_prefix

    async def _run(self, texts: Sequence[str], *, is_query: bool) -> "NDArray[np.float32]":
        from stoa.embedding.onnx_directory import ModelDirectoryError  # noqa: PLC0415 — onnxruntime

        try:
            return await super()._run(texts, is_query=is_query)
        except ModelDirectoryError as error:
            raise _unusable(error) from error

    async def _find(self) -> Load:
        def load() -> Loaded:
            from stoa.embedding.onnx_directory import ModelDirectoryError  # noqa: PLC0415 — onnxruntime
            from stoa.embedding.onnx_embedder import OnnxEmbedder  # noqa: PLC0415 — the same

            try:
                self._opened = OnnxEmbedder(self._path, threads=self._threads)
            except ModelDirectoryError as error:
                raise _unusable(error) from error
            return self._opened

        return load

    @property
    def _ready(self) -> "OnnxEmbedder":
        if self._opened is None:
            raise EmbedderError("embedder_not_ready", f"The embedder {self._path} is not loaded yet.", retryable=True)
        return self._opened


def _unusable(error: Exception) -> EmbedderError:
    return EmbedderError("embedder_unusable", f"The local embedder cannot be used: {error}.", retryable=False)
