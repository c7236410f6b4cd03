"""Extracts a provider's error from any known place of a response, and maps it to one of our codes. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from stoa.gateway.providers.fields import list_of, object_of, status_of, text_of
from stoa.gateway.types import ModelError

_DEPTH_MAX: Final = 4
_MESSAGES: Final = (
    "message", "msg", "detail", "error_message", "status_msg", "description", "error_msg", "reason", "Message",
    "errorMessage", "error_description",
)  # fmt: skip # a table
_STATUSES: Final[Mapping[str, int]] = {
    "invalid_request_error": 400, "badrequesterror": 400, "bad_request": 400, "invalid_argument": 400,
    "failed_precondition": 400, "exceed_context_size_error": 400, "context_length_exceeded": 400,
    "authentication_error": 401, "unauthenticated": 401, "invalid_api_key": 401,
    "permission_error": 403, "permission_denied": 403,
    "insufficient_quota": 429, "billing_error": 402,
    "not_found_error": 404, "not_found": 404, "model_not_found": 404,
    "request_too_large": 413,
    "rate_limit_error": 429, "rate_limit_exceeded": 429, "resource_exhausted": 429, "too_many_requests": 429,
    "timeout_error": 504, "deadline_exceeded": 504,
    "server_error": 500, "internal_server_error": 500, "internalservererror": 500, "internal": 500,
    "unavailable": 503, "service_unavailable": 503, "overloaded_error": 529, "overloaded": 529,
}  # fmt: skip # a table
"""Names of failures that stand for a status where no number is given."""
_CONTEXT: Final = re.compile(
    r"context[ _-]?(?:length|window|size)|context limit|maximum context|exceeds? (?:the )?(?:available )?context"
    r"|prompt is too long"
    r"|(?:input|prompt) (?:is )?too (?:long|large)|too many (?:input |total )?tokens|input token count"
    r"|input tokens? exceed"
    r"|maximum (?:prompt|input) length|reduce the length of|request too large for model|too large for model with"
    r"|tokens? in (?:your |the )?(?:prompt|request) exceed|string_above_max_length|range of input length"
    r"|max_new_tokens.{0,3} must be|inputs.{0,3} must have less than|exceeded model token limit|prompt exceeds max"
    r"|token count.{0,20} exceeds|longer than the maximum model length|max_(?:seq|model)_len|max (?:message )?tokens"
    r"|supported sequence length|request body too large for|tokens_limit_reached|max_prompt_tokens",
    re.IGNORECASE,
)
_QUOTA: Final = re.compile(
    r"insufficient[_ ](?:quota|balance|credits?|funds)|billing|credit balance|requires more credits|payment required"
    r"|usage limits?\b.*regain"
    r"|out of credits|arrear|余额不足|充值|欠费|exceeded your current quota|quota (?:exceeded|exhausted)",
    re.IGNORECASE,
)
_FILTER: Final = re.compile(
    r"content[_ ]?filter|content management policy|responsibleaipolicy|content exists risk"
    r"|blocked by .{0,20}(?:safety|content|polic|guardrail)"
    r"|flagged|moderation|data_inspection_failed|prohibited_content",
    re.IGNORECASE,
)
_OVER_PLAN: Final = re.compile(r"request too large", re.IGNORECASE)
"""One request is over what a plan gives in a minute: waiting does not help."""
_GARBLED: Final = re.compile(r"tool_use_failed|failed_generation", re.IGNORECASE)
"""The model called a tool in a way that its provider could not read; it may do better the next time."""
_UNSUPPORTED: Final = re.compile(
    r"support (?:tool use|image input|input modalit)|can handle the requested param", re.IGNORECASE
)
"""404 of OpenRouter, which finds no endpoint that takes what the request holds."""
_KEY: Final = re.compile(
    r"api[ _-]?key (?:not valid|is invalid|expired)|invalid[_ ](?:x-)?api[_ -]?key|incorrect api key", re.IGNORECASE
)
_FORM: Final = re.compile(
    r"jinja|chat[ _]template|raise_exception|roles must alternate|system role not supported"
    r"|image input is not supported|mmproj|missing data required for image"
    r"|failed to (?:load|decode|process|tokenize) (?:the )?(?:image|inputs|prompt)|image: unknown format"
    r"|unsupported content\[\]\.type",
    re.IGNORECASE,
)
"""Local servers answer 500 where the template of a model refuses a request, or the model takes no images: the same
request never succeeds."""
_WAIT: Final = re.compile(
    r"(?:retry|try again|wait)(?: in| after| for)? (?:(\d+)h)? ?(?:(\d+)m(?!s))? ?"
    r"(?:(\d+(?:\.\d+)?) ?(ms|milliseconds|s))?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Failure:
    """The provider's words; `names` are its codes and types; `status` is the one that it gives in the body."""

    message: str
    names: tuple[str, ...] = ()
    status: int | None = None


