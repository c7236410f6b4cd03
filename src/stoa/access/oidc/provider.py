"""One provider: its redirect URLs, and the identities that it confirms."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from stoa.access.oidc import checking
from stoa.access.oidc.asking import Ask, basic
from stoa.access.oidc.errors import ProviderAway, ProviderError, UnknownKey
from stoa.access.types import Claims
from stoa.kernel.clock import Clock
from stoa.kernel.storable import as_storable

KEPT_SECONDS: Final = 3600.0
"""How long metadata and keys are cached. An unknown key is requested at once."""
AGAIN_SECONDS: Final = 5.0
"""Between two requests for unknown keys, or to an unreachable provider."""


@dataclass(frozen=True, slots=True)
class Registration:
    """This server's registration at the provider."""

    issuer: str
    client_id: str
    client_secret: str | None
    redirect_uri: str
    after_sign_out: str
    scopes: Sequence[str] = ("openid", "email", "profile")
    trust_email: bool = False
    """The provider issues only its own addresses, and does not send `email_verified`."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the provider has published."""

    metadata: Mapping[str, Any]
    keys: Sequence[Any]
    at: float


class Provider:
    def __init__(self, registration: Registration, ask: Ask, clock: Clock) -> None:
        self._us = registration
        self._ask = ask
        self._clock = clock
        self._known: Known | None = None
        self._failed: tuple[float, ProviderError] | None = None
        self._lock = asyncio.Lock()

    # --- what it has published --------------------------------------------------------------------------------------
    async def _published(self, *, newer_than: Known | None = None) -> Known:
        """Concurrent callers share one request. While the provider is unreachable the cached data stays valid."""
        async with self._lock:
            now, known = self._clock.monotonic(), self._known
            wanted = known is newer_than and known is not None
            if known is not None and not wanted and now - known.at < KEPT_SECONDS:
                return known
            if known is not None and wanted and now - known.at < AGAIN_SECONDS:
                return known
            if self._failed is not None and now - self._failed[0] < AGAIN_SECONDS:
                if known is not None:
                    return known
                raise self._failed[1]
            try:
                self._known, self._failed = await self._fetch(now), None
            except ProviderError as error:
                self._failed = (now, error)
                if known is None or not isinstance(error, ProviderAway):
                    raise
            assert self._known is not None
            return self._known

    async def _fetch(self, now: float) -> Known:
        _, found = await self._ask(f"{self._us.issuer.rstrip('/')}/.well-known/openid-configuration")
        metadata = checking.metadata(found, self._us.issuer)
        _, keys = await self._ask(metadata["jwks_uri"])
        return Known(metadata, checking.keys(keys), now)

    # --- the redirect -----------------------------------------------------------------------------------------------
    async def address(self, state: str, nonce: str, verifier: str) -> str:
        """The provider's authorization URL."""
        known = await self._published()
        return prepare_grant_uri(
            known.metadata["authorization_endpoint"],
            self._us.client_id,
            "code",
            self._us.redirect_uri,
            list(self._us.scopes),
            state,
            nonce=nonce,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
        )

    async def address_after(self, id_token: str | None) -> str | None:
        """The provider's logout URL; None if it has none."""
        try:
            end: str | None = (await self._published()).metadata.get("end_session_endpoint")
        except ProviderError:
            return None
        if end is None:
            return None
        query = {"client_id": self._us.client_id, "post_logout_redirect_uri": self._us.after_sign_out}
        if id_token is not None:
            query["id_token_hint"] = id_token
        return f"{end}{'&' if '?' in end else '?'}{urlencode(query)}"

    # --- the callback -----------------------------------------------------------------------------------------------
    async def check_issuer(self, issuer: str | None) -> None:
        """Checks the `iss` of the response (RFC 9207). Raises ProviderError for another provider's."""
        metadata = (await self._published()).metadata
        if issuer is None and metadata.get("authorization_response_iss_parameter_supported") is not True:
            return
        if issuer != metadata["issuer"]:
            raise ProviderError("the answer is that of another issuer")

    async def claims(self, code: str, nonce: str, verifier: str) -> tuple[Claims, str]:
        """The identity, and the ID token. Raises ProviderError."""
        known = await self._published()
        answer = await self._exchange(known, code, verifier)
        token, access_token = answer.get("id_token"), answer.get("access_token")
        if not isinstance(token, str) or not isinstance(access_token, str):
            raise ProviderError("it sent no ID token")
        try:
            verified = self._checked(known, token, access_token, nonce)
        except UnknownKey:
            verified = self._checked(await self._published(newer_than=known), token, access_token, nonce)
        about = (
            verified
            if "email" in verified
            else {**await self._userinfo(known, access_token, verified["sub"]), **verified}
        )
        email = about.get("email")
        name = checking.words(about.get("given_name")) or checking.words(about.get("name"))
        claims = Claims(
            known.metadata["issuer"],
            verified["sub"],
            as_storable(email) if isinstance(email, str) else None,
            self._us.trust_email or checking.verified(about.get("email_verified")),
            name,
            checking.words(about.get("family_name")),
        )
        return claims, token

    def _checked(self, known: Known, token: str, access_token: str, nonce: str) -> Mapping[str, Any]:
        return checking.id_token(
            token,
            known.keys,
            checking.algorithms(known.metadata),
            issuer=known.metadata["issuer"],
            client_id=self._us.client_id,
            nonce=nonce,
            access_token=access_token,
            now=self._clock.now(),
        )

    async def _exchange(self, known: Known, code: str, verifier: str) -> Mapping[str, Any]:
        us = self._us
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": us.redirect_uri,
            "code_verifier": verifier,
        }
        authorization = None
        if us.client_secret is None:
            form["client_id"] = us.client_id
        elif "client_secret_basic" in _methods(known.metadata):
            authorization = basic(us.client_id, us.client_secret)
        else:
            form |= {"client_id": us.client_id, "client_secret": us.client_secret}
        status, answer = await self._ask(known.metadata["token_endpoint"], form, authorization)
        if status != 200:
            raise ProviderError(f"it refused the code: {str(answer.get('error', status))[:100]}")
        return answer

    async def _userinfo(self, known: Known, access_token: str, subject: str) -> Mapping[str, Any]:
        """Claims that are not in the ID token. Raises ProviderError if they are of another subject."""
        where = known.metadata.get("userinfo_endpoint")
        if where is None:
            return {}
        _, found = await self._ask(where, None, f"Bearer {access_token}")
        if found.get("sub") != subject:
            raise ProviderError("its user information is about somebody else")
        return found


def _methods(metadata: Mapping[str, Any]) -> Sequence[str]:
    """The supported client authentication methods; the default is basic (discovery, section 3)."""
    found = metadata.get("token_endpoint_auth_methods_supported")
    return found if isinstance(found, list) else ["client_secret_basic"]
