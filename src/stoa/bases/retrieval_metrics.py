"""Metrics of a ranking with confidence intervals. Pure.

nDCG@10 with gains of 2^grade - 1 and the logarithmic discount of Järvelin and Kekäläinen, recall@10, reciprocal rank;
means with percentile bootstrap intervals over the queries, and for two settings the interval of the per-query
difference, which is much narrower than the two intervals side by side: most of the spread is the queries', not the
settings'.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, TypeVar

K = TypeVar("K", bound=Hashable)

DEPTH: Final = 10
SAMPLES: Final = 2_000
CONFIDENCE: Final = 0.95
MEASURES: Final = ("ndcg@10", "recall@10", "mrr")
_SEED: Final = 20261125
"""A fixed seed, so that the same results give the same figures."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over queries with its 95 % confidence interval."""

    mean: float
    low: float
    high: float

    @property
    def decided(self) -> bool:
        """For a difference: whether it is significant."""
        return self.low > 0 or self.high < 0


def ndcg(ranking: Sequence[K], grades: Mapping[K, int], depth: int = DEPTH) -> float:
    """In 0..1. `grades` holds what is relevant, from 1 up; what is not there is not relevant. Raises ValueError where
    nothing is."""
    ideal = sorted((grade for grade in grades.values() if grade > 0), reverse=True)[:depth]
    if not ideal:
        raise ValueError("a query without a relevant document cannot be judged")
    return _gained([grades.get(one, 0) for one in ranking[:depth]]) / _gained(ideal)


def recall(ranking: Sequence[K], grades: Mapping[K, int], depth: int = DEPTH) -> float:
    """The share of what is relevant that stands among the first `depth`."""
    relevant = {one for one, grade in grades.items() if grade > 0}
    return len(relevant & set(ranking[:depth])) / len(relevant)


def reciprocal_rank(ranking: Sequence[K], grades: Mapping[K, int]) -> float:
    """1 / place of the first relevant one; 0 where there is none."""
    return next((1 / place for place, one in enumerate(ranking, 1) if grades.get(one, 0) > 0), 0.0)


def judged(ranking: Sequence[K], grades: Mapping[K, int]) -> dict[str, float]:
    """Every measure of one query's ranking, in which nothing may stand twice."""
    return {
        "ndcg@10": ndcg(ranking, grades),
        "recall@10": recall(ranking, grades),
        "mrr": reciprocal_rank(ranking, grades),
    }


def estimate(values: Sequence[float], samples: int = SAMPLES, seed: int = _SEED) -> Estimate:
    """The mean of per-query values (or of per-query differences) with its bootstrap interval."""
    if not values:
        raise ValueError("there is nothing to estimate from")
    draw = Random(seed)  # noqa: S311 — no secret; the same for everybody
    size = len(values)
    means = sorted(math.fsum(draw.choices(values, k=size)) / size for _ in range(samples))
    outside = (1 - CONFIDENCE) / 2
    return Estimate(
        math.fsum(values) / size, means[math.floor(outside * samples)], means[math.ceil((1 - outside) * samples) - 1]
    )


def first_places(ranking: Sequence[K]) -> list[K]:
    """Each once, where it stands first: the chunks of an item as the item."""
    return list(dict.fromkeys(ranking))


def _gained(grades: Sequence[int]) -> float:
    return math.fsum((2**grade - 1) / math.log2(place + 1) for place, grade in enumerate(grades, 1))
