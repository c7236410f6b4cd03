"""Pure rules of tools: checks of definitions, and the construction of calls."""

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

import orjson

from stoa.kernel.errors import BadRequest
from stoa.outbound import origin_of
from stoa.tools.types import Definition, NewTool, Offer

SORTABLE: Final = {"created_at": "created_at", "updated_at": "updated_at", "name": "name"}
JOIN: Final = "__"
"""Between an MCP server's name and its tool's: `github__create_issue`."""
TOOL_NAME_MAX: Final = 64
"""The length of a name that every model provider accepts, of letters, digits, _ and -."""
SERVER_NAME_MAX: Final = 32
_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_STEPS: Final = re.compile(r"[/\\\\;]")
_SECRET: Final = re.compile(r"\{\{\s*secret\.([A-Za-z0-9_-]+)\s*\}\}")
_HEADER_NAME: Final = re.compile(r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")
_OURS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection", "idempotency-key"})
_OF_MCP: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "content-type",
        "last-event-id",
        "mcp-session-id",
        "mcp-protocol-version",
        "mcp-method",
        "mcp-name",
    }
)
_SEPARATORS: Final = {"comma": ",", "space": " ", "pipe": "|"}


# --- definitions ----------------------------------------------------------------------------------------------------
def check_http(config: Mapping[str, Any], secrets: frozenset[str]) -> None:
    """Raises BadRequest naming the field."""
    url = config["url"]
    _check_url(_PLACEHOLDER.sub("x", url))
    if "{" in url.split("://", 1)[1].split("/", 1)[0].split("?", 1)[0]:
        raise BadRequest.field(
            "config.url", "cannot take its host from an argument: the model would choose whom to talk to"
        )
    kinds = config["parameters"].get("type") or "object"
    if "object" not in (kinds if isinstance(kinds, list) else [kinds]):
        raise BadRequest.field("config.parameters", "must be the schema of an object, whose properties are arguments")
    properties = config["parameters"].get("properties", {})
    for name in _PLACEHOLDER.findall(url):
        if name not in properties:
            raise BadRequest.field("config.url", f"names {{{name}}}, which config.parameters does not have")
    for name, place in config.get("places", {}).items():
        if place["in"] == "header" and not _settable(place.get("name") or name, _OURS):
            raise BadRequest.field(f"config.places.{name}", "is no header that a tool may set")
    for where in ("headers", "query"):
        _check_values(where, config.get(where, {}), secrets, _OURS)


def check_mcp(name: str, config: Mapping[str, Any], secrets: frozenset[str]) -> None:
    """Raises BadRequest naming the field. Does not check whether the `server` is declared."""
    if len(name) > SERVER_NAME_MAX or JOIN in name or name.endswith("_"):
        reason = (
            f"leads the names of the server's tools ({name[:20]}{JOIN}…): "
            f"at most {SERVER_NAME_MAX} characters, no {JOIN}, no _ at its end"
        )
        raise BadRequest.field("name", reason)
    if (config.get("url") is None) == (config.get("server") is None):
        raise BadRequest(
            "config wants either url (an MCP server over HTTP) "
            "or server (one that this server's operator has declared)",
            details={"config.url": "either this or server", "config.server": "either this or url"},
        )
    if "url" in config:
        _check_url(config["url"])
        _check_values("headers", config.get("headers", {}), secrets, _OURS | _OF_MCP)
    elif config.get("ca_bundle"):
        raise BadRequest.field("config.ca_bundle", "is for servers over HTTP; a declared server is a program")
    elif config.get("headers"):
        raise BadRequest.field(
            "config.headers", "are for servers over HTTP; a declared server has its environment from the operator"
        )


