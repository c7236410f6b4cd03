"""Pure decisions about tools: what a definition must hold, and what a call of it becomes."""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlsplit

from stoa.kernel.errors import BadRequest
from stoa.kernel.schemas import schema_problem

SORTABLE: Final = {"created_at": "created_at", "updated_at": "updated_at", "name": "name"}
_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET: Final = re.compile(r"\{\{\s*secret\.([A-Za-z0-9_-]+)\s*\}\}")
_HEADER_NAME: Final = re.compile(r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")
_OURS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection", "idempotency-key"})


def check_http(config: Mapping[str, Any], secrets: frozenset[str]) -> None:
    """Raises BadRequest naming the field."""
    url = config["url"]
    parts = urlsplit(_PLACEHOLDER.sub("x", url))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadRequest.field("config.url", "must be an http:// or https:// URL")
    if parts.username or parts.password:
        raise BadRequest.field("config.url", "must not hold a user name or password; put the credential into secrets and a header")
    if "{" in url.split("://", 1)[1].split("/", 1)[0].split("?", 1)[0]:
        raise BadRequest.field("config.url", "cannot take its host from an argument: the model would choose whom to talk to")
    if problem := schema_problem(config["parameters"]):
        raise BadRequest.field("config.parameters", problem)
    properties = config["parameters"].get("properties", {})
    for name in _PLACEHOLDER.findall(url):
        if name not in properties:
            raise BadRequest.field("config.url", f"names {{{name}}}, which config.parameters does not have")
    for place in ("headers", "query"):
        for name, value in config.get(place, {}).items():
            if place == "headers" and (not _HEADER_NAME.match(name) or name.lower() in _OURS or re.search(r"[\r\n\0]", value)):
                raise BadRequest.field(f"config.headers.{name}", "is no header that a tool may set")
            for secret in _SECRET.findall(value):
                if secret not in secrets:
                    raise BadRequest.field(f"config.{place}.{name}", f"names the secret {secret!r}, which is not in secrets")


def revealed(value: str, secrets: Mapping[str, str]) -> str:
    """A header's or query's value with its secrets in place."""
    return _SECRET.sub(lambda found: secrets.get(found[1], ""), value)


def filled(url: str, arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The URL with its placeholders filled, percent-encoded, and the arguments that it did not take."""
    taken = set(_PLACEHOLDER.findall(url))
    made = _PLACEHOLDER.sub(lambda found: quote(_plain(arguments.get(found[1], "")), safe=""), url)
    return made, {name: value for name, value in arguments.items() if name not in taken}


def as_query(arguments: Mapping[str, Any]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for name, value in arguments.items():
        pairs += [(name, _plain(one)) for one in (value if isinstance(value, list) else [value]) if one is not None]
    return pairs


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
