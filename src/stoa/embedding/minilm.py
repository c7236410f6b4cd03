"""all-MiniLM-L6-v2 on onnxruntime: committed graphs without weights, and weights mapped from the frozen file.
Synchronous.

This module imports NumPy, onnxruntime and tokenizers; `local` imports it at the first use, not when the server starts.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from stoa.embedding import weights
from stoa.embedding.quantizing import DIMENSIONS, WORDS, Precision, initializers
from stoa.embedding.safetensors import MappedTensors, SafetensorsError
from stoa.embedding.types import EmbedderError, Tokens

TOKENS_MAX: Final = 256
"""The original's max_seq_length, with [CLS] and [SEP]; tokenizer.json itself says 128, which sentence-transformers
overrides."""
BATCH_TOKENS_MAX: Final = 2048
"""Padding included. Bigger batches leave the processor's cache and are slower (docs/decisions/0003)."""
BATCH_TEXTS_MAX: Final = 64
FEW_TOKENS: Final = 12
"""With no more different tokens the quantised model's errors do not average out (cosine down to .973): such texts run
in full precision."""
LETTERS_MIN: Final = 4
"""Of a text of fewer, nothing can be said about how well it is read."""
CUT_CHARACTERS: Final = 8192
"""A text is tokenised up to here first: 256 tokens are about 1,000 characters."""
CUT_MARGIN: Final = 1024


class MiniLM:
    """The loaded model. `tokens` and `vectors` may be called from several threads."""

    def __init__(self, directory: Path, *, precision: Precision, threads: int) -> None:
        """Raises EmbedderError(embedder_corrupted) for any file but the pinned ones."""
        # Hashing 90 MB, reading the tokenizer and preparing the weights take about as long each, and leave the
        # interpreter's lock alone.
        with ThreadPoolExecutor(3, thread_name_prefix="stoa-embedder-load") as crew:
            checks = [crew.submit(weights.verify, file, directory) for file in weights.FILES]
            tokenizer = crew.submit(_tokenizer, directory)
            try:
                tensors = MappedTensors(directory / weights.WEIGHTS.name)
                self._words = tensors.floats[WORDS]
                self._session = _Session(tensors.floats, precision, threads)
            except (SafetensorsError, KeyError, OSError) as error:
                for check in checks:
                    check.result()  # says more clearly what is wrong with the file
                raise EmbedderError(
                    "embedder_corrupted", f"{directory / weights.WEIGHTS.name} cannot be read: {error}", retryable=False
                ) from error
            for check in checks:
                check.result()
            self._tokenizer = tokenizer.result()
            self._uncut = Tokenizer.from_str(self._tokenizer.to_str())
            self._uncut.no_truncation()
        tensors.forget()
        self._exact = self._session if precision == "fp32" else None
        self._threads = threads
        self._tensors = tensors
        self._preparing_exact = Lock()

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids per text, [CLS] and [SEP] included, at most `TOKENS_MAX`."""
        cuts = [_clean(text[:CUT_CHARACTERS]) for text in texts]
        return [
            self._settled(encoding, text).ids
            for encoding, text in zip(self._tokenizer.encode_batch(cuts), texts, strict=True)
        ]

    def whole(self, texts: Sequence[str]) -> list[Tokens]:
        """The tokens of whole texts."""
        cuts = [_clean(text) for text in texts]
        found = self._uncut.encode_batch(cuts, add_special_tokens=False)
        return [
            Tokens(encoding.offsets, _known(encoding.tokens, text)) for encoding, text in zip(found, cuts, strict=True)
        ]

    def vectors(self, batch: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """(len(batch), DIMENSIONS), rows of length 1. The texts of one batch are as `batches` puts them together."""
        width = max(len(ids) for ids in batch)
        ids = np.zeros((len(batch), width), np.intp)
        mask = np.zeros((len(batch), width), np.int32)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        session = self._exact or self._load_exact() if _few(batch[0]) else self._session
        return session.run(self._words[ids], mask)

    def _load_exact(self) -> "_Session":
        """The full precision's weights take 110 MB and 0.1 s: only a server that embeds short texts has them."""
        with self._preparing_exact:
            if self._exact is None:
                self._exact = _Session(self._tensors.floats, "fp32", self._threads)
                self._tensors.forget()
            return self._exact

    def _settled(self, encoding: Encoding, text: str) -> Encoding:
        """The encoding of the whole text, given that of its first `CUT_CHARACTERS`.

        The cut may be felt only if the last token that is kept lies near it (a text of blanks, or of endless words):
        then it moves.
        """
        cut = CUT_CHARACTERS
        while cut < len(text) and (len(encoding.ids) < TOKENS_MAX or encoding.offsets[-2][1] + CUT_MARGIN > cut):
            cut *= 8
            encoding = self._tokenizer.encode(_clean(text[:cut]))
        return encoding


def batches(tokens: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Indexes of texts that run together: of one precision, and neighbours in length, so that little is padding,
    longest first."""
    few = [_few(ids) for ids in tokens]
    batch: list[int] = []
    for index in sorted(range(len(tokens)), key=lambda index: (few[index], -len(tokens[index]))):
        if batch and (
            len(batch) == BATCH_TEXTS_MAX
            or (len(batch) + 1) * len(tokens[batch[0]]) > BATCH_TOKENS_MAX
            or few[index] != few[batch[0]]
        ):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _known(pieces: Sequence[str], text: str) -> float:
    """The share of a text's letters that stand in tokens of several letters."""
    letters = sum(map(str.isalpha, text))
    read = sum(len(piece) for piece in (one.removeprefix("##") for one in pieces) if piece.isalpha() and len(piece) > 1)
    return min(1.0, read / letters) if letters >= LETTERS_MIN else 1.0


def _few(ids: Sequence[int]) -> bool:
    return len(set(ids)) <= FEW_TOKENS


def _clean(text: str) -> str:
    """Half of a surrogate pair is a legal str and illegal Unicode; it becomes U+FFFD, which the tokenizer drops."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _tokenizer(directory: Path) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(directory / weights.TOKENIZER.name))
    tokenizer.no_padding()
    tokenizer.enable_truncation(TOKENS_MAX)
    return tokenizer


class _Session:
    """One graph with its weights. onnxruntime reads the arrays where they are, so they must live as long as the session
    does."""

    def __init__(self, tensors: Mapping[str, NDArray[np.float32]], precision: Precision, threads: int) -> None:
        self._values = initializers(tensors, precision)
        self._inference = _inference(self._values, precision, threads)

    def run(self, words: NDArray[np.float32], mask: NDArray[np.int32]) -> NDArray[np.float32]:
        (found,) = self._inference.run(["embedding"], {"words": words, "mask": mask})
        assert isinstance(found, np.ndarray)
        assert found.shape == (len(mask), DIMENSIONS)
        return found


def _inference(
    values: Mapping[str, NDArray[np.generic]], precision: Precision, threads: int
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that wait must not burn the cores that the server's other work needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # The graphs are written with the fused operators already; looking for more costs time at each start.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.add_external_initializers(
        list(values), [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in values.values()]
    )
    graph = files("stoa.embedding").joinpath(f"minilm_{precision}.onnx").read_bytes()
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
