"""Pure decisions about requirements: valid specifications, the tools they apply to, and the fields a user must send."""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast
from urllib.parse import urlencode, urlsplit

from stoa.kernel.errors import BadRequest
from stoa.requirements.types import OAUTH2, NewRequirement, Requirement, RequirementType

TOKEN_SECONDS: Final = 24 * 3600
ATTEMPT_SECONDS: Final = 600
"""The time that an end user has to return from an OAuth2 service."""
FIELDS_MAX: Final = 20
TOOLS_MAX: Final = 64
VALUE_CHARACTERS_MAX: Final = 10_000
REFRESH_EARLY_SECONDS: Final = 60
"""An access token that expires within this time is renewed before a run uses it."""
_TOOLS: Final = "dynamiq.nodes.tools."


def check_new(new: NewRequirement) -> None:
    """Raises BadRequest naming the field of the specification."""
    spec = new.spec
    if new.type is RequirementType.PIPEDREAM_ACCOUNT:
        if not isinstance(spec.get("app_slug"), str):
            raise BadRequest.field("spec.app_slug", "is required, as the service's name at Pipedream")
        return
    if not isinstance(spec.get("type"), str) or not spec["type"].strip():
        raise BadRequest.field("spec.type", "is required, as dynamiq.connections.Http or oauth2")
    _names("spec.tools", spec.get("tools", []), TOOLS_MAX)
    if spec["type"] == OAUTH2:
        _check_oauth2(spec)
        return
    if new.client_secret is not None:
        raise BadRequest.field("client_secret", "is for a spec of type oauth2 alone")
    _names("spec.fields", spec.get("fields", []), FIELDS_MAX)


def _check_oauth2(spec: Mapping[str, Any]) -> None:
    if not isinstance(spec.get("client_id"), str) or not spec["client_id"]:
        raise BadRequest.field("spec.client_id", "is required")
    for name in ("authorize_url", "token_url"):
        url = spec.get(name)
        if not isinstance(url, str) or not _is_url(url):
            raise BadRequest.field(f"spec.{name}", "must be an https URL, or http where private addresses are allowed")
    _names("spec.scopes", spec.get("scopes", []), FIELDS_MAX)
    if spec.get("client_auth", "basic") not in ("basic", "post"):
        raise BadRequest.field("spec.client_auth", "must be basic or post: how the client secret is sent")


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("https", "http") and bool(parts.hostname) and parts.username is None
    except ValueError:
        return False


def _names(path: str, value: Any, at_most: int) -> None:
    listed = cast("list[Any]", value) if isinstance(value, list) else None
    if (
        listed is None
        or len(listed) > at_most
        or not all(isinstance(one, str) and 0 < len(one) <= 200 for one in listed)
    ):
        raise BadRequest.field(path, f"must be a list of at most {at_most} names")


def fields_of(requirement: Requirement) -> Sequence[str]:
    """The fields that an end user must fill in."""
    return requirement.spec.get("fields") or ["api_key"]


def checked_config(requirement: Requirement, kind: str, config: Mapping[str, Any]) -> Mapping[str, str]:
    """The fields that an end user sent. Raises BadRequest if they are not those of the requirement."""
    if requirement.type is not RequirementType.CONNECTION:
        raise BadRequest.field("type", "cannot be given as credentials: it is an account at Pipedream")
    if requirement.oauth2:
        raise BadRequest.field(
            "type", f"is authorized at its service: POST /v1/connect/requirements/{requirement.id}/oauth2/authorize"
        )
    if kind != requirement.spec["type"]:
        raise BadRequest.field("type", f"must be {requirement.spec['type']}")
    wanted = fields_of(requirement)
    given: dict[str, str] = {}
    for name in wanted:
        value = config.get(name)
        if not isinstance(value, str) or not value.strip() or len(value) > VALUE_CHARACTERS_MAX or "\x00" in value:
            raise BadRequest.field(f"config.{name}", "is required, as text")
        given[name] = value
    for name in config:
        if name not in given:
            raise BadRequest.field(f"config.{name}", f"is not asked for; there are {', '.join(wanted)}")
    return given


def tools_of(requirement: Requirement, flow: Mapping[str, Any]) -> frozenset[str]:
    """The tools that use it: those named in its specification, and those whose `connection` refers to it."""
    named = frozenset[str](requirement.spec.get("tools", ()))
    return named | frozenset(_referring(flow, str(requirement.id)))


def _referring(value: Any, requirement_id: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        one = cast("Mapping[str, Any]", value)
        reference: Any = one.get("connection")
        refers = isinstance(reference, Mapping) and cast("Mapping[str, Any]", reference).get("$id") == requirement_id
        if refers and str(one.get("type", "")).startswith(_TOOLS) and isinstance(one.get("name"), str):
            yield one["name"]
        for below in one.values():
            yield from _referring(below, requirement_id)
    elif isinstance(value, list):
        for below in cast("list[Any]", value):
            yield from _referring(below, requirement_id)


def authorize_url(requirement: Requirement, redirect_uri: str, state: str, verifier: str) -> str:
    """With PKCE (RFC 7636), whether or not the client has a secret."""
    spec = requirement.spec
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    asked = {
        "response_type": "code",
        "client_id": spec["client_id"],
        "redirect_uri": redirect_uri,
        "state": state,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    if spec.get("scopes"):
        asked["scope"] = " ".join(spec["scopes"])
    joint = "&" if "?" in spec["authorize_url"] else "?"
    return f"{spec['authorize_url']}{joint}{urlencode(asked)}"


def digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()
