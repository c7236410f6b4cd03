# Written by tools/clients/carried.py from clients/python/src/stoa_client/errors.py; change that.
"""The exceptions, and what to do about them. The hierarchy:

StoaError
├── ConnectionFailed             no response; `sent` says whether the server may have processed the request
├── APIError                     the server refused: status, code, message, details, request_id, retry_after
│   ├── BadRequestError          400, 422   `details` names every bad field
│   ├── UnauthorizedError        401
│   ├── ForbiddenError           403
│   ├── NotFoundError            404        does not exist, or is outside the key's scope
│   ├── ConflictError            409        `active_run_id` if a conversation is busy
│   ├── TooLargeError            413
│   ├── UnsupportedMediaTypeError 415
│   ├── RateLimitedError         429
│   ├── UnavailableError         503
│   └── ServerError              any other 5xx
├── StreamError                  `run_id`, and `sequence`: the last event that was seen
│   ├── GapError                 an event is missing: `expected`, `received`
│   ├── ProtocolError            the response is not a stream of Stoa's events
│   ├── IntegrityError           the events differ from those that were written: the hash or the count is wrong
│   └── StreamLost               the stream could not be resumed in time
└── RunError                     the run ended without an answer
    ├── RunFailed                `code`, `retryable`
    └── RunCanceled              `reason`
"""

from collections.abc import Mapping


class StoaError(Exception):
    """The base of all exceptions of this library."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ConnectionFailed(StoaError):
    """No response arrived. `sent`: the server may have received the request, so check before you repeat a request that
    is not idempotent."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class APIError(StoaError):
    """The server refused the request. `code` is stable, `message` is for people, `details` maps a field to a reason."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str,
        details: Mapping[str, str] | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{message} (HTTP {status}, {code}{f', request {request_id}' if request_id else ''})")
        self.message = message
        self.status = status
        self.code = code
        self.details = dict(details or {})
        self.request_id = request_id
        self.retry_after = retry_after
        """Seconds to wait before a retry, if the server sent Retry-After."""


class BadRequestError(APIError):
    pass


class UnauthorizedError(APIError):
    pass


class ForbiddenError(APIError):
    pass


class NotFoundError(APIError):
    pass


class ConflictError(APIError):
    @property
    def active_run_id(self) -> str | None:
        """The conversation's active run. Wait for it, cancel it, or send with on_busy="queue"."""
        return self.details.get("active_run_id")


class TooLargeError(APIError):
    pass


class UnsupportedMediaTypeError(APIError):
    pass


class RateLimitedError(APIError):
    pass


class UnavailableError(APIError):
    pass


class ServerError(APIError):
    pass


class StreamError(StoaError):
    """A run's stream is damaged or cannot be continued. The run itself continues: read it again with
    `runs.stream(run_id)`."""

    def __init__(self, message: str, *, run_id: str | None = None, sequence: int = 0) -> None:
        super().__init__(message)
        self.run_id = run_id
        self.sequence = sequence


class GapError(StreamError):
    def __init__(self, *, expected: int, received: int, run_id: str | None) -> None:
        super().__init__(
            f"Event {received} came where event {expected} was due: something between this client and the server loses "
            f"events. What was yielded so far is right; runs.events({run_id or 'run_id'!r}) reads the stored events.",
            run_id=run_id,
            sequence=expected - 1,
        )
        self.expected = expected
        self.received = received


class ProtocolError(StreamError):
    pass


class IntegrityError(StreamError):
    pass


class StreamLost(StreamError):
    pass


class RunError(StoaError):
    def __init__(self, message: str, *, run_id: str) -> None:
        super().__init__(message)
        self.run_id = run_id


class RunFailed(RunError):
    """`retryable`: the same message may succeed if it is sent again."""

    def __init__(self, message: str, *, run_id: str, code: str, retryable: bool) -> None:
        super().__init__(f"{message} ({code})", run_id=run_id)
        self.message = message
        self.code = code
        self.retryable = retryable


class RunCanceled(RunError):
    def __init__(self, *, run_id: str, reason: str | None) -> None:
        super().__init__(f"The run was canceled{f': {reason}' if reason else '.'}", run_id=run_id)
        self.reason = reason
