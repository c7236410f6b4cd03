"""A sign-in in progress: its state is in the browser, encrypted."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from stoa.access import rules
from stoa.access.identities import Identities
from stoa.access.oidc.errors import ProviderAway, ProviderError
from stoa.access.oidc.provider import Provider
from stoa.access.oidc.sealed import Sealed
from stoa.access.types import Opened
from stoa.kernel.clock import Clock
from stoa.kernel.errors import Forbidden, Unauthorized, Unavailable

SECONDS_MAX: Final = 600
"""Of a sign-in, from the first page to the last."""
HINT_CHARACTERS_MAX: Final = 8_192
_LATE: Final = "This sign-in was begun in another browser, or more than ten minutes ago; begin again."
_REFUSED: Final = (
    "The sign-in service gave no answer that can be trusted; begin again, or ask whoever runs this server."
)
_AWAY: Final = "The sign-in service cannot be reached now; try again in a moment, or sign in with a password."
_log = structlog.get_logger("stoa.access.oidc")


@dataclass(frozen=True, slots=True)
class Begun:
    """The redirect, and the state that the browser stores under its own cookie name, so that two tabs can sign in at
    once."""

    address: str
    name: str
    value: str


class Flows:
    def __init__(self, provider: Provider, identities: Identities, sealed: Sealed, clock: Clock) -> None:
        self._provider = provider
        self._identities = identities
        self._sealed = sealed
        self._clock = clock

    async def begin(self, back: str) -> Begun:
        """`back` is the path of this server to continue at. Raises Unavailable."""
        state, nonce, verifier = (rules.new_secret("") for _ in range(3))
        try:
            address = await self._provider.address(state, nonce, verifier)
        except ProviderError as error:
            raise self._away(error) from error
        kept = {"state": state, "nonce": nonce, "verifier": verifier, "back": back, "ends": self._ends()}
        return Begun(address, name_of(state), self._sealed.seal(kept))

    async def finish(self, answer: Mapping[str, str], kept: str | None) -> tuple[Opened, str]:
        """The session, and the path to continue at. `answer` is the query of the callback, `kept` the browser's stored
        state. Raises Unauthorized, Forbidden and Unavailable."""
        begun = self._sealed.open(kept) if kept is not None else None
        state = answer.get("state", "")
        if begun is None or not hmac.compare_digest(str(begun["state"]).encode(), state.encode("utf-8", "replace")):
            raise Unauthorized(_LATE)
        if begun["ends"] < self._clock.now().timestamp():
            raise Unauthorized(_LATE)
        try:
            await self._provider.check_issuer(answer.get("iss"))
            if "error" in answer:
                raise ProviderError(f"it answered {answer['error'][:100]!r}")
            claims, token = await self._provider.claims(answer.get("code", ""), begun["nonce"], begun["verifier"])
        except ProviderAway as error:
            raise self._away(error) from error
        except ProviderError as error:
            _log.warning("sign-in was refused", reason=str(error))
            if answer.get("error") == "access_denied":
                raise Forbidden("You did not agree to sign in, or may not; nothing has changed.") from error
            raise Unauthorized(_REFUSED) from error
        hint = self._sealed.seal({"id_token": token}) if len(token) <= HINT_CHARACTERS_MAX else None
        return await self._identities.sign_in(claims, hint), str(begun["back"])

    async def address_after(self, hint: str | None) -> str | None:
        """The provider's logout URL, for a user who signed in with the provider."""
        opened = self._sealed.open(hint) if hint is not None else None
        return await self._provider.address_after(str(opened["id_token"]) if opened is not None else None)

    def _ends(self) -> float:
        return self._clock.now().timestamp() + SECONDS_MAX

    def _away(self, error: ProviderError) -> Unavailable:
        _log.warning("the sign-in service cannot be used", reason=str(error))
        return Unavailable(_AWAY)


def name_of(state: str) -> str:
    """The cookie's name for this state."""
    return "".join(one for one in state[:12] if one.isascii() and one.isalnum())