def found(body: Any, *, refused: bool = False, depth: int = 0) -> Failure | None:
    """The failure in a JSON body or event, at any known place. `refused`: the status line says that there is one."""
    if depth > _DEPTH_MAX:
        return None
    if isinstance(body, list):
        return next((one for item in body[:8] if (one := found(item, refused=refused, depth=depth + 1))), None)
    if isinstance(body, str):
        return Failure(body) if refused and body.strip() else None
    if not isinstance(body, dict):
        return None
    for name in ("error", "errors", "detail"):
        if (held := body.get(name)) and (inner := _inner(held, depth)):
            return _with_names(inner, body)
    if held := object_of(body.get("base_resp")):  # MiniMax: status_code 0 is success.
        return _of(held) if held.get("status_code") not in (None, 0, "0", 200) else None
    named = body.get("type") == "error" or body.get("object") == "error"
    named = named or any(body.get(name) for name in ("error_type", "error_message", "error_code"))
    coded = body.get("code") not in (None, 0, "0", 200, "200", "") and any(
        body.get(name) for name in ("message", "msg")
    )
    return _of(body) if refused or named or (coded and "choices" not in body) else None


def _inner(held: Any, depth: int) -> Failure | None:
    if isinstance(held, dict):
        raw = text_of(object_of(held.get("metadata")).get("raw"))  # OpenRouter: what the provider behind it said.
        failure = found(held, refused=True, depth=depth + 1)
        return Failure(f"{failure.message} ({raw})", failure.names, failure.status) if failure and raw else failure
    if isinstance(held, list):
        return found(held, refused=True, depth=depth + 1) or Failure("")
    return Failure(text_of(held) or "it says only that there was an error")


def _of(held: Mapping[str, Any]) -> Failure:
    message = next((text for name in _MESSAGES if (text := text_of(held.get(name)))), "")
    codes = [
        held.get(name)
        for name in ("code", "type", "status", "error_type", "error_code", "status_code", "statusCode", "param")
    ]
    status = next((one for code in codes if (one := status_of(code))), None)
    return Failure(message, tuple(code for code in codes if isinstance(code, str) and code), status)


def _with_names(failure: Failure, outer: Mapping[str, Any]) -> Failure:
    """What stands beside the error counts too: some put its message or code there."""
    beside = _of({name: value for name, value in outer.items() if name not in ("error", "errors", "detail")})
    message = (
        failure.message
        if len(failure.message) >= len(beside.message) or not beside.message
        else f"{failure.message}: {beside.message}"
    )
    return Failure(message, (*failure.names, *beside.names), failure.status or beside.status)


def classified(failure: Failure, sentence: str, *, status: int | None, wait_seconds: float | None = None) -> ModelError:
    """Our error for it. `status` is the status line's, None where the failure came inside a stream; `sentence` is what
    users read."""
    in_stream = status is None
    names = " ".join(failure.names)
    said = f"{names} {failure.message}"
    if status is None:
        status = failure.status or next((one for name in failure.names if (one := _STATUSES.get(name.lower()))), None)
    wait_seconds = wait_seconds if wait_seconds is not None else _wait(failure.message)
    code, retryable = _code(said, status, wait_seconds, in_stream=in_stream)
    return ModelError(
        code,
        sentence,
        retryable=retryable,
        status=status,
        retry_after_seconds=wait_seconds if retryable else None,
        words=said,
    )


def _code(said: str, status: int | None, wait_seconds: float | None, *, in_stream: bool) -> tuple[str, bool]:
    """The code, and whether the same request may succeed later."""
    if (told := _by_words(said, status)) is not None:
        return told
    if status == 402 or (
        _QUOTA.search(said) and ("insufficient" in said.lower() or wait_seconds is None) and status != 404
    ):
        return "model_quota_exhausted", False
    if status not in (401, 404, 429, 529) and _FILTER.search(said):
        return "content_filtered", False
    if status in (401, 403) or _KEY.search(said):
        return "model_unauthorized", False
    match status:
        case 404 | 410:
            return "model_not_found", False
        case 408 | 504:
            return ("model_timeout" if status == 408 else "model_overloaded"), True
        case 429:
            return "model_rate_limited", True
        case 409 | 425:
            return "model_overloaded", True
        case None:
            return "model_error", in_stream
        case 501 | 505:
            return "model_refused_request", False
        case _:
            return ("model_overloaded", True) if status >= 500 else ("model_refused_request", False)


def _by_words(said: str, status: int | None) -> tuple[str, bool] | None:
    """The code from the message, where it is more specific than the status."""
    if (status not in (401, 404, 429) and _CONTEXT.search(said)) or (status == 429 and _OVER_PLAN.search(said)):
        return "context_length_exceeded", False
    if _GARBLED.search(said):
        return "model_error", True
    if (status == 404 and _UNSUPPORTED.search(said)) or (status is not None and status >= 500 and _FORM.search(said)):
        return "model_refused_request", False
    return None


def _wait(message: str) -> float | None:
    """Seconds, out of "Please try again in 1h1m2.5s" and "Please retry after 20 seconds"."""
    for match in _WAIT.finditer(message[:4_000]):
        hours, minutes, number, unit = match.groups()
        if hours or minutes or number:
            seconds = float(number or 0) / (1_000 if unit and unit.lower().startswith("m") else 1)
            return float(hours or 0) * 3_600 + float(minutes or 0) * 60 + seconds
    return None


def items_of(body: Any) -> list[Any]:
    """The events of a body that may be one, or a list of them."""
    return list(list_of(body))
