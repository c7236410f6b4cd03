"""A directory with a model exported to ONNX, as repositories of Hugging Face hold it: `model.onnx` or `onnx/model.onnx`
with `tokenizer.json`, and what else the repository says of the model. Nothing is fetched. Synchronous."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

MODELS: Final = ("model.onnx", "onnx/model.onnx")
TOKENIZER: Final = "tokenizer.json"
TOKENS_MAX: Final = 512
"""Some models read more; a chunk does not need it, and the time grows faster than the length."""
BATCH_TOKENS_MAX: Final = 4096
"""Padding included."""
_INPUTS: Final = ("attention_mask", "input_ids", "token_type_ids")
_TYPES: Final = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_POSITIONS_KEPT: Final = frozenset({"camembert", "mpnet", "roberta", "xlm-roberta"})
"""Kinds whose first positions are for padding: of 514, 512 can be used."""


class ModelDirectoryError(Exception):
    """The directory cannot be used; the message says what is missing or does not fit."""


class OnnxModel:
    """The loaded model. Raises ModelDirectoryError. Its methods may be called from several threads."""

    def __init__(self, directory: Path, *, kind: str, threads: int) -> None:
        """`kind` is what the model is called in sentences: a cross-encoder, an embedder."""
        self.path, tokenizer = _files(directory)
        self.configuration = read_json(directory / "config.json")
        self.tokens_max = _tokens_max(self.configuration, read_json(directory / "tokenizer_config.json"))
        self.tokenizer = _tokenizer(tokenizer)
        self._padding = int(self.configuration.get("pad_token_id") or 0)
        self._session = _session(self.path, threads)
        self._inputs = _inputs(self._session, self.path, kind)
        self.outputs = [output.name for output in self._session.get_outputs()]

    def run(self, encodings: Sequence[Encoding], output: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """An output for texts that run together, and the mask of their tokens."""
        width = max(1, *(len(one.ids) for one in encodings))
        mask = np.zeros((len(encodings), width), np.float32)
        values: dict[str, NDArray[Any]] = {}
        for name, kind in self._inputs.items():
            values[name] = np.full((len(encodings), width), self._padding if name == "input_ids" else 0, kind)
        for row, one in enumerate(encodings):
            mask[row, : len(one.ids)] = one.attention_mask
            given = {"input_ids": one.ids, "attention_mask": one.attention_mask, "token_type_ids": one.type_ids}
            for name, rows in values.items():
                rows[row, : len(one.ids)] = given[name]
        try:
            found = self._session.run([output], values)[0]
        except Exception as error:  # onnxruntime's errors have no common class of their own
            raise ModelDirectoryError(f"the model fails: {str(error).splitlines()[0][:300]}") from error
        return np.asarray(found, np.float32), mask


def batches(encodings: Sequence[Encoding]) -> Iterator[list[int]]:
    """Neighbours in length, so that little is padding."""
    batch: list[int] = []
    for index in sorted(range(len(encodings)), key=lambda index: -len(encodings[index].ids)):
        if batch and (len(batch) + 1) * len(encodings[batch[0]].ids) > BATCH_TOKENS_MAX:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def read_json(path: Path) -> Mapping[str, Any]:
    """What a repository says beside its model; nothing where it does not. Raises ModelDirectoryError."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelDirectoryError(f"{path} cannot be read: {error}") from error
    return found if isinstance(found, dict) else {}


def _files(directory: Path) -> tuple[Path, Path]:
    if not directory.is_dir():
        raise ModelDirectoryError(f"{directory} is no directory of this machine")
    model = next((directory / name for name in MODELS if (directory / name).is_file()), None)
    if model is None:
        raise ModelDirectoryError(
            f"{directory} holds neither {' nor '.join(MODELS)}: export the model to ONNX, "
            "or take the onnx folder of its repository along"
        )
    if not (directory / TOKENIZER).is_file():
        raise ModelDirectoryError(f"{directory} holds no {TOKENIZER}")
    return model, directory / TOKENIZER


def _tokenizer(path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises Exception itself
        raise ModelDirectoryError(f"{path} cannot be read: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _tokens_max(configuration: Mapping[str, Any], words: Mapping[str, Any]) -> int:
    positions = configuration.get("max_position_embeddings")
    if isinstance(positions, int) and configuration.get("model_type") in _POSITIONS_KEPT:
        positions -= 2
    known = [one for one in (positions, words.get("model_max_length")) if isinstance(one, int | float) and one > 0]
    return int(min(TOKENS_MAX, *known) if known else TOKENS_MAX)


def _session(model: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Idle threads must not spin on cores that the server needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common class of their own
        raise ModelDirectoryError(f"{model} cannot be loaded: {str(error).splitlines()[0][:300]}") from error


def _inputs(session: onnxruntime.InferenceSession, model: Path, kind: str) -> Mapping[str, type[np.integer[Any]]]:
    asked = {one.name: one.type for one in session.get_inputs()}
    if "input_ids" not in asked or not set(asked) <= set(_INPUTS) or not set(asked.values()) <= set(_TYPES):
        listed = ", ".join(f"{name} {kind}" for name, kind in asked.items())
        raise ModelDirectoryError(
            f"{model} takes {listed}; {kind} takes {', '.join(_INPUTS)} (the last may be missing), whole numbers"
        )
    return {name: _TYPES[kind] for name, kind in asked.items()}
