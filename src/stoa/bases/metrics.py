"""Metrics of items and searches."""

from collections.abc import Mapping, Sequence

from stoa.bases.store import SQL
from stoa.db.polls import Poll
from stoa.kernel.metrics import FAST, LONG, Counter, Histogram, Metric


class IngestionMetrics:
    def __init__(self) -> None:
        self.items = Counter(
            "stoa_items_ended",
            "Files of knowledge bases that this node has settled; `code` is the error's where they failed.",
            ("status", "code"),
            [("processed", ""), ("failed", "internal_error")],
        )
        self.postponed = Counter(
            "stoa_items_postponed", "Times that an item was put back after an error that may pass.", ("code",)
        )
        self.chunks = Counter("stoa_chunks_indexed", "Chunks that settled items brought into an index.")
        self.seconds = Histogram(
            "stoa_item_seconds", "From the moment a node takes an item up until it is settled.", LONG
        )
        self._searches = Histogram(
            "stoa_search_seconds", "Searches in an index, the query's embedding and a reranker apart.", FAST, ("mode",)
        )
        self._stages = Histogram(
            "stoa_search_stage_seconds", "Stages of a search; embedding is the query's.", FAST, ("stage",)
        )

    def metrics(self) -> Sequence[Metric]:
        return [self.items, self.postponed, self.chunks, self.seconds, self._searches, self._stages]

    def searched(self, mode: str, stages: Mapping[str, float], embedding_seconds: float | None) -> None:
        """`stages` by name, in seconds; `embedding_seconds` None where nothing was embedded."""
        self._searches.observe(sum(stages.values()), mode)
        for stage, seconds in stages.items():
            self._stages.observe(seconds, stage)
        if embedding_seconds is not None:
            self._stages.observe(embedding_seconds, "embedding")


def polls() -> Sequence[Poll]:
    return [
        Poll(
            "stoa_items_waiting",
            "Files of knowledge bases that are not settled yet, of all nodes together.",
            SQL.unsettled_items,
            ("status",),
        )
    ]
