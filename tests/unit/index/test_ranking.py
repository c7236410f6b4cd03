"""The pure parts of a search against their plainest form."""

import random
import re
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from stoa.index import scoring
from stoa.index.nearest import EF_FILTERED, EF_SEARCH, EF_SEARCH_MAX, EF_SMALL, _width, sent
from stoa.index.snippets import sentences
from stoa.index.store import SQL
from stoa.index.words import raw_terms, tokens

TEXTS = some.text(alphabet=some.sampled_from("ab Z9 §§.-_/'!?…。\n\u00a0\u0301ﬁ²Åé東京#*|)”"), max_size=40)


@given(TEXTS)
def test_terms_of_tokens_are_those_of_the_text(text: str) -> None:
    assert {term for token in tokens(text) for term in raw_terms(token)} == set(raw_terms(text))


@given(TEXTS)
def test_sentences_end_where_the_rule_says(text: str) -> None:
    """The rule as one would write it; the one in use is faster."""
    rule = re.compile(r"(?<=[.!?\u2026])[\"'\u201d\u2019)\]]*\s+|(?<=[\u3002\uff01\uff1f])|\n{2,}|\n(?=[-*#|])")
    pieces = sentences(text)
    assert "".join(pieces) == text
    ends = {match.end() for match in rule.finditer(text)}
    places = np.cumsum([len(piece) for piece in pieces])[:-1].tolist()
    assert set(places) <= ends


@pytest.mark.parametrize("seed", range(20))
def test_the_best_equal_those_of_a_full_sort(seed: int) -> None:
    draw = np.random.default_rng(seed)
    size, count = int(draw.integers(1, 5_000)), int(draw.integers(1, 200))
    # Few different values, so that there are ties at every edge; mostly zeros in every other one.
    scores = (draw.integers(0, 30, size) * (draw.random(size) < (0.02 if seed % 2 else 1))).astype(np.float32)
    allowed = draw.random(size) < 0.5 if seed % 3 else None
    kept = [place for place in range(size) if scores[place] > 0 and (allowed is None or allowed[place])]
    expected = sorted(kept, key=lambda place: (-scores[place], place))[:count]
    assert scoring.best(scores, count, allowed) == [(place, float(scores[place])) for place in expected]


def test_the_words_of_an_item_count_as_if_it_were_one_chunk() -> None:
    """The items' scores against BM25 over chunks that hold all of each item's words."""
    draw = random.Random(7)
    spans, lengths = [(0, 2), (3, 3), (6, 9)], [40, 12, 90]
    asked: list[scoring.Asked] = []
    whole: list[scoring.Asked] = []
    for _ in range(5):
        times = {ordinal: draw.randint(1, 5) for ordinal in range(10) if draw.random() < 0.7}
        sums = [sum(times.get(at, 0) for at in range(first, last + 1)) for first, last in spans]
        weight = draw.random()
        asked.append(scoring.Asked(weight, [(0.8, _records((at, n, 10) for at, n in times.items()))]))
        joined = ((at, n, lengths[at]) for at, n in enumerate(sums) if n)
        whole.append(scoring.Asked(weight, [(0.8, _records(joined))]))
    best = sum(one.weight for one in asked) * (scoring.K1 + 1)
    expected = scoring.bm25(whole, sum(lengths) / 3, 3) / best
    found = scoring.bm25_of_items(asked, spans, lengths, 9)  # The last ordinal came in after the index was read.
    assert found[:2] == pytest.approx(expected[:2], rel=1e-5)
    assert found[2] <= expected[2] * 1.00001
    assert list(scoring.bm25_of_items([], spans, lengths, 10)) == [0, 0, 0]
    assert len(scoring.bm25_of_items(asked, [], [], 10)) == 0


def _records(chunks: Iterable[tuple[int, int, int]]) -> bytes:
    return b"".join((at << 32 | times << 16 | length).to_bytes(8, "little") for at, times, length in chunks)


def test_the_table_of_postings_is_read_once_for_a_query() -> None:
    """Joined with itself, it was read to its end as soon as PostgreSQL had counted its rows: 340 ms instead of 1, at
    10,000 chunks."""
    assert SQL.word_blocks.count("knowledge_postings") == SQL.open_with_words.count("knowledge_postings") == 1


def test_runs_cover_exactly_the_chosen_positions() -> None:
    draw = random.Random(5)
    for _ in range(50):
        chosen = np.array([draw.random() < 0.6 for _ in range(draw.randint(0, 40))], bool)
        firsts, lasts = scoring.runs_of(chosen)
        assert [
            place for first, last in zip(firsts, lasts, strict=True) for place in range(first, last + 1)
        ] == np.flatnonzero(chosen).tolist()
        assert all(last + 1 < first for last, first in zip(lasts, firsts[1:], strict=False))


def test_ranges_cover_what_they_say_and_may_overlap() -> None:
    draw = random.Random(7)
    for _ in range(100):
        size = draw.randint(0, 60)
        ranges = [
            (first, first + draw.randint(0, 20)) for first in (draw.randint(0, 70) for _ in range(draw.randint(0, 6)))
        ]
        blocks = [
            b"".join((first << 32 | last).to_bytes(8, "little") for first, last in part)
            for part in (ranges[:2], ranges[2:])
        ]
        covered = [any(first <= place <= last for first, last in ranges) for place in range(size)]
        assert scoring._ranges(blocks, size).tolist() == covered, (
            "what lies beyond the index as it was read is left out"
        )


def test_the_graph_is_walked_where_that_is_shorter() -> None:
    assert _width(100_000, 1.0, 10, hybrid=False) == EF_SEARCH
    assert _width(50_000, 0.5, 10, hybrid=False) == EF_FILTERED
    assert EF_FILTERED < _width(10_000, 0.1, 10, hybrid=False) <= EF_SEARCH_MAX, (
        "what passes is rarer, so the walk is wider"
    )
    assert EF_SEARCH < _width(10_000, 0.1, 10, hybrid=True) < _width(10_000, 0.1, 10, hybrid=False), (
        "words make up for what a narrower walk misses"
    )
    assert _width(100_000, 1.0, 100, hybrid=False) == 200, "who wants more gets a wider walk"
    assert _width(10_000, 1.0, 10, hybrid=True, small=True) == EF_SMALL < EF_SEARCH
    assert _width(10_000, 1.0, 60, hybrid=True, small=True) == 120
    assert _width(1_000, 0.01, 10, hybrid=False) == 0, "so few are all looked at"
    assert _width(100_000, 1.0, 6_000, hybrid=False) == 0, "so many are wanted that a scan is shorter"
    assert _width(30_000, 0.3, 1_000, hybrid=False) == 0


@given(some.lists(some.floats(-1, 1, width=32), min_size=1, max_size=50))
def test_a_vector_is_sent_as_the_halves_that_it_is_stored_as(values: list[float]) -> None:
    vector = np.array(values, np.float32)
    text = sent(vector)
    assert text[0] + text[-1] == "[]"
    read = np.array([float(one) for one in text[1:-1].split(",")], np.float32).astype(np.float16)
    assert read.tolist() == vector.astype(np.float16).tolist()
