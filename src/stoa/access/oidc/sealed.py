"""Small secrets that a browser or the database stores: encrypted and authenticated (JWE, A256GCM)."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import orjson

_HEADER: Final = {"alg": "dir", "enc": "A256GCM"}
CHARACTERS_MAX: Final = 16 * 1024


class Sealed:
    def __init__(self, secret: bytes) -> None:
        self._secret = hashlib.sha256(b"stoa sign-in\n" + secret).digest()

    def seal(self, value: Mapping[str, Any]) -> str:
        from joserfc import jwe  # noqa: PLC0415 — the server starts without it

        return jwe.encrypt_compact(_HEADER, orjson.dumps(value), self._key())

    def open(self, text: str) -> Mapping[str, Any] | None:
        """None if another installation encrypted it, or if it was changed."""
        from joserfc import jwe  # noqa: PLC0415
        from joserfc.errors import JoseError  # noqa: PLC0415

        if len(text) > CHARACTERS_MAX:
            return None
        try:
            value = orjson.loads(jwe.decrypt_compact(text, self._key(), ["dir", "A256GCM"]).plaintext or b"")
        except (JoseError, ValueError, TypeError):
            return None
        return value if isinstance(value, dict) else None

    def _key(self) -> Any:
        """The key, as the library has it."""
        from joserfc.jwk import OctKey  # noqa: PLC0415

        return OctKey.import_key(self._secret)
