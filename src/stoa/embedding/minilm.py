"""all-MiniLM-L6-v2, of the package's safetensors file. Synchronous; `local` imports it at the first use."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

from tokenizers import Encoding, Tokenizer

from stoa.embedding import weights
from stoa.embedding.encoding import LETTERS_MIN, Encoder, Session
from stoa.embedding.quantizing import WORDS, Precision, initializers
from stoa.embedding.safetensors import MappedTensors, SafetensorsError
from stoa.embedding.types import EmbedderError

TOKENS_MAX: Final = 256
"""The original's max_seq_length, with [CLS] and [SEP]; tokenizer.json itself says 128, which sentence-transformers
overrides."""
LAYERS: Final = 6


def load(directory: Path, *, precision: Precision, threads: int) -> Encoder:
    """Raises EmbedderError(embedder_corrupted) for any file but the pinned ones."""
    # Hashing 90 MB, reading the tokenizer and preparing the weights take about as long each, and leave the
    # interpreter's lock alone.
    with ThreadPoolExecutor(3, thread_name_prefix="stoa-embedder-load") as crew:
        checks = [crew.submit(weights.verify, file, directory) for file in weights.FILES]
        tokenizer = crew.submit(Tokenizer.from_file, str(directory / weights.TOKENIZER.name))
        try:
            tensors = MappedTensors(directory / weights.WEIGHTS.name)
            words = tensors.floats[WORDS]

            def session(wanted: Precision) -> Session:
                opened = Session(f"minilm_{wanted}.onnx", initializers(tensors.floats, wanted, LAYERS), threads)
                tensors.forget()
                return opened

            first = session(precision)
        except (SafetensorsError, KeyError, OSError) as error:
            for check in checks:
                check.result()  # says more clearly what is wrong with the file
            raise EmbedderError(
                "embedder_corrupted", f"{directory / weights.WEIGHTS.name} cannot be read: {error}", retryable=False
            ) from error
        for check in checks:
            check.result()
        exact = None if precision == "fp32" else partial(session, "fp32")
        return Encoder(tokenizer.result(), TOKENS_MAX, words.__getitem__, first, exact, _known)


def _known(encoding: Encoding, text: str) -> float:
    """The share of a text's letters that stand in tokens of several letters."""
    letters = sum(map(str.isalpha, text))
    pieces = (one.removeprefix("##") for one in encoding.tokens)
    read = sum(len(piece) for piece in pieces if piece.isalpha() and len(piece) > 1)
    return min(1.0, read / letters) if letters >= LETTERS_MIN else 1.0
