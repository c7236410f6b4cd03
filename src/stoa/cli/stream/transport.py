"""HTTP requests with the standard library, so that commands start fast and need no further package."""

import http.client
import json
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

from stoa.cli.stream import errors
from stoa.cli.stream.retry import RetryPolicy, retry_after_of

EVENT_STREAM: Final = "text/event-stream"
LOST: Final = (OSError, http.client.HTTPException)
"""Exceptions for a missing or incomplete response."""
CHUNK_BYTES: Final = 64 * 1024
_CLASSES: Final[Mapping[int, type[errors.APIError]]] = {
    400: errors.BadRequestError,
    401: errors.UnauthorizedError,
    403: errors.ForbiddenError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    413: errors.TooLargeError,
    415: errors.UnsupportedMediaTypeError,
    422: errors.BadRequestError,
    429: errors.RateLimitedError,
    503: errors.UnavailableError,
}


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `safe`: it may be repeated even if the server may already have processed it."""

    method: str
    path: str
    safe: bool = True
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


class Response:
    """A response whose body the caller reads."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self._answer = answer
        self.status_code = answer.status
        self.headers = answer.headers

    def iter_bytes(self) -> Iterator[bytes]:
        """The bytes as they arrive. A connection that ends in the middle of a chunk simply ends the iteration: the
        stream's reader detects what is missing."""
        try:
            while piece := self._answer.read1(CHUNK_BYTES):
                yield piece
        except http.client.IncompleteRead as cut:
            if cut.partial:
                yield cut.partial

    def __iter__(self) -> Iterator[bytes]:
        """The lines of the body."""
        return iter(self._answer)

    def read(self) -> bytes:
        return self._answer.read()

    def close(self) -> None:
        self._answer.close()


class Transport:
    """One server and one key. Redirects are errors, so that the key is not sent to another server."""

    def __init__(self, base_url: str, key: str, policy: RetryPolicy) -> None:
        self.base_url = base_url
        self.policy = policy
        self._key = key

    def json(self, call: Call) -> Any:
        """The JSON of the response, or None without a body. Raises APIError, ConnectionFailed, StoaError."""
        body = self.body(call)
        try:
            return json.loads(body) if body else None
        except ValueError as error:
            message = (
                f"{self.base_url} answered {call.method} {call.path} with something that is no JSON; is that Stoa?"
            )
            raise errors.StoaError(message) from error

    def body(self, call: Call) -> bytes:
        """The complete body. A safe request is repeated if the connection breaks."""
        for failures in count(1):
            response = self.answer(call)
            try:
                return response.read()
            except LOST as error:
                failure = connection_failed(call, self.base_url, error)
            finally:
                response.close()
            if not call.safe or failures >= self.policy.attempts:
                raise failure
            self.wait(failures, failure)
        raise AssertionError

    def answer(self, call: Call, *, stream: bool = False) -> Response:
        """The response; its body is not read yet."""
        for failures in count(1):
            try:
                return self.attempt(call, stream=stream)
            except errors.APIError as refused:
                failure: errors.APIError | errors.ConnectionFailed = refused
                again = self.policy.repeats(refused.status, safe=call.safe, retry_after=refused.retry_after)
            except errors.ConnectionFailed as lost:
                failure = lost
                again = call.safe and lost.sent  # If nothing listens there, report it at once.
            if not again or failures >= self.policy.attempts:
                raise failure
            self.wait(failures, failure)
        raise AssertionError

    def wait(self, failures: int, failure: Exception | None) -> None:
        """Waits as long as the server's Retry-After says, or by backoff."""
        retry_after = failure.retry_after if isinstance(failure, errors.APIError) else None
        time.sleep(self.policy.delay(failures, retry_after, random.random()))  # noqa: S311 — spreads attempts

    def attempt(self, call: Call, *, stream: bool = False) -> Response:
        """One attempt. Raises APIError, ConnectionFailed."""
        headers = {"Authorization": f"Bearer {self._key}", **call.headers}
        request = Request(self.base_url + call.path, call.body, headers, method=call.method)  # noqa: S310 — http or https
        try:
            return Response(_opener(self.base_url).open(request, timeout=self.policy.idle_seconds if stream else 60))
        except HTTPError as error:
            with error:
                raise _refusal(self.base_url, error) from error
        except LOST as error:
            raise connection_failed(call, self.base_url, error) from error


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def path(template: str, *ids: object) -> str:
    return template.format(*(quote(str(one), safe="") for one in ids))


@cache
def _opener(url: str) -> OpenerDirector:
    """Uses the proxy of the environment, except for this machine."""
    host = urlsplit(url).hostname or ""
    here = host in ("localhost", "127.0.0.1", "::1") or host.endswith(".localhost")
    return build_opener(_NoRedirects, ProxyHandler({})) if here else build_opener(_NoRedirects)


def _refusal(url: str, answer: HTTPError) -> errors.APIError:
    code, message, details = "unknown", "", None
    try:
        error = json.loads(answer.read())["error"]
        code, message = str(error["code"]), str(error["message"])
        found = error.get("details")
        details = {str(name): str(reason) for name, reason in found.items()} if isinstance(found, dict) else None  # pyright: ignore[reportUnknownArgumentType]
    except (*LOST, ValueError, KeyError, TypeError, AttributeError):
        where = answer.headers.get("Location")
        message = (
            f"{url} redirects to {where}; use that as the server's URL."
            if where
            else f"{url} answered {answer.code} without Stoa's error envelope: something before the server refused, or "
            "that is not Stoa."
        )
    kind = _CLASSES.get(answer.code, errors.ServerError if answer.code >= 500 else errors.APIError)
    return kind(
        message,
        status=answer.code,
        code=code,
        details=details,
        request_id=answer.headers.get("X-Request-Id"),
        retry_after=retry_after_of(answer.headers.get("Retry-After")),
    )


def connection_failed(call: Call, url: str, error: Exception) -> errors.ConnectionFailed:
    reason = error.reason if isinstance(error, URLError) else error
    text = str(reason) or type(reason).__name__
    # urllib also wraps errors that occur while the request is being sent; then a part of it may have arrived.
    if isinstance(error, URLError) and not isinstance(reason, BrokenPipeError | ConnectionResetError):
        return errors.ConnectionFailed(f"No server answers at {url} ({text}). Start one with: stoa serve", sent=False)
    way_out = "" if call.safe else " It is not known whether it was carried out: look before you send it again."
    return errors.ConnectionFailed(
        f"The connection to {url} broke before {call.method} {call.path} was answered ({text}).{way_out}", sent=True
    )
