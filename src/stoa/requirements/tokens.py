"""Connect tokens: a JWT of 24 hours for one end user of one app (contract section 5.1)."""

import hashlib
from datetime import timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from stoa.kernel.clock import Clock
from stoa.kernel.errors import Unauthorized
from stoa.requirements import rules
from stoa.requirements.types import Connecting, ConnectToken

_ALGORITHM: Final = "HS256"
_AUDIENCE: Final = "stoa:connect"
TOKEN_CHARACTERS_MAX: Final = 4_096
_REFUSED: Final = "This connect token is not valid, or has expired; ask the app for a new link."


class ConnectTokens:
    def __init__(self, secret: bytes, clock: Clock) -> None:
        self._secret = hashlib.sha256(b"stoa connect tokens\n" + secret).digest()
        self._clock = clock

    def issue(self, whom: Connecting) -> ConnectToken:
        from joserfc import jwt  # noqa: PLC0415 — the server starts without it

        now = self._clock.now().replace(microsecond=0)
        ends = now + timedelta(seconds=rules.TOKEN_SECONDS)
        claims: dict[str, Any] = {
            "aud": _AUDIENCE,
            "sub": whom.user_id,
            "app": str(whom.app_id),
            "org": str(whom.org_id),
            "project": str(whom.project_id),
            "iat": int(now.timestamp()),
            "exp": int(ends.timestamp()),
            "jti": str(uuid4()),
        }
        if whom.requirement_ids:
            claims["requirements"] = sorted(str(one) for one in whom.requirement_ids)
        return ConnectToken(jwt.encode({"alg": _ALGORITHM}, claims, self._key()), ends)

    def read(self, token: str) -> Connecting:
        """Raises Unauthorized."""
        from joserfc import jwt  # noqa: PLC0415 — the server starts without it
        from joserfc.errors import JoseError  # noqa: PLC0415

        if len(token) > TOKEN_CHARACTERS_MAX:
            raise Unauthorized(_REFUSED)
        try:
            claims = jwt.decode(token, self._key(), algorithms=[_ALGORITHM]).claims
            registry = jwt.JWTClaimsRegistry(
                now=lambda: int(self._clock.now().timestamp()),
                aud={"essential": True, "value": _AUDIENCE},
                exp={"essential": True},
            )
            registry.validate(claims)
            asked = frozenset(UUID(one) for one in claims.get("requirements", ()))
            org_id, project_id, app_id = (UUID(claims[name]) for name in ("org", "project", "app"))
            return Connecting(org_id, project_id, app_id, str(claims["sub"]), asked)
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise Unauthorized(_REFUSED) from error

    def _key(self) -> Any:
        """The signing key, as an object of the JWT library."""
        from joserfc.jwk import OctKey  # noqa: PLC0415

        return OctKey.import_key(self._secret)
