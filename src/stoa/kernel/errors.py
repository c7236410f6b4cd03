"""Refusals: errors the caller can act on. The tree, drawn:

    AppError                        status  code
    ├── BadRequest                  400     bad_request        (details name every bad field)
    ├── Unauthorized                401     unauthorized
    ├── Forbidden                   403     forbidden
    ├── NotFound                    404     not_found          (also for objects outside the caller's scope)
    ├── Conflict                    409     conflict
    ├── PreconditionFailed          412     precondition_failed
    ├── TooLarge                    413     too_large
    ├── UnsupportedMediaType        415     unsupported_media_type
    ├── RateLimited                 429     rate_limited
    ├── NotSupported                501     not_supported      (a group of the platform's API that is not here)
    └── Unavailable                 503     unavailable        (with Retry-After)
        └── DatabaseUnavailable     503     unavailable        (work in progress is not lost: it continues later)

Messages are sentences that name the object and the remedy. Nothing else in Stoa chooses a status.
"""

from collections.abc import Mapping
from typing import ClassVar


class AppError(Exception):
    """A refusal. `details` maps a field's path (`content[1].file.id`) to the reason it was refused."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, details: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = dict(details) if details else None
        self.headers: dict[str, str] = {}


class BadRequest(AppError):
    status = 400
    code = "bad_request"

    @classmethod
    def field(cls, path: str, reason: str) -> "BadRequest":
        """The usual case: one bad field."""
        return cls(f"{path} {reason}", details={path: reason})


class Unauthorized(AppError):
    status = 401
    code = "unauthorized"


class Forbidden(AppError):
    status = 403
    code = "forbidden"


class NotFound(AppError):
    status = 404
    code = "not_found"


class Conflict(AppError):
    status = 409
    code = "conflict"


class PreconditionFailed(AppError):
    status = 412
    code = "precondition_failed"


class TooLarge(AppError):
    status = 413
    code = "too_large"


class UnsupportedMediaType(AppError):
    status = 415
    code = "unsupported_media_type"


class RateLimited(AppError):
    status = 429
    code = "rate_limited"

    def __init__(self, message: str, *, retry_after_seconds: int, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.headers = {"Retry-After": str(retry_after_seconds), **(headers or {})}


class NotSupported(AppError):
    status = 501
    code = "not_supported"


class Unavailable(AppError):
    status = 503
    code = "unavailable"

    def __init__(self, message: str, *, retry_after_seconds: int = 1) -> None:
        super().__init__(message)
        self.headers = {"Retry-After": str(retry_after_seconds)}


class DatabaseUnavailable(Unavailable):
    """The database is unreachable or refuses temporarily. Work that must not be lost waits and retries."""
