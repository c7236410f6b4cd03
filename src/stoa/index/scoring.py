"""BM25 and selections over blocks of postings. Pure; the one place of the index that computes with NumPy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stoa.index.filters import And, AnyTerm, Between, Expression, Not, Or
from stoa.index.postings import Block

K1: Final = 0.9
B: Final = 0.4
"""Of Lucene's usual pairs the one for short texts; measured in bench/RESULTS.md."""

Chosen: TypeAlias = NDArray[np.bool_]
Scores: TypeAlias = NDArray[np.float32]


def idf(documents: int, holders: int) -> float:
    """The weight of a term that `holders` of `documents` chunks have; never negative."""
    return float(np.log1p((documents - holders + 0.5) / (holders + 0.5)))


@dataclass(frozen=True, slots=True)
class Asked:
    """A word of a query: its weight, and the records of each term that it is found by, with what that term counts.

    A chunk that holds several of the terms has the score of the best one.
    """

    weight: float
    terms: Sequence[tuple[float, bytes]]


def bm25(asked: Sequence[Asked], average_length: float, size: int) -> Scores:
    """The score of every ordinal below `size`; an ordinal stands once in the records of a term."""
    scores = np.zeros(size, np.float32)
    for one in asked:
        found = [(factor, records) for factor, records in one.terms if records]
        if len(found) == 1:
            ordinals, parts = _parts(one.weight * found[0][0], found[0][1], average_length, size)
            np.add.at(scores, ordinals, parts)
        elif found:
            best_parts = np.zeros(size, np.float32)
            for factor, records in found:
                ordinals, parts = _parts(one.weight * factor, records, average_length, size)
                np.maximum.at(best_parts, ordinals, parts)
            scores += best_parts
    return scores


def bm25_of_items(
    asked: Sequence[Asked], spans: Sequence[tuple[int, int]], lengths: Sequence[int], size: int
) -> NDArray[np.float64]:
    """The score of each whole item, given the first and last of its ordinals and its number of words, as a share of the
    best possible one. The usual length is that of these items."""
    owners = np.full(size, -1, np.int32)
    for number, (first, last) in enumerate(spans):
        owners[first : last + 1] = number
    words = np.asarray(lengths, np.float64)
    norms = K1 * (1 - B + B * words / max(float(words.mean()) if len(words) else 1.0, 1.0))
    scores = np.zeros(len(spans))
    for one in asked:
        best_parts = np.zeros(len(spans))
        for factor, records in one.terms:
            quarters, ordinals = np.frombuffer(records, "<u2"), np.frombuffer(records, "<u4")[1::2].astype(np.intp)
            known = ordinals < size
            items = owners[ordinals[known]]
            inside = items >= 0
            times = np.bincount(items[inside], quarters[1::4][known][inside], len(spans))
            np.maximum(best_parts, one.weight * factor * (K1 + 1) * times / (times + norms), out=best_parts)
        scores += best_parts
    return scores / ((sum(one.weight for one in asked) or 1.0) * (K1 + 1))