def url_problem(url: str) -> str | None:
    """Why this URL may not be called, or None; the sentence continues after the field's name."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            return "must be an http:// or https:// URL"
    except ValueError:
        return "must be an http:// or https:// URL"
    if parts.username or parts.password:
        return "must not hold a user name or password; put the credential into secrets and a header"
    return None


def _check_url(url: str) -> None:
    if problem := url_problem(url):
        raise BadRequest.field("config.url", problem)


def _check_values(where: str, values: Mapping[str, str], secrets: frozenset[str], taken: frozenset[str]) -> None:
    for name, value in values.items():
        if where == "headers" and (not _settable(name, taken) or re.search(r"[\r\n\0]", value)):
            raise BadRequest.field(f"config.headers.{name}", "is no header that a tool may set")
        for secret in _SECRET.findall(value):
            if secret not in secrets:
                raise BadRequest.field(
                    f"config.{where}.{name}", f"names the secret {secret!r}, which is not in secrets"
                )


def _settable(header: str, taken: frozenset[str]) -> bool:
    return bool(_HEADER_NAME.match(header)) and header.lower() not in taken


def check_origin(before: Definition, new: NewTool) -> bool:
    """Whether a changed definition sends its calls to another origin (scheme, host, port).

    Raises BadRequest if stored secrets would be sent to a new origin.
    """
    was, becomes = (origin_of(config.get("url")) for config in (before.config, new.config))
    if was == becomes:
        return False
    if becomes is not None and before.secret_names and new.secrets is None:
        raise BadRequest.field(
            "secrets",
            f"must be sent again: they were given for {was or 'no address'}, and config.url now leads to {becomes}",
        )
    return True


# --- names ----------------------------------------------------------------------------------------------------------
def server_of(name: str) -> str:
    """The name of the definition in a tool's name."""
    return name.partition(JOIN)[0]


def safe_name(text: str, length_max: int = TOOL_NAME_MAX) -> str:
    """A name that model providers accept.

    A changed name ends in a hash of the original, so that two names never become equal.
    """
    made = re.sub(r"[^A-Za-z0-9_-]", "_", text)
    if made == text and len(made) <= length_max:
        return made
    return marked_name(made, text, length_max)


def marked_name(name: str, original: str, length_max: int = TOOL_NAME_MAX) -> str:
    """A name with a suffix derived from what it names, for a second tool of the same name."""
    return f"{name[: length_max - 7]}_{hashlib.sha256(original.encode('utf-8', 'replace')).hexdigest()[:6]}"


def offered_name(server: str, tool: str) -> str:
    """What the model calls a server's tool.

    It depends on these two only, so a node that takes a run over finds the same tool.
    """
    return f"{server}{JOIN}{safe_name(tool, TOOL_NAME_MAX - len(server) - len(JOIN))}"


def repeatable(offer: Offer, setting: bool | None) -> bool:
    """Whether a call that may have happened may be made again.

    The creator's setting takes precedence; otherwise the server's hints, interpreted cautiously.
    """
    if setting is not None:
        return setting
    if offer.read_only:
        return offer.destructive is not True
    return offer.idempotent is True and offer.destructive is False


# --- calls ----------------------------------------------------------------------------------------------------------
def revealed(value: str, secrets: Mapping[str, str]) -> str:
    """A header's or query's value with its secrets in place."""
    return _SECRET.sub(lambda found: secrets.get(found[1], ""), value)


