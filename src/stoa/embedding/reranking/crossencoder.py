"""A cross-encoder of any BERT-like kind, exported to ONNX as Hugging Face's repositories have it, on onnxruntime.
Synchronous.

This module imports NumPy, onnxruntime and tokenizers; `local` imports it at the first use, not when the server starts.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from tokenizers import Encoding

from stoa.embedding.onnx_directory import ModelDirectoryError, OnnxModel, batches
from stoa.embedding.reranking.types import RerankerError

CHARACTERS_MAX: Final = 8_000


class CrossEncoder:
    """The loaded model. `scores` may be called from several threads."""

    def __init__(self, directory: Path, *, threads: int) -> None:
        """Raises RerankerError(reranker_unusable) naming what is missing or does not fit."""
        try:
            self._model = OnnxModel(directory, kind="a cross-encoder", threads=threads)
        except ModelDirectoryError as error:
            raise _unusable(str(error)) from error
        self._model.tokenizer.enable_truncation(self._model.tokens_max, strategy="longest_first")
        self._output = "logits" if "logits" in self._model.outputs else self._model.outputs[0]
        self.scores(
            "Is this model fit?", ["A pair is judged once, so that what does not fit is known at the start.", ""]
        )

    def scores(self, query: str, texts: Sequence[str], stopped: Callable[[], bool] = lambda: False) -> list[float]:
        """One score in 0..1 per text; equal texts are judged once. Stops between batches once `stop` is set. Raises
        RerankerError."""
        query, different = _clean(query), list(dict.fromkeys(map(_clean, texts)))
        pairs = self._model.tokenizer.encode_batch([(query, text) for text in different])
        found: dict[str, float] = {}
        for batch in batches(pairs):
            if stopped():
                raise RerankerError("reranker_timeout", "Nobody waits for this any more.")
            for index, score in zip(batch, self._judged([pairs[index] for index in batch]), strict=True):
                found[different[index]] = score
        return [found[_clean(text)] for text in texts]

    def _judged(self, pairs: Sequence[Encoding]) -> list[float]:
        try:
            logits = self._model.run(pairs, self._output)[0].astype(np.float64)
        except ModelDirectoryError as error:
            raise _unusable(str(error)) from error
        if logits.size == len(pairs):
            scores = 1 / (1 + np.exp(-np.clip(logits.reshape(-1), -60, 60)))
        elif logits.shape == (
            len(pairs),
            2,
        ):  # Not relevant, relevant: what softmax makes of two is a sigmoid of their distance.
            scores = 1 / (1 + np.exp(-np.clip(logits[:, 1] - logits[:, 0], -60, 60)))
        else:
            raise _unusable(
                f"its output {self._output} has the shape {list(logits.shape)} for {len(pairs)} pairs; "
                "one or two numbers for each are expected"
            )
        if not np.isfinite(scores).all():
            raise _unusable("its output holds numbers that are none")
        return [float(score) for score in scores]


def _clean(text: str) -> str:
    """Half of a surrogate pair is a legal str and illegal Unicode."""
    return text[:CHARACTERS_MAX].encode("utf-8", "replace").decode()


def _unusable(reason: str) -> RerankerError:
    return RerankerError("reranker_unusable", f"The local reranker cannot be used: {reason}.")
