"""The common code of the local models: texts to tokens, tokens to batches, batches through a graph. Synchronous.

A graph is committed without its weights, which are handed in from a frozen file. This module imports NumPy, onnxruntime
and tokenizers; it is imported at the first use, not when the server starts.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources import files
from threading import Lock
from typing import Final, TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from stoa.embedding.quantizing import DIMENSIONS
from stoa.embedding.types import Tokens

BATCH_TOKENS_MAX: Final = 256
"""Padding included. Bigger batches leave the processor's second cache: with 2,048 tokens a passage costs a third more
(bench/RESULTS.md)."""
BATCH_TEXTS_MAX: Final = 64
FEW_TOKENS: Final = 12
"""With no more different tokens the errors of MiniLM's quantised weights do not average out (cosine down to .973): such
texts run in full precision."""
LETTERS_MIN: Final = 4
"""Minimum letters to judge how well a text is read."""
CUT_CHARACTERS: Final = 8192
"""A text is tokenised up to here first: 256 tokens are about 1,000 characters."""
CUT_MARGIN: Final = 1024

Known: TypeAlias = Callable[[Encoding, str], float]
"""The share of a text's letters that the model knows."""
Words: TypeAlias = Callable[[NDArray[np.intp]], NDArray[np.float32]]
"""Token ids to the rows of the words' table."""


class Encoder:
    """A model that is loaded. Every method may be called from several threads."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        tokens_max: int,
        words: Words,
        session: "Session",
        open_exact: "Callable[[], Session] | None",
        known: Known,
    ) -> None:
        """`open_exact` opens a session for texts of few tokens; None where `session` reads these well enough."""
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokens_max = tokens_max
        self._tokenizer = tokenizer
        self._words = words
        self._session = session
        self._open_exact = open_exact
        self._exact = session if open_exact is None else None
        self._opening_exact = Lock()
        self._known = known

    def embed(self, texts: Sequence[str], prefix: str = "") -> NDArray[np.float32]:
        """(len(texts), DIMENSIONS), rows of length 1; `prefix` stands before each text."""
        tokens = self._tokens([prefix + text for text in texts])
        out = np.empty((len(texts), DIMENSIONS), np.float32)
        for batch in batches(tokens):
            out[batch] = self._vectors([tokens[index] for index in batch])
        return out

    def whole(self, texts: Sequence[str]) -> list[Tokens]:
        """The tokens of whole texts."""
        cuts = [clean(text) for text in texts]
        found = self._tokenizer.encode_batch(cuts, add_special_tokens=False)
        return [
            Tokens(encoding.offsets, self._known(encoding, text)) for encoding, text in zip(found, cuts, strict=True)
        ]

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids per text, those around it included, at most `tokens_max`."""
        cuts = [clean(text[:CUT_CHARACTERS]) for text in texts]
        return [
            self._settled(encoding, text)
            for encoding, text in zip(self._tokenizer.encode_batch(cuts), texts, strict=True)
        ]

    def _vectors(self, batch: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """The texts of one batch are as `batches` puts them together."""
        width = max(len(ids) for ids in batch)
        ids = np.zeros((len(batch), width), np.intp)
        mask = np.zeros((len(batch), width), np.int32)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        session = self._exact_session() if _few(batch[0]) else self._session
        return session.run(self._words(ids), mask)

    def _exact_session(self) -> "Session":
        """The full precision's weights take 110 MB and 0.1 s: only a server that embeds short texts has them."""
        with self._opening_exact:
            if self._exact is None:
                assert self._open_exact is not None, "there is a session of full precision, or a way to it"
                self._exact = self._open_exact()
            return self._exact

    def _settled(self, encoding: Encoding, text: str) -> list[int]:
        """The tokens of the whole text, given those of its first `CUT_CHARACTERS`.

        The cut may be felt only if the last token that is kept lies near it (a text of blanks, or of endless words):
        then it moves.
        """
        cut, last = CUT_CHARACTERS, self._tokens_max - 2
        while cut < len(text) and (
            len(encoding.ids) < self._tokens_max or encoding.offsets[last][1] + CUT_MARGIN > cut
        ):
            cut *= 8
            encoding = self._tokenizer.encode(clean(text[:cut]))
        ids = encoding.ids
        return ids if len(ids) <= self._tokens_max else [*ids[: self._tokens_max - 1], ids[-1]]


class Session:
    """One graph with its weights. onnxruntime reads the arrays where they are, so they must live as long as the session
    does."""

    def __init__(self, graph: str, values: Mapping[str, NDArray[np.generic]], threads: int) -> None:
        self._values = values
        self._inference = _inference(graph, values, threads)

    def run(self, words: NDArray[np.float32], mask: NDArray[np.int32]) -> NDArray[np.float32]:
        (found,) = self._inference.run(["embedding"], {"words": words, "mask": mask})
        assert isinstance(found, np.ndarray)
        assert found.shape == (len(mask), DIMENSIONS)
        return found


def _inference(graph: str, values: Mapping[str, NDArray[np.generic]], threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Idle threads must not spin on cores that the server needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # The graphs are written with the fused operators already; looking for more costs time at each start.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.add_external_initializers(
        list(values), [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in values.values()]
    )
    content = files("stoa.embedding").joinpath(graph).read_bytes()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


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


def _few(ids: Sequence[int]) -> bool:
    return len(set(ids)) <= FEW_TOKENS


def clean(text: str) -> str:
    """Half of a surrogate pair is a legal str and illegal Unicode; it becomes U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
