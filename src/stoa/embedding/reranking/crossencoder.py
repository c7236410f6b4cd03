"""A cross-encoder of any BERT-like kind, exported to ONNX as Hugging Face's repositories have it, on onnxruntime.
Synchronous.

This module imports NumPy, onnxruntime and tokenizers; `local` imports it at the first use, not when the server starts.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from stoa.embedding.reranking.types import RerankerError

MODELS: Final = ("model.onnx", "onnx/model.onnx")
TOKENIZER: Final = "tokenizer.json"
TOKENS_MAX: Final = 512
"""Of a query and a text together. Some models read more; a chunk does not need it, and the time grows faster than the
length."""
BATCH_TOKENS_MAX: Final = 4096
"""Padding included."""
CHARACTERS_MAX: Final = 8_000
_TYPES: Final = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_POSITIONS_KEPT: Final = frozenset({"camembert", "mpnet", "roberta", "xlm-roberta"})
"""Kinds whose first positions are for padding: of 514, 512 can be used."""


class CrossEncoder:
    """The loaded model. `scores` may be called from several threads."""

    def __init__(self, directory: Path, *, threads: int) -> None:
        """Raises RerankerError(reranker_unusable) naming what is missing or does not fit."""
        model, tokenizer = files(directory)
        configuration, words = _json(directory / "config.json"), _json(directory / "tokenizer_config.json")
        self._tokenizer = _tokenizer(tokenizer, configuration, words)
        self._padding = int(configuration.get("pad_token_id") or 0)
        self._session = _session(model, threads)
        self._inputs = _inputs(self._session, model)
        outputs = [output.name for output in self._session.get_outputs()]
        self._output = "logits" if "logits" in outputs else outputs[0]
        self.scores(
            "Is this model fit?", ["A pair is judged once, so that what does not fit is known at the start.", ""]
        )

    def scores(self, query: str, texts: Sequence[str], stopped: Callable[[], bool] = lambda: False) -> list[float]:
        """One score in 0..1 per text; equal texts are judged once. Stops between batches once `stop` is set. Raises
        RerankerError."""
        query, different = _clean(query), list(dict.fromkeys(map(_clean, texts)))
        pairs = self._tokenizer.encode_batch([(query, text) for text in different])
        found: dict[str, float] = {}
        for batch in _batches(pairs):
            if stopped():
                raise RerankerError("reranker_timeout", "Nobody waits for this any more.")
            for index, score in zip(batch, self._judged([pairs[index] for index in batch]), strict=True):
                found[different[index]] = score
        return [found[_clean(text)] for text in texts]

    def _judged(self, pairs: Sequence[Encoding]) -> list[float]:
        width = max(len(pair.ids) for pair in pairs)
        values: dict[str, NDArray[Any]] = {}
        for name, kind in self._inputs.items():
            rows = np.full((len(pairs), width), self._padding if name == "input_ids" else 0, kind)
            for row, pair in enumerate(pairs):
                rows[row, : len(pair.ids)] = {
                    "input_ids": pair.ids,
                    "attention_mask": pair.attention_mask,
                    "token_type_ids": pair.type_ids,
                }[name]
            values[name] = rows
        try:
            logits = np.asarray(self._session.run([self._output], values)[0], np.float64)
        except Exception as error:  # onnxruntime's errors have no common class of their own
            raise _unusable(f"the model fails: {str(error).splitlines()[0][:300]}") from error
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


def files(directory: Path) -> tuple[Path, Path]:
    """The model and the tokenizer. Raises RerankerError(reranker_unusable)."""
    if not directory.is_dir():
        raise _unusable(f"{directory} is no directory of this machine")
    model = next((directory / name for name in MODELS if (directory / name).is_file()), None)
    if model is None:
        raise _unusable(
            f"{directory} holds neither {' nor '.join(MODELS)}: export the model to ONNX, "
            "or take the onnx folder of its repository along"
        )
    if not (directory / TOKENIZER).is_file():
        raise _unusable(f"{directory} holds no {TOKENIZER}")
    return model, directory / TOKENIZER


def _tokenizer(path: Path, configuration: Mapping[str, Any], words: Mapping[str, Any]) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises Exception itself
        raise _unusable(f"{path} cannot be read: {error}") from error
    positions = configuration.get("max_position_embeddings")
    if isinstance(positions, int) and configuration.get("model_type") in _POSITIONS_KEPT:
        positions -= 2
    known = [one for one in (positions, words.get("model_max_length")) if isinstance(one, int | float) and one > 0]
    tokenizer.no_padding()
    tokenizer.enable_truncation(int(min(TOKENS_MAX, *known) if known else TOKENS_MAX), strategy="longest_first")
    return tokenizer


def _session(model: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that wait must not burn the cores that the server's other work needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common class of their own
        raise _unusable(f"{model} cannot be loaded: {str(error).splitlines()[0][:300]}") from error


def _inputs(session: onnxruntime.InferenceSession, model: Path) -> Mapping[str, type[np.integer[Any]]]:
    asked = {one.name: one.type for one in session.get_inputs()}
    known = {"input_ids", "attention_mask", "token_type_ids"}
    if "input_ids" not in asked or not set(asked) <= known or not set(asked.values()) <= set(_TYPES):
        listed = ", ".join(f"{name} {kind}" for name, kind in asked.items())
        raise _unusable(
            f"{model} takes {listed}; a cross-encoder takes {', '.join(sorted(known))} "
            "(the last may be missing), whole numbers"
        )
    return {name: _TYPES[kind] for name, kind in asked.items()}


def _batches(pairs: Sequence[Encoding]) -> Iterator[list[int]]:
    """Neighbours in length, so that little is padding."""
    batch: list[int] = []
    for index in sorted(range(len(pairs)), key=lambda index: -len(pairs[index].ids)):
        if batch and (len(batch) + 1) * len(pairs[batch[0]].ids) > BATCH_TOKENS_MAX:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _json(path: Path) -> Mapping[str, Any]:
    """What a repository says beside its model; nothing where it does not."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _unusable(f"{path} cannot be read: {error}") from error
    return found if isinstance(found, dict) else {}


def _clean(text: str) -> str:
    """Half of a surrogate pair is a legal str and illegal Unicode."""
    return text[:CHARACTERS_MAX].encode("utf-8", "replace").decode()


def _unusable(reason: str) -> RerankerError:
    return RerankerError("reranker_unusable", f"The local reranker cannot be used: {reason}.")
