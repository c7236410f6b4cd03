"""Checks of a provider's metadata and ID tokens."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import import_key
from joserfc.util import urlsafe_b64decode

from stoa.access.oidc.errors import ProviderError, UnknownKey
from stoa.kernel.storable import as_storable

SKEW_SECONDS: Final = 60
"""How far the clocks of provider and server may be apart."""
TOKEN_CHARACTERS_MAX: Final = 64 * 1024
KEYS_MAX: Final = 100
SUBJECT_CHARACTERS_MAX: Final = 255
ALGORITHMS: Final = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "Ed25519",
    "EdDSA",
)
"""Public-key algorithms only. `none` proves nothing, and with HS256 a public key could be used as a shared secret."""
_ENDPOINTS: Final = ("authorization_endpoint", "token_endpoint", "jwks_uri")


def metadata(found: Mapping[str, Any], issuer: str) -> Mapping[str, Any]:
    """The provider's metadata. Raises ProviderError if it is of another issuer or has URLs without TLS."""
    named = found.get("issuer")
    if not isinstance(named, str) or named.rstrip("/") != issuer.rstrip("/"):
        raise ProviderError(f"its metadata is that of the issuer {str(named)[:200]}, and STOA_OIDC_ISSUER is {issuer}")
    secure = urlsplit(issuer).scheme == "https"
    for name in (*_ENDPOINTS, "userinfo_endpoint", "end_session_endpoint"):
        value = found.get(name)
        if value is None and name not in _ENDPOINTS:
            continue
        if not isinstance(value, str) or urlsplit(value).scheme not in (("https",) if secure else ("https", "http")):
            raise ProviderError(f"its metadata has no {name} that can be used")
    return found


def keys(found: Mapping[str, Any]) -> Sequence[Any]:
    """The signing keys. Keys of unknown types are ignored."""
    usable: list[Any] = []
    offered = found.get("keys")
    for one in offered[:KEYS_MAX] if isinstance(offered, list) else ():
        if not isinstance(one, dict) or one.get("use", "sig") != "sig" or one.get("kty") not in ("RSA", "EC", "OKP"):
            continue
        try:
            usable.append(import_key(one))
        except (JoseError, ValueError, TypeError, KeyError):
            continue
    return usable


def algorithms(found: Mapping[str, Any]) -> Sequence[str]:
    """The provider's signing algorithms that are safe."""
    offered = found.get("id_token_signing_alg_values_supported")
    named = offered if isinstance(offered, list) else ["RS256"]
    return [one for one in ALGORITHMS if one in named]


def id_token(
    token: str,
    signing: Sequence[Any],
    allowed: Sequence[str],
    *,
    issuer: str,
    client_id: str,
    nonce: str,
    access_token: str,
    now: datetime,
) -> Mapping[str, Any]:
    """The claims of an ID token, after checking issuer, audience, nonce and time.

    Raises UnknownKey if none of the keys has signed it, and ProviderError for everything else.
    """
    decoded = _verified(token, signing, allowed)
    claims = CodeIDToken(
        decoded.claims,
        decoded.header,
        options={
            "iss": {"essential": True, "value": issuer},
            "aud": {"essential": True, "value": client_id},
            "nonce": {"essential": True, "value": nonce},
        },
        params={"client_id": client_id, "nonce": nonce, "access_token": access_token},
    )
    try:
        claims.validate(now=int(now.timestamp()), leeway=SKEW_SECONDS)
    except JoseError as error:
        raise ProviderError(f"its ID token is refused: {error.error} ({error.description})") from error
    except (ValueError, TypeError, KeyError) as error:
        raise ProviderError("its ID token is refused: a claim is not of its type") from error
    # joserfc accepts an `aud` with further clients; such a token must name this client as `azp`.
    subject = claims.get("sub")
    if (
        not isinstance(subject, str)
        or not 0 < len(subject) <= SUBJECT_CHARACTERS_MAX
        or as_storable(subject) != subject
    ):
        raise ProviderError("its ID token has no `sub` that can be used")
    return claims


def _verified(token: str, signing: Sequence[Any], allowed: Sequence[str]) -> jwt.Token:
    header = _header(token)
    if header.get("alg") not in allowed:
        raise ProviderError("its ID token is signed in a way that it does not offer, or that is not safe")
    kid = header.get("kid")
    for key in signing:
        if kid is not None and key.kid is not None and key.kid != kid:
            continue
        try:
            return jwt.decode(token, key, algorithms=list(allowed))
        except (JoseError, ValueError, TypeError):
            continue
    raise UnknownKey("its ID token is signed with none of its keys")


def _header(token: str) -> Mapping[str, Any]:
    if len(token) > TOKEN_CHARACTERS_MAX or token.count(".") != 2:
        raise ProviderError("it sent no ID token that can be read")
    try:
        header = orjson.loads(urlsafe_b64decode(token.split(".", 1)[0].encode()))
    except (ValueError, TypeError) as error:
        raise ProviderError("it sent no ID token that can be read") from error
    return header if isinstance(header, dict) else {}


def verified(claim: object) -> bool:
    """`email_verified`, which some providers send as a string."""
    return claim is True or claim == "true"


def words(claim: object, characters_max: int = 100) -> str:
    return as_storable(claim[:characters_max]) if isinstance(claim, str) else ""
