"""`GET /metrics`: this node's metrics for Prometheus (contract section 10)."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from hmac import compare_digest
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from stoa.http.authentication import bearer_token
from stoa.http.routing import Routes
from stoa.http.wire import refusals
from stoa.kernel import metrics as kernel
from stoa.kernel.errors import Unauthorized
from stoa.kernel.metrics import Counter, Gauge, Histogram, Labels
from stoa.kernel.snapshots import Snapshot, metrics_of, snapshot

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric

CONTENT_TYPE: Final = "text/plain"
PASSED_ON: Final = ("forwarded", "via", "x-forwarded-for", "x-real-ip", "origin")
"""A request with one of these headers comes from a proxy or from a page in a browser, not from a scraper on this
machine."""


class Siblings(Protocol):
    """The other workers of a server of several processes. Each of them returns the page of all."""

    def counts(self, take: Callable[[bool], Snapshot]) -> None:
        """`take` is called when this worker's numbers are needed: for a page (True), or to be stored."""
        ...

    async def all(self) -> Snapshot:
        """The numbers of all workers. Takes about a second at most, also if a worker hangs."""
        ...


def routes(
    version: str,
    counted: Sequence[kernel.Metric],
    refresh: Callable[[], Awaitable[None]],
    host: str,
    token: str | None,
    siblings: Siblings | None = None,
) -> Routes:
    """With a token, only requests that send it are admitted; without one, only direct requests to a server that listens
    on loopback."""
    router = Routes(tags=["operations"])
    page = _Page(version, counted)
    if siblings is not None:
        siblings.counts(lambda page: snapshot([*counted, *(_of_process() if page else ())]))

    @router.get("/metrics", response_class=Response, responses={200: {"content": {CONTENT_TYPE: {}}}, **refusals()})
    async def metrics(request: Request) -> Response:
        """This node's numbers, in the text form of Prometheus or OpenMetrics (by `Accept`). The operator's: needs
        `STOA_METRICS_TOKEN` as a bearer token, if one is set; otherwise it is open to this machine alone, when the
        server listens on loopback."""
        _admit(request, host, token)
        await refresh()
        return page if siblings is None else _Page(version, metrics_of(await siblings.all()), process=False)

    return router


def _admit(request: Request, host: str, token: str | None) -> None:
    """Raises Unauthorized."""
    if token is not None:
        if not compare_digest((bearer_token(request) or "").encode("utf-8", "surrogateescape"), token.encode()):
            raise Unauthorized(
                "The numbers of this server are its operator's: send STOA_METRICS_TOKEN as a bearer token."
            )
    elif not _loopback(host) or not _asked_directly(request):
        raise Unauthorized(
            "The numbers of this server are its operator's: set STOA_METRICS_TOKEN, and send it as a bearer token. "
            "Without it they are open to"
            " this machine alone, when the server listens on loopback."
        )


def _loopback(host: str) -> bool:
    """An IPv4 address is also written as IPv6, on a socket that takes both."""
    try:
        return ip_address(host.removeprefix("::ffff:")).is_loopback
    except ValueError:
        return host == "localhost"


def _asked_directly(request: Request) -> bool:
    """Whether a program on this machine sent the request directly. The Host header must name this machine: after DNS
    rebinding a browser sends the name of the page, and a proxy that adds no header sends the public name or speaks
    HTTP/1.0."""
    client, headers = request.client, request.headers
    return (
        client is not None
        and _loopback(client.host)
        and _loopback(_name(headers.get("host", "")))
        and request.scope.get("http_version") != "1.0"
        and not any(name in headers for name in PASSED_ON)
        and headers.get("sec-fetch-site", "none") == "none"
    )


def _name(host: str) -> str:
    """The host without its port, and an IPv6 address without its brackets."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


class _Page(Response):
    """The page in the format that the scraper accepts, rendered by the library."""

    media_type = CONTENT_TYPE

    def __init__(self, version: str, counted: Sequence[kernel.Metric], *, process: bool = True) -> None:
        """`process`: with the library's metrics of this process."""
        super().__init__()
        self._version = version
        self._counted = counted
        self._process = process
        self._app: Any = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is None:
            from prometheus_client import make_asgi_app  # noqa: PLC0415 — 45 ms of a start, and most servers are scraped by nobody

            self._app = make_asgi_app(registry(self._version, self._counted, process=self._process))
        await self._app(_readable(scope), receive, send)


def _readable(scope: Scope) -> Scope:
    """The scope with only the headers that the library reads, because it decodes all of them strictly."""
    wanted = [
        (name, value) for name, value in scope["headers"] if name in (b"accept", b"accept-encoding") and value.isascii()
    ]
    query = scope.get("query_string", b"")
    return {**scope, "headers": wanted, "query_string": query if query.isascii() else b""}


def _of_process() -> Sequence[kernel.Metric]:
    """The library's metrics of this process as gauges by worker: CPU time and memory belong to one process, and a sum
    would hide which."""
    from prometheus_client import CollectorRegistry, ProcessCollector  # noqa: PLC0415 — as above

    found: list[kernel.Metric] = []
    for family in ProcessCollector(registry=CollectorRegistry()).collect():
        for sample in family.samples:
            value = float(sample.value)
            found.append(Gauge(sample.name, family.documentation, lambda value=value: value, across="each"))
    return found


def registry(version: str, counted: Sequence[kernel.Metric], *, process: bool = True) -> "CollectorRegistry":
    """A registry of the library with all our metrics, and the library's metrics of this process."""
    from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector  # noqa: PLC0415 — as above
    from prometheus_client.core import InfoMetricFamily  # noqa: PLC0415

    class Collector:
        """The library calls it at each scrape."""

        def collect(self) -> "Iterator[Metric]":
            yield InfoMetricFamily("stoa_build", "The version that runs.", {"version": version})
            for metric in counted:
                yield _family(metric)

    made = CollectorRegistry()
    made.register(Collector())
    if not process:
        return made
    ProcessCollector(registry=made)
    PlatformCollector(registry=made)
    GCCollector(registry=made)
    return made


def _family(metric: kernel.Metric) -> "Metric":
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily  # noqa: PLC0415 — as above

    if isinstance(metric, Histogram):
        lengths = HistogramMetricFamily(metric.name, metric.says, labels=metric.labels)
        for labels, held in metric.values.items():
            lengths.add_metric(labels, list(_buckets(metric.bounds, held)), held[-1])
        return lengths
    if isinstance(metric, Counter):
        family: CounterMetricFamily | GaugeMetricFamily = CounterMetricFamily(
            metric.name, metric.says, labels=metric.labels
        )
        values: Mapping[Labels, float] = metric.values
    else:
        family = GaugeMetricFamily(metric.name, metric.says, labels=metric.labels)
        read = metric.read()
        values = read if isinstance(read, Mapping) else {(): read}
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _buckets(bounds: Sequence[float], held: Sequence[float]) -> Iterator[tuple[str, float]]:
    """Cumulative: each counts the values up to its bound."""
    seen = 0.0
    for bound, count in zip((*bounds, float("inf")), held, strict=False):
        seen += count
        yield ("+Inf" if bound == float("inf") else str(bound)), seen
