"""An embedder exported to ONNX, as the repositories of sentence-transformers have it, on onnxruntime. Synchronous;
`directory` imports it when it is loaded.

`1_Pooling/config.json` says how a text's vector is made of its tokens' vectors, `config_sentence_transformers.json`
what stands before questions and passages (`prompts`), `sentence_bert_config.json` how much the model reads.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from stoa.embedding.encoding import clean
from stoa.embedding.onnx_directory import ModelDirectoryError, OnnxModel, batches, read_json
from stoa.embedding.types import Tokens

CHARACTERS_MAX: Final = 32_000
TOKENS_MIN: Final = 16
_OUTPUTS: Final = ("sentence_embedding", "last_hidden_state", "token_embeddings")
_PASSAGE: Final = ("passage", "document", "search_document")
_QUERY: Final = ("query", "search_query")
_POOLINGS: Final = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
_DENSE: Final = "Dense"


class OnnxEmbedder:
    """The loaded model. Raises ModelDirectoryError naming what is missing or does not fit."""

    def __init__(self, directory: Path, *, threads: int) -> None:
        self._model = OnnxModel(directory, kind="an embedder", threads=threads)
        self._output = next((name for name in _OUTPUTS if name in self._model.outputs), self._model.outputs[0])
        self._pooling = _pooling(directory)
        prompts = read_json(directory / "config_sentence_transformers.json").get("prompts")
        self.passage_prefix, self.query_prefix = _prompt(prompts, _PASSAGE), _prompt(prompts, _QUERY)
        limit = read_json(directory / "sentence_bert_config.json").get("max_seq_length")
        length = self._model.tokens_max
        length = min(length, limit) if isinstance(limit, int) and limit > 0 else length
        self._whole = Tokenizer.from_str(self._model.tokenizer.to_str())
        self._model.tokenizer.enable_truncation(length)
        self.tokens_max = length - max(len(one.spans) for one in self.whole([self.passage_prefix, self.query_prefix]))
        if self.tokens_max < TOKENS_MIN:
            raise ModelDirectoryError(f"{directory} reads {length} tokens at a time, which is too little")
        self.dimensions = self.embed(["Is this model fit?", "fit"]).shape[1]
        self.identity = f"{directory.resolve().name}/{_digest(self._model.path, self._pooling, self.passage_prefix)}"

    def embed(self, texts: Sequence[str], prefix: str = "") -> NDArray[np.float32]:
        encodings = self._encode([prefix + text for text in texts])
        found: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(texts)
        for batch in batches(encodings):
            for index, vector in zip(batch, self._vectors([encodings[index] for index in batch]), strict=True):
                found[index] = vector
        return np.stack(found)

    def whole(self, texts: Sequence[str]) -> list[Tokens]:
        cuts = [clean(text) for text in texts]
        found = self._whole.encode_batch(cuts, add_special_tokens=False)
        return [Tokens(encoding.offsets, 1.0) for encoding in found]

    def _encode(self, texts: Sequence[str]) -> Sequence[Encoding]:
        return self._model.tokenizer.encode_batch([clean(text[:CHARACTERS_MAX]) for text in texts])

    def _vectors(self, encodings: Sequence[Encoding]) -> NDArray[np.float32]:
        found, mask = self._model.run(encodings, self._output)
        if found.ndim == 3:
            pooled = found[:, 0] if self._pooling == "cls" else (found * mask[:, :, None]).sum(axis=1)
        elif found.ndim == 2 and len(found) == len(encodings):
            pooled = found
        else:
            raise ModelDirectoryError(f"its output {self._output} has the shape {list(found.shape)}")
        if not np.isfinite(pooled).all():
            raise ModelDirectoryError("its output holds numbers that are none")
        pooled[~pooled.any(axis=1), 0] = 1  # A text without a token.
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)


def _pooling(directory: Path) -> str:
    dense = [one for one in directory.glob(f"*_{_DENSE}") if one.is_dir()]
    if dense:
        raise ModelDirectoryError(f"{dense[0]} is a layer behind the model, which is not in its ONNX file")
    pooling = read_json(directory / "1_Pooling" / "config.json")
    chosen = [name for name, value in pooling.items() if name.startswith("pooling_mode") and value is True]
    if not chosen:
        return "mean"
    if len(chosen) > 1 or chosen[0] not in _POOLINGS:
        raise ModelDirectoryError(f"{directory} pools by {', '.join(chosen)}; known are {', '.join(_POOLINGS)}")
    return _POOLINGS[chosen[0]]


def _prompt(prompts: Any, names: Sequence[str]) -> str:
    known: Mapping[str, Any] = prompts if isinstance(prompts, dict) else {}
    return next((str(known[name]) for name in names if known.get(name)), "")


def _digest(model: Path, *settings: str) -> str:
    """What tells this model's vectors from another's, whatever the directory is called."""
    found = hashlib.sha256(repr(settings).encode())
    for path in sorted(model.parent.glob(f"{model.name}*")):  # Large models keep their weights beside it.
        with path.open("rb") as opened:
            found.update(hashlib.file_digest(opened, "sha256").digest())
    return found.hexdigest()[:16]
