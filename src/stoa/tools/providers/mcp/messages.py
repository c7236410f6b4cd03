"""Repairs an MCP server's messages before the SDK reads them: the SDK refuses a whole message for one bad field. Pure.

Servers send an error as text, a result that is no object, an id of another type, a batch of one, Latin-1, NaN. Where it
is clear what is meant, the SDK gets the same in the protocol's form.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import mcp_types as types
import orjson
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION

from stoa.outbound.client import BodyError, parse_json

NO_REASON: Final = "it gives no reason"
_LIST_OF: Final = {"tools/call": "content", "tools/list": "tools"}
"""The field of a result that is a list: some servers send the list alone."""
_MARKS: Final = ("content", "structuredContent", "tools", "protocolVersion", "resultType", "capabilities")
"""A field of these names makes an object without an envelope a result."""
_LOST: Final = re.compile(
    rb"session[^.]{0,40}(not found|unknown|expired|invalid|not valid|terminated|does not exist|closed|not initialized)"
    rb"|(unknown|invalid|expired|missing|no such|no valid) (mcp[- ])?session|server not initialized",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Request:
    """What a message answers."""

    id: Any
    method: str
    version: str
    """The protocol version that an `initialize` asks for."""

    @classmethod
    def of(cls, content: bytes) -> "Request | None":
        """None for a notification or a response."""
        if b'"id"' not in content:
            return None
        message = orjson.loads(content)
        if "id" not in message or "method" not in message:
            return None
        params = message.get("params") or {}
        return cls(message["id"], message["method"], str(params.get("protocolVersion") or LATEST_HANDSHAKE_VERSION))


class NoMessage(ValueError):
    """This is no message of the protocol; the text says what it is, and continues after "answered with".

    `whole`: the text is all that there is to say; an excerpt would add nothing.
    """

    def __init__(self, what: str, *, whole: bool = False) -> None:
        super().__init__(what)
        self.whole = whole


def repaired(body: bytes, request: Request | None, charset: str = "utf-8") -> bytes:
    """The message in the protocol's form; a response gets the id of the `request`. Raises NoMessage."""
    message, sound = _parsed(body, charset)
    if isinstance(message, list):  # A batch, which the protocol had once.
        message, sound = _answer_of(message), False
    if not isinstance(message, dict):
        raise NoMessage("JSON that is no object")
    if sound and _valid(message, request):
        return body
    return json.dumps(_message(message, request), ensure_ascii=False).encode("utf-8", "replace")


def session_lost(body: bytes) -> bool:
    """Whether these words say that the server does not know the session."""
    return _LOST.search(body) is not None


def error_of(body: bytes) -> Mapping[str, Any] | None:
    """The error of a message, or None."""
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    error = message.get("error") if isinstance(message, dict) else None
    return error if isinstance(error, dict) and "code" in error else None


def _parsed(body: bytes, charset: str) -> tuple[Any, bool]:
    """The JSON value, and whether the bytes are JSON to the letter."""
    try:
        return parse_json(body), not body.startswith(b"\xef\xbb\xbf")
    except BodyError as error:
        if error.__cause__ is None:
            raise NoMessage("JSON of more parts than this server reads", whole=True) from error
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = body.decode(charset, "replace")
    if not text.strip():
        raise NoMessage("nothing", whole=True)
    try:
        return json.loads(text, parse_constant=lambda _: None), False
    except RecursionError:
        raise NoMessage("JSON that is nested too deeply", whole=True) from None
    except ValueError:
        raise NoMessage("something that is no JSON") from None


def _answer_of(batch: list[Any]) -> Any:
    answers = [one for one in batch if isinstance(one, dict) and ("result" in one or "error" in one)]
    return answers[0] if answers else next(iter(batch), None)


def _valid(message: Mapping[str, Any], request: Request | None) -> bool:
    """Whether the SDK takes it as it is; in doubt False."""
    if message.get("jsonrpc") != "2.0" or "error" in message:
        return False
    if "method" in message:
        return True
    if request is not None and (request.method == "initialize" or message.get("id") != request.id):
        return False
    return isinstance(message.get("id"), int | str) and isinstance(message.get("result"), dict)


def _message(message: dict[str, Any], request: Request | None) -> dict[str, Any]:
    if isinstance(message.get("method"), str):
        return {**message, "jsonrpc": "2.0"}
    head = {"jsonrpc": "2.0", "id": _id(message.get("id")) if request is None else request.id}
    if message.get("error") is not None:
        return {**head, "error": _error(message["error"])}
    if "result" in message:
        return {**head, "result": _result(message["result"], request)}
    if request is not None and any(mark in message for mark in _MARKS):
        return {**head, "result": _result(message, request)}
    raise NoMessage("JSON that is no message of the protocol")


def _id(given: Any) -> Any:
    return int(given) if isinstance(given, float) and given.is_integer() else given


def _error(error: Any) -> dict[str, Any]:
    if not isinstance(error, dict):
        return {"code": types.INTERNAL_ERROR, "message": str(error) or NO_REASON}
    words = error.get("message") or error.get("detail") or error.get("error")
    code = error.get("code")
    more = {"data": error["data"]} if error.get("data") is not None else {}
    number = (
        int(code) if isinstance(code, int) or (isinstance(code, str) and re.fullmatch(r"-?\d{1,9}", code)) else None
    )
    said = words if isinstance(words, str) else _excerpt(words) if words is not None else str(code or NO_REASON)
    return {"code": types.INTERNAL_ERROR if number is None else number, "message": said, **more}


def _result(result: Any, request: Request | None) -> dict[str, Any]:
    method = request.method if request is not None else "tools/call"  # The only one that all servers answer freely.
    if isinstance(result, dict):
        return _introduction(result, request) if request is not None and method == "initialize" else result
    name = _LIST_OF.get(method)
    if name is None or result is None:
        return {}
    if isinstance(result, list):
        return {name: result}
    return {name: [{"type": "text", "text": result if isinstance(result, str) else json.dumps(result)}]}


def _introduction(result: Mapping[str, Any], request: Request) -> dict[str, Any]:
    """Of `initialize`: what a server says of itself decides nothing here, except the version."""
    made = dict(result)
    given = made.get("capabilities")
    made["capabilities"] = (
        {name: value for name, value in given.items() if isinstance(value, dict)} if isinstance(given, dict) else {}
    )
    about = made.get("serverInfo")
    named = about if isinstance(about, dict) else {}
    made["serverInfo"] = {"name": str(named.get("name") or "unnamed"), "version": str(named.get("version") or "0")}
    if not isinstance(made.get("instructions"), str):
        made.pop("instructions", None)
    # A version that the SDK does not know: what we use, lists and calls of tools, is the same in all of them.
    if made.get("protocolVersion") not in HANDSHAKE_PROTOCOL_VERSIONS:
        made["protocolVersion"] = request.version
    return made


def _excerpt(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)[:200]
