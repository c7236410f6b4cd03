"""Blocks of postings: arrays of 8-byte records, little-endian, in no order. Pure.

A word's record is `ordinal << 32 | times << 16 | length of the chunk`; a piece of metadata's is `first ordinal << 32 |
last ordinal` of an item.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

RECORDS_MAX: Final = 4_096
"""Of one block, when it is written."""
_COUNT_MAX: Final = 0xFFFF


@dataclass(frozen=True, slots=True)
class Block:
    term: str
    first_ordinal: int
    last_ordinal: int
    records: bytes


@dataclass(frozen=True, slots=True)
class Counts:
    """A chunk's terms with their number, and how many of them count for its length."""

    terms: Mapping[str, int]
    length: int


def word_blocks(chunks: Iterable[tuple[int, Counts]]) -> Iterator[Block]:
    """The blocks of the words of chunks, each with its ordinal, in ascending order."""
    found: dict[str, array[int]] = {}
    for ordinal, counts in chunks:
        length = min(counts.length, _COUNT_MAX)
        for term, times in counts.terms.items():
            record = ordinal << 32 | min(times, _COUNT_MAX) << 16 | length
            if term in found:
                found[term].append(record)
            else:
                found[term] = array("Q", (record,))
    for term, records in found.items():
        for start in range(0, len(records), RECORDS_MAX):
            piece = records[start : start + RECORDS_MAX]
            yield Block(term, piece[0] >> 32, piece[-1] >> 32, piece.tobytes())


def metadata_blocks(first_ordinal: int, last_ordinal: int, terms: Iterable[str]) -> Iterator[Block]:
    """The blocks of an item's metadata; none where it has no chunks."""
    if last_ordinal >= first_ordinal:
        record = array("Q", (first_ordinal << 32 | last_ordinal,)).tobytes()
        yield from (Block(term, first_ordinal, last_ordinal, record) for term in terms)