def filled(
    url: str, arguments: Mapping[str, Any], places: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[str, dict[str, Any]]:
    """The URL with its placeholders filled, percent-encoded, and the remaining arguments."""
    taken = set(_PLACEHOLDER.findall(url))
    made = _PLACEHOLDER.sub(
        lambda found: quote(_joined(arguments.get(found[1], ""), (places or {}).get(found[1], {})), safe=""), url
    )
    return made, {name: value for name, value in arguments.items() if name not in taken}


def path_problem(
    url: str, arguments: Mapping[str, Any], places: Mapping[str, Mapping[str, Any]] | None = None
) -> str | None:
    """Why an argument would leave its segment of the path, or None.

    Services resolve `.` and `..`, also after an encoded slash, and many drop an empty segment:
    `/users/{id}/orders` would become another path than the definition's.
    """
    path = url.split("://", 1)[-1].partition("#")[0].partition("?")[0].partition("/")[2]
    for segment in path.split("/"):
        names = _PLACEHOLDER.findall(segment)
        filled_in = _PLACEHOLDER.sub(
            lambda found: _joined(arguments.get(found[1], ""), (places or {}).get(found[1], {})), segment
        )
        if names and (
            not filled_in.strip() or any(one.strip() in (".", "..") for one in _STEPS.split(_read(filled_in)))
        ):
            return f"{names[0]} stands for a part of the path and cannot be blank, a single dot, or two dots"
    return None


def _read(segment: str) -> str:
    """As the most obliging service may read it: decoded, and with look-alikes of dots and slashes as such."""
    return _CONTROLS.sub(" ", unicodedata.normalize("NFKC", unquote(segment)))


def as_form(value: Any, name: str = "") -> list[tuple[str, str]]:
    """A form's pairs: what is nested is written with brackets, as forms are read everywhere: a[b]=1, a[0][b]=1.

    A list of plain values repeats its name.
    """
    if value is None:
        return []
    if isinstance(value, dict):
        return [pair for key, one in value.items() for pair in as_form(one, f"{name}[{key}]" if name else str(key))]
    if isinstance(value, list):
        nested = any(isinstance(one, dict | list) for one in value)
        return [
            pair for number, one in enumerate(value) for pair in as_form(one, f"{name}[{number}]" if nested else name)
        ]
    return [(name, plain(value))]


def as_query(arguments: Mapping[str, Any]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for name, value in arguments.items():
        pairs += _pairs(name, value, "repeat")
    return pairs


def placed(
    arguments: Mapping[str, Any], places: Mapping[str, Mapping[str, Any]], where: str
) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """The arguments for this part of the request, as name and value, and the others."""
    pairs: list[tuple[str, str]] = []
    rest: dict[str, Any] = {}
    for argument, value in arguments.items():
        place = places.get(argument, {})
        if place.get("in") != where:
            rest[argument] = value
        elif where == "header":
            if value is not None:
                pairs.append((place.get("name") or argument, _CONTROLS.sub(" ", _joined(value, place))))
        else:
            pairs += _pairs(place.get("name") or argument, value, place.get("encoding") or "repeat")
    return pairs, rest


def _pairs(name: str, value: Any, encoding: str) -> list[tuple[str, str]]:
    """A query's pairs: `repeat` a=1&a=2, `comma` a=1,2, `space`, `pipe`, `deep` a[key]=1, `json`."""
    if value is None:
        return []
    if encoding == "json":
        return [(name, orjson.dumps(value).decode())]
    if encoding == "deep":
        return as_form(value, name)
    if isinstance(value, dict):
        return [(key, plain(one)) for key, one in value.items() if one is not None]
    if isinstance(value, list) and encoding not in _SEPARATORS:
        return [(name, plain(one)) for one in value if one is not None]
    return [(name, _joined(value, {"encoding": encoding}))]


def _joined(value: Any, place: Mapping[str, Any]) -> str:
    if place.get("encoding") == "json":
        return orjson.dumps(value).decode()
    if isinstance(value, list):
        return _SEPARATORS.get(place.get("encoding", ""), ",").join(plain(one) for one in value)
    if isinstance(value, dict):
        return ",".join(f"{key},{plain(one)}" for key, one in value.items())
    return plain(value)


def plain(value: Any) -> str:
    """A value as text: null is nothing, an object or a list JSON."""
    if value is None:
        return ""
    if isinstance(value, dict | list):
        return orjson.dumps(value).decode()
    return str(value).lower() if isinstance(value, bool) else str(value)


# --- results --------------------------------------------------------------------------------------------------------
def limited(text: str, bytes_max: int) -> str:
    """The result for the model: storable, and visibly truncated if it is too long."""
    data = text.replace("\0", "\ufffd").encode("utf-8", "replace")
    if len(data) <= bytes_max:
        return data.decode()
    return f"{data[:bytes_max].decode('utf-8', 'ignore')}\n[Cut here: the answer is longer than {bytes_max} bytes.]"


def without_secrets(text: str, secrets: Mapping[str, str]) -> str:
    """Removes secrets that a service returns."""
    for secret in sorted(secrets.values(), key=len, reverse=True):
        if len(secret) >= 4:
            text = text.replace(secret, "[secret]")
    return text


def of_operation(error: BadRequest) -> str:
    """Why this operation cannot be a tool.

    Raises BadRequest for the caller's own headers and query, by the names that were sent.
    """
    found = {path.removeprefix("config."): reason for path, reason in (error.details or {}).items()}
    sent = {path: reason for path, reason in found.items() if path.startswith(("headers.", "query."))}
    if sent:
        raise BadRequest(error.message, details=sent) from error
    return "; ".join(f"{path} {reason}" for path, reason in found.items()) or error.message
