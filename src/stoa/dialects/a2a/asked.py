"""Parses and validates what A2A's clients send. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import orjson

from stoa.dialects.a2a.errors import CONTENT_TYPE, INVALID_PARAMS, TASK_NOT_FOUND, Refused
from stoa.dialects.a2a.shapes import STATES, STATES_1
from stoa.dialects.responses.inputs import Asked, read_input
from stoa.dialects.starting import Attachment
from stoa.kernel.errors import BadRequest
from stoa.runs import RunStatus

PAGE_SIZE_DEFAULT: Final = 50
PAGE_SIZE_MAX: Final = 100
NAME_CHARACTERS_MAX: Final = 200
_STATUSES: Final[Mapping[str, RunStatus]] = {
    **{state: status for status, state in STATES.items()},
    **{STATES_1[state]: status for status, state in STATES.items()},
}
_OTHER_STATES: Final = frozenset({"TASK_STATE_REJECTED", "TASK_STATE_AUTH_REQUIRED", "rejected", "auth-required"})
"""States of the protocol that this server's tasks never have."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a client sends. `context` is the client's own name for it."""

    items: Sequence[Mapping[str, Any]]
    uploads: Sequence[Attachment]
    text: str
    id: str
    context: str | None
    task: UUID | None


@dataclass(frozen=True, slots=True)
class Listing:
    """Which tasks a client wants to list. `statuses` None is any."""

    context: str | None
    statuses: Collection[RunStatus] | None
    since: datetime | None
    after: tuple[datetime, UUID] | None
    page_size: int
    history: int | None
    artifacts: bool


def message_of(params: Mapping[str, Any]) -> Message:
    """Raises BadRequest naming the field, and Refused for a kind of part that is not supported."""
    given = params.get("message")
    if not isinstance(given, dict):
        raise BadRequest.field("message", "is required: an object")
    message_id = given.get("messageId")
    if not isinstance(message_id, str) or not message_id.strip() or "\0" in message_id:
        raise BadRequest.field("message.messageId", "is required: the name that the client gives this message")
    if given.get("role") not in ("user", "ROLE_USER"):
        raise BadRequest.field("message.role", "must be user")
    parts = given.get("parts") or given.get("content")
    if not isinstance(parts, list) or not parts:
        raise BadRequest.field("message.parts", "must be a list of at least one part")
    asked = Asked("", [], {}, {})
    content = [_part(part, f"message.parts[{index}]") for index, part in enumerate(parts)]
    read_input([{"type": "message", "role": "user", "content": content}], asked, "message")
    text = "\n".join(part["text"] for part in content if part["type"] == "input_text")
    uploads = [Attachment(one.name, one.mime_type, one.data) for one in asked.uploads]
    task = task_of(given, "taskId") if given.get("taskId") else None
    return Message(asked.items, uploads, text, message_id[:NAME_CHARACTERS_MAX], _context(given), task)


def task_of(given: Mapping[str, Any], *names: str) -> UUID:
    """The id of a task. Raises BadRequest, and Refused where the id cannot be one of this server's."""
    named = str(next((given[name] for name in names if given.get(name)), "")).removeprefix("tasks/")
    try:
        return UUID(named)
    except ValueError:
        if named:
            raise Refused(TASK_NOT_FOUND, f"There is no task {named[:100]}.") from None
        raise BadRequest.field(names[0], "is required: the id of a task") from None


def history_of(params: Mapping[str, Any]) -> int | None:
    """The largest number of history messages that a client wants; None leaves it to the server."""
    return _number(params, "historyLength", 0, None)


def listing_of(params: Mapping[str, Any]) -> Listing:
    """Raises BadRequest naming the field."""
    state = params.get("status") or None
    statuses: Collection[RunStatus] | None = None
    if state is not None and state != "TASK_STATE_UNSPECIFIED":
        if not isinstance(state, str) or (state not in _STATUSES and state not in _OTHER_STATES):
            raise BadRequest.field("status", f"must be one of {', '.join(STATES_1.values())}")
        statuses = frozenset({_STATUSES[state]}) if state in _STATUSES else frozenset()
    return Listing(
        _context(params),
        statuses,
        _time(params),
        _after(params.get("pageToken")),
        _number(params, "pageSize", 1, PAGE_SIZE_MAX) or PAGE_SIZE_DEFAULT,
        history_of(params),
        _flag(params, "includeArtifacts"),
    )


def token_of(created_at: datetime, run_id: UUID) -> str:
    """The position at which a list continues, in the format of `pageToken`."""
    return f"{created_at.isoformat()}~{run_id}"


def _after(token: Any) -> tuple[datetime, UUID] | None:
    if token is None or token == "":
        return None
    try:
        time, run_id = str(token).split("~")
        return _aware(time), UUID(run_id)
    except (ValueError, OverflowError):
        raise BadRequest.field("pageToken", "is none that this list gave; send a nextPageToken as it is") from None


def _time(params: Mapping[str, Any]) -> datetime | None:
    for name in ("statusTimestampAfter", "lastUpdatedAfter"):
        value = params.get(name)
        if value is None:
            continue
        try:
            if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
                return datetime.fromtimestamp(value / 1000, UTC)
            return _aware(str(value)) if isinstance(value, str) else _aware("")
        except (ValueError, OverflowError, OSError):
            raise BadRequest.field(name, "must be a time such as 2026-11-30T12:00:00Z") from None
    return None


def _aware(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _number(params: Mapping[str, Any], name: str, low: int, high: int | None) -> int | None:
    value = params.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < low or (high is not None and value > high):
        bounds = f"at least {low}" if high is None else f"from {low} to {high}"
        raise BadRequest.field(name, f"must be a whole number, {bounds}")
    return value


def _flag(params: Mapping[str, Any], name: str) -> bool:
    value = params.get(name)
    if value is not None and not isinstance(value, bool):
        raise BadRequest.field(name, "must be true or false")
    return bool(value)


def _context(given: Mapping[str, Any]) -> str | None:
    value = given.get("contextId")
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > NAME_CHARACTERS_MAX or "\0" in value:
        raise BadRequest.field("contextId", f"must be a text of 1 to {NAME_CHARACTERS_MAX} characters")
    return value


def _part(part: Any, at: str) -> dict[str, Any]:
    held = part if isinstance(part, dict) else {}
    if isinstance(text := held.get("text"), str):
        return {"type": "input_text", "text": text}
    file = held.get("file") if isinstance(held.get("file"), dict) else held
    assert file is not None
    content = file.get("bytes") or file.get("raw")
    if isinstance(content, str):
        mime_type = str(file.get("mimeType") or file.get("mediaType") or "application/octet-stream")
        url = f"data:{mime_type};base64,{content}"
        if mime_type.startswith("image/"):
            return {"type": "input_image", "image_url": url}
        return {"type": "input_file", "file_data": url, "filename": file.get("name") or file.get("filename") or "file"}
    if "data" in held:  # Models read text, so the values become JSON.
        return {"type": "input_text", "text": orjson.dumps(held["data"]).decode()}
    if isinstance(file.get("uri") or file.get("url"), str):
        message = f"{at} is a file by its address, and this server fetches nothing for its callers; send its bytes."
        raise Refused(CONTENT_TYPE, message)
    raise Refused(INVALID_PARAMS, f"{at} must be a text, data, or a file with its bytes.")
