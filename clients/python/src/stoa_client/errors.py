"""What can go wrong, and what to do about it. The tree:

StoaError
├── ConnectionFailed             no answer came; `sent` says whether the request may have been carried out
├── APIError                     the server refused: status, code, message, details, request_id, retry_after
│   ├── BadRequestError          400, 422   `details` names every bad field
│   ├── UnauthorizedError        401
│   ├── ForbiddenError           403
│   ├── NotFoundError            404        does not exist, or lies outside the key's scope
│   ├── ConflictError            409        `active_run_id` where a conversation is busy
│   ├── TooLargeError            413
│   ├── UnsupportedMediaTypeError 415
│   ├── RateLimitedError         429
│   ├── UnavailableError         503
│   └── ServerError              any other 5xx
├── StreamError                  `run_id`, and `sequence`: the last event that was seen
│   ├── GapError                 an event is missing: `expected`, `received`
│   ├── ProtocolError            what came is no stream of Stoa's events
│   ├── IntegrityError           all came, but not as it was written: the hash or the count differs
│   └── StreamLost               the stream could not be resumed in time
└── RunError                     the run itself ended without an answer
    ├── RunFailed                `code`, `retryable`
    └── RunCanceled              `reason`
"""

from collections.abc import Mapping


class StoaError(Exception):
    """Everything that this library raises on purpose."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ConnectionFailed(StoaError):
    """No answer came. `sent`: the request may have reached the server, so look before you repeat what is not
    idempotent."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class APIError(StoaError):
    """The server's refusal. `code` is stable, `message` is for people, `details` maps a field to its reason."""

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
        """Seconds after which the server wants to be asked again, where it said so."""


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
        """The run that a conversation is busy with. Wait for it, cancel it, or send with on_busy="queue"."""
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
    """A run's stream cannot be trusted or continued. The run goes on: read it again with `runs.stream(run_id)`."""

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
    """`retryable`: the same message may succeed when it is sent once more."""

    def __init__(self, message: str, *, run_id: str, code: str, retryable: bool) -> None:
        super().__init__(f"{message} ({code})", run_id=run_id)
        self.message = message
        self.code = code
        self.retryable = retryable


class RunCanceled(RunError):
    def __init__(self, *, run_id: str, reason: str | None) -> None:
        super().__init__(f"The run was canceled{f': {reason}' if reason else '.'}", run_id=run_id)
        self.reason = reason
