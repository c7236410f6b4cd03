"""Metrics of requests, labelled by the template of the route and never by the path, which a client chooses."""

from collections.abc import Sequence
from time import perf_counter
from typing import Final

from starlette.types import Message, Scope

from stoa.kernel.metrics import OTHER, SLOW, Counter, Gauge, Histogram, Metric

SERVED: Final = "stoa.served"
"""The key of the scope for (kind of host, scope of its app)."""
METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
NONE: Final = "none"
"""The label for a request without a route, and the status of one whose client disconnected before the response."""


class Traffic:
    def __init__(self) -> None:
        labels = ("host", "method", "route")
        self.requests = Counter(
            "stoa_http_requests", "Requests that have ended; a stream is counted at its end.", (*labels, "status")
        )
        self.seconds = Histogram(
            "stoa_http_request_seconds",
            "From a request's head to the end of its answer; of a stream, to its beginning.",
            SLOW,
            labels,
        )
        self.open = 0
        self.streams = 0

    def metrics(self) -> Sequence[Metric]:
        return [
            self.requests,
            self.seconds,
            Gauge("stoa_http_requests_open", "Requests under way, streams among them.", lambda: self.open),
            Gauge("stoa_http_streams_open", "Streams of events under way.", lambda: self.streams),
        ]


class Exchange:
    """One request, from its head to its end."""

    __slots__ = ("_begun", "_scope", "_stream_seconds", "_traffic", "status")

    def __init__(self, traffic: Traffic, scope: Scope) -> None:
        self._traffic = traffic
        self._scope = scope
        self._begun = perf_counter()
        self._stream_seconds: float | None = None
        self.status = 0
        traffic.open += 1

    def answered(self, start: Message) -> None:
        """Called when the head of the response is about to be sent."""
        self.status = start["status"]
        if any(
            name == b"content-type" and value.startswith(b"text/event-stream")
            for name, value in start.get("headers", ())
        ):
            self._stream_seconds = self.seconds
            self._traffic.streams += 1

    @property
    def seconds(self) -> float:
        return perf_counter() - self._begun

    def ended(self) -> None:
        traffic = self._traffic
        traffic.open -= 1
        if self._stream_seconds is not None:
            traffic.streams -= 1
        host, served = self._scope.get(SERVED, ("api", self._scope))
        method, route = self._scope["method"], served.get("route")
        labels = (host, method if method in METHODS else OTHER, NONE if route is None else route.path)
        traffic.requests.add(*labels, str(self.status or NONE))
        traffic.seconds.observe(self.seconds if self._stream_seconds is None else self._stream_seconds, *labels)
