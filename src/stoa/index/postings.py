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


def metadata_blocks(items: Iterable[tuple[int, int, Iterable[str]]]) -> Iterator[Block]:
    """The blocks of items' metadata, each item with its first and last ordinal, in ascending order; none of an item
    without chunks."""
    found: dict[str, array[int]] = {}
    for first, last, terms in items:
        if last >= first:
            for term in terms:
                found.setdefault(term, array("Q")).append(first << 32 | last)
    for term, records in found.items():
        yield Block(term, records[0] >> 32, records[-1] & 0xFFFFFFFF, records.tobytes())