def _parts(
    weight: float, records: bytes, average_length: float, size: int
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The ordinals of a term's records, and what the term gives to each."""
    slope = np.float32(K1 * B / max(average_length, 1.0))
    # Of a record: the chunk's length, the times, and the ordinal in its upper half.
    quarters, ordinals = np.frombuffer(records, "<u2"), np.frombuffer(records, "<u4")[1::2].astype(np.intp)
    norm, times = quarters[0::4].astype(np.float32), quarters[1::4].astype(np.float32)
    norm *= slope
    norm += np.float32(K1 * (1 - B))
    norm += times
    times *= np.float32(weight * (K1 + 1))
    times /= norm
    if len(ordinals) and int(ordinals.max()) >= size:  # A chunk that was added after the index's row was read.
        known = ordinals < size
        ordinals, times = ordinals[known], times[known]
    return ordinals, times


def best(scores: Scores, count: int, allowed: Chosen | None) -> list[tuple[int, float]]:
    """(ordinal, score) of the best above zero, best first; equal scores in the order of their ordinals."""
    passing = None if allowed is None else np.flatnonzero(allowed)
    values = scores if passing is None else scores[passing]
    edge = np.partition(values, -count)[-count] if len(values) > count else np.float32(0)
    candidates = np.flatnonzero(values >= edge if edge > 0 else values > 0)
    values = values[candidates]
    if passing is not None:
        candidates = passing[candidates]
    # Of equal scores the earliest win, on every node.
    order = np.lexsort((candidates, -values))[:count]
    return list(zip(candidates[order].tolist(), values[order].tolist(), strict=True))


def selected(
    expression: Expression, found: Mapping[int, Sequence[bytes]], parts: Sequence[AnyTerm | Between], size: int
) -> Chosen:
    """The ordinals that pass a filter; `found` has the blocks of each of `parts` by index."""
    places = {part: place for place, part in enumerate(parts)}

    def chosen(one: Expression) -> Chosen:
        match one:
            case AnyTerm() | Between():
                return _ranges(found.get(places[one], ()), size)
            case Not(part):
                return ~chosen(part)
            case And(inner):
                return np.logical_and.reduce([chosen(part) for part in inner]) if inner else np.ones(size, bool)
            case Or(inner):
                return np.logical_or.reduce([chosen(part) for part in inner]) if inner else np.zeros(size, bool)

    return chosen(expression)


def _ranges(blocks: Sequence[bytes], size: int) -> Chosen:
    """The ordinals that the records' ranges cover; ranges may overlap."""
    chosen = np.zeros(size, bool)
    ends = np.frombuffer(b"".join(blocks), "<u4").astype(np.int64)
    lasts, firsts = ends[0::2], ends[1::2]
    lengths = np.minimum(lasts + 1, size) - np.minimum(firsts, size)
    # One number after the other within each range, for all ranges at once.
    starts = np.cumsum(lengths) - lengths
    chosen[np.arange(lengths.sum()) + np.repeat(firsts - starts, lengths)] = True
    return chosen


def without(block: Block, first_ordinal: int, last_ordinal: int) -> Block:
    """The block without the records of a range of ordinals; itself where it holds none of them. Its own ordinals stay
    bounds."""
    records = np.frombuffer(block.records, "<u8")
    ordinals = records >> np.uint64(32)
    left = records[(ordinals < first_ordinal) | (ordinals > last_ordinal)]
    return (
        block
        if len(left) == len(records)
        else Block(block.term, block.first_ordinal, block.last_ordinal, left.tobytes())
    )


def packed(chosen: Chosen) -> bytes:
    """As PostgreSQL's get_bit reads it."""
    return np.packbits(chosen, bitorder="little").tobytes()


def runs_of(chosen: Chosen) -> tuple[list[int], list[int]]:
    """First and last ordinals of the stretches that are chosen without a gap: mostly whole items."""
    edges = np.flatnonzero(np.diff(chosen, prepend=False, append=False))
    return edges[0::2].tolist(), (edges[1::2] - 1).tolist()


def count_of(chosen: Chosen) -> int:
    return int(np.count_nonzero(chosen))


def unpacked_vector(sent: bytes) -> NDArray[np.float32]:
    """A halfvec's wire form: its length, two bytes unused, big-endian halves."""
    return np.frombuffer(sent, ">f2", offset=4).astype(np.float32)


def count_dangling(blocks: Sequence[bytes], live: Sequence[int]) -> int:
    """How many postings name a chunk that does not exist."""
    if not blocks:
        return 0
    ordinals = np.frombuffer(b"".join(blocks), "<u8") >> np.uint64(32)
    return int(np.count_nonzero(~np.isin(ordinals.astype(np.int64), np.asarray(live, np.int64))))
