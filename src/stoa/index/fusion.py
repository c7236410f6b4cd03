"""Fuses the keyword and the vector ranking. Pure."""

from collections.abc import Mapping, Sequence

Ranking = Sequence[tuple[int, float]]
"""(ordinal, score), best first."""


def weighted(meaning: Mapping[int, float], words: Mapping[int, float], alpha: float) -> Ranking:
    """The weighted mean of both scores, each in 0..1. A chunk in only one ranking has score 0 in the other."""
    both = {
        ordinal: alpha * meaning.get(ordinal, 0.0) + (1 - alpha) * words.get(ordinal, 0.0)
        for ordinal in {**meaning, **words}
    }
    return sorted(both.items(), key=lambda one: (-one[1], one[0]))
