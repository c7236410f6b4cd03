"""Metrics of runs, counted after their commits."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from stoa.db.polls import Poll
from stoa.kernel.metrics import LONG, SLOW, Counter, Histogram, Metric
from stoa.runs.store import SQL
from stoa.runs.types import ModelUse, Outcome, RunStatus

OF_A_CONNECTION: Final = "connection"
"""The label for all models of tenants' own connections, whose names are private."""
UNKNOWN: Final = "unknown"


class RunMetrics:
    """`is_operators`: whether a model is the operator's, which every tenant may use, or of a tenant's connection."""

    def __init__(self, is_operators: Callable[[str], object] = bool) -> None:
        self._is_operators = is_operators
        self.begun = Counter(
            "stoa_runs_begun",
            "Runs that this node has started, by what followed: this node works on it, it is unclaimed, or queued.",
            ("first",),
            [("carried",), ("left",), ("queued",)],
        )
        self.claimed = Counter(
            "stoa_runs_claimed",
            "Runs that this node has taken over: left ones, answered ones, and those of nodes that are gone.",
        )
        self.recovered = Counter(
            "stoa_runs_recovered", "Runs that lost their node in the middle of something and went on here."
        )
        self._ended = Counter(
            "stoa_runs_ended",
            "Runs that this node has ended; `code` is the error's where they failed.",
            ("status", "code"),
            [("completed", ""), ("failed", "internal_error"), ("canceled", "")],
        )
        self.seconds = Histogram(
            "stoa_run_seconds", "From the moment a node takes a run in hand until it ends there.", LONG, ("status",)
        )
        self._first = Histogram(
            "stoa_run_first_delta_seconds",
            "From the moment a node takes a run in hand to its model's first piece.",
            SLOW,
            ("model",),
        )
        self._tokens = Counter(
            "stoa_model_tokens", "Tokens on the bill of runs; cached ones are among the prompt's.", ("model", "kind")
        )
        self._calls = Counter("stoa_model_calls", "Calls of models on the bill of runs.", ("model",))
        self.tools = Counter("stoa_tool_calls", "Calls of tools that were settled.", ("kind", "status"))

    def metrics(self) -> Sequence[Metric]:
        return [
            self.begun,
            self.claimed,
            self.recovered,
            self._ended,
            self.seconds,
            self._first,
            self._tokens,
            self._calls,
            self.tools,
        ]

    def model(self, slug: str | None) -> str:
        """The model's label."""
        if slug is None:
            return UNKNOWN
        return slug if self._is_operators(slug) else OF_A_CONNECTION

    def first(self, slug: str, seconds: float) -> None:
        self._first.observe(seconds, self.model(slug))

    def ended(self, outcome: Outcome) -> None:
        code = outcome.error.code if outcome.status is RunStatus.FAILED and outcome.error is not None else ""
        self._ended.add(outcome.status.value, code)
        self.billed(outcome.uses)

    def billed(self, uses: Iterable[ModelUse]) -> None:
        for use in uses:
            model, usage = self.model(use.model), use.usage
            self._calls.add(model)
            self._tokens.add(model, "prompt", by=usage.prompt_tokens)
            self._tokens.add(model, "completion", by=usage.completion_tokens)
            if usage.cached_tokens:
                self._tokens.add(model, "cached", by=usage.cached_tokens)
            if usage.reasoning_tokens:
                self._tokens.add(model, "reasoning", by=usage.reasoning_tokens)


def polls() -> Sequence[Poll]:
    return [
        Poll(
            "stoa_runs_waiting",
            "Runs that no node works on, of all nodes together: queued behind another one, unclaimed,"
            " or paused for people.",
            SQL.waiting,
            ("state",),
        )
    ]
