"""Requests and errors as values. No I/O."""

import json
import mimetypes
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final, TypeAlias, cast
from urllib.parse import quote, urlsplit

import httpx

from stoa_client import errors, types
from stoa_client.retry import retry_after_of


class NotGiven:
    """The default of what may also be null: null removes a field, what is not given stays as it is."""

    def __repr__(self) -> str:
        return "NOT_GIVEN"

    def __bool__(self) -> bool:
        return False


NOT_GIVEN: Final = NotGiven()
Time: TypeAlias = str | datetime
"""RFC 3339, or a datetime with a time zone."""
Upload: TypeAlias = Path | tuple[str, bytes | IO[bytes]]
"""The path of a file, or a name with bytes or a seekable open file."""
NEVER_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
LOST: Final = (httpx.TransportError, httpx.DecodingError)
"""Exceptions of httpx for a missing or incomplete response."""
EVENT_STREAM: Final = "text/event-stream"

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
    """One request. `safe`: it may be repeated when nobody knows whether it was carried out."""

    method: str
    path: str
    safe: bool = True
    query: Sequence[tuple[str, str]] = ()
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    files: Sequence[tuple[str, Upload]] = ()
    form: Mapping[str, str] = field(default_factory=dict[str, str])

    def with_headers(self, **headers: str) -> "Call":
        return replace(
            self, headers={**self.headers, **{name.replace("_", "-"): text for name, text in headers.items()}}
        )


def path(template: str, *ids: object) -> str:
    """A path with its ids in it. An id that would change the path is refused."""
    for one in ids:
        if not str(one) or "/" in str(one) or str(one) in (".", ".."):
            raise ValueError(f"{one!r} is no id")
    return template.format(*(quote(str(one), safe="") for one in ids))


def query(**filters: object) -> tuple[tuple[str, str], ...]:
    """Query parameters; None is left out, a list is repeated. A trailing underscore is Python's, not the wire's."""
    pairs: list[tuple[str, str]] = []
    for argument, value in filters.items():
        name = argument.rstrip("_")
        if isinstance(value, list | tuple):
            pairs += [(name, _text(one)) for one in cast("Sequence[object]", value)]
        elif value is not None:
            pairs.append((name, _text(value)))
    return tuple(pairs)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return _rfc3339(value) if isinstance(value, datetime) else str(value)


def time_text(value: Time | None) -> str | None:
    return _rfc3339(value) if isinstance(value, datetime) else value


def _rfc3339(value: datetime) -> str:
    if value.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone; give it one, as in datetime.now(UTC)")
    return value.isoformat()


def given(**fields: object) -> dict[str, object]:
    """The fields of a body that were given. None is left out, but where NOT_GIVEN is the default: then it is null."""
    return {name: value for name, value in fields.items() if value is not NOT_GIVEN}


def content_of(content: types.Content) -> object:
    """Parts as the API has them."""
    return content if isinstance(content, str) else [_part(part) for part in content]


def _part(part: types.ContentPart) -> object:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "file", "file": {"id": part.id, "name": part.name}} if isinstance(part, types.File) else part


def set_fields(**fields: object) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}


def once(idempotency_key: str | None) -> dict[str, str]:
    """The header under which a POST may be repeated: it is carried out once."""
    return {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}


def files_of(call: Call) -> list[tuple[str, tuple[str, bytes | IO[bytes], str]]]:
    """The files of a multipart body, from their beginning: every attempt sends them anew."""
    parts: list[tuple[str, tuple[str, bytes | IO[bytes], str]]] = []
    for name, upload in call.files:
        file_name, content = (upload.name, upload.read_bytes()) if isinstance(upload, Path) else upload
        if not isinstance(content, bytes):
            content.seek(0)
        parts.append((name, (file_name, content, mimetypes.guess_type(file_name)[0] or "application/octet-stream")))
    return parts


def request_options(call: Call) -> dict[str, Any]:
    """What httpx's `build_request` takes beside method and URL."""
    options: dict[str, Any] = {"headers": dict(call.headers)}
    if call.query:
        options["params"] = list(call.query)
    if call.files:
        options |= {"files": files_of(call), "data": dict(call.form)}
    elif call.body is not None:
        options["content"] = json.dumps(call.body, allow_nan=False).encode()
        options["headers"]["Content-Type"] = "application/json"
    return options


def refusal(response: httpx.Response) -> errors.APIError:
    """The error that this answer is; its body has been read."""
    status = response.status_code
    code, message, details = "unknown", "", None
    try:
        error = json.loads(response.content)["error"]
        code, message = str(error["code"]), str(error["message"])
        found = error.get("details")
        details = {str(name): str(reason) for name, reason in found.items()} if isinstance(found, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    except (ValueError, KeyError, TypeError, AttributeError):
        message = _without_envelope(response)
    kind = _CLASSES.get(status, errors.ServerError if status >= 500 else errors.APIError)
    return kind(
        message,
        status=status,
        code=code,
        details=details,
        request_id=response.headers.get("X-Request-Id"),
        retry_after=retry_after_of(response.headers.get("Retry-After")),
    )


def _without_envelope(response: httpx.Response) -> str:
    if response.is_redirect:
        return f"The server redirects to {response.headers.get('Location')!r}. Use that as the base URL"
    return (
        f"{response.request.url.host} answered without Stoa's error envelope; "
        "something before the server refused, or the base URL is not Stoa's"
    )


def connection_failed(call: Call, url: str, error: Exception) -> errors.ConnectionFailed:
    reason = str(error) or type(error).__name__
    if isinstance(error, NEVER_SENT):
        message = f"No server answers at {url} ({reason}). Is it running, and is the base URL right?"
        return errors.ConnectionFailed(message, sent=False)
    way_out = "" if call.safe else " It is not known whether it was carried out: look before you send it again."
    return errors.ConnectionFailed(
        f"The connection to {url} broke before {call.method} {call.path} was answered ({reason}).{way_out}", sent=True
    )


def base_url(given_url: str | None) -> str:
    url = (given_url or os.environ.get("STOA_URL") or "http://localhost:8080").strip().rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no base URL; write it as http://localhost:8080 or https://stoa.example.com")
    if parts.query or parts.fragment:
        raise ValueError(f"{url!r} has a query or a fragment; the base URL is what stands before the paths of the API")
    return url


def credential(key: str | None) -> str:
    found = (key or os.environ.get("STOA_KEY") or "").strip()
    if not found:
        raise ValueError("No key: pass key=…, or set STOA_KEY. `stoa keys create NAME` makes one.")
    if not found.isascii() or not found.isprintable() or " " in found:
        raise ValueError("The key holds characters that no key has; copy it again.")
    return found
